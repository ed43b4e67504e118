//! The command line and its commands.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::{Parser, Subcommand};

use voting_config::{PollArgs, StoreArgs, StoreChoice, number, print, shortened};
use voting_core::{Choice, Choices, Tally};
use voting_storage::transfer::{self, Transferred};
use voting_storage::{Severity, StoreError, StoreUrl, VoteStore, backup, open, wait_until_ready};

/// Manage stores of votes: schema, results, reset, transfer, backup.
///
/// The store is STORAGE_URL; without it, the Redis of REDIS_HOST or the MySQL of MYSQL_HOST, whichever is set.
#[derive(Parser, Debug)]
#[command(name = "voting-storage", version, about, long_about)]
pub struct Cli {
    #[command(flatten)]
    poll: PollArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Create or update the schema of the store; takes over a table `azurevote` of the Azure Voting App.
    Migrate {
        /// Seconds to wait for the store and for the work.
        #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = number(0..=u64::from(u32::MAX)))]
        wait: u64,
    },
    /// Print the votes of each choice.
    Tally,
    /// Delete all votes.
    Reset {
        /// Skip the confirmation.
        #[arg(long)]
        yes: bool,
    },
    /// Exit with 0 if the store answers and takes ballots; list what endangers its promises.
    Check,
    /// Merge the votes of one store into another; may be repeated at any time, in both directions.
    Transfer {
        /// The source: a URL, or redis or mysql for the store of REDIS_HOST or MYSQL_HOST and the like.
        #[arg(long, value_name = "STORE", env = "FROM_URL", hide_env_values = true)]
        from: StoreChoice,
        /// The target, in the same way.
        #[arg(long, value_name = "STORE", env = "TO_URL", hide_env_values = true)]
        to: StoreChoice,
        /// Show the effect without changing anything.
        #[arg(long)]
        dry_run: bool,
    },
    /// Give the store an origin of its own, after it was copied or restored from a backup and before it takes votes.
    NewOrigin,
    /// Write the store's counters to the standard output as JSON lines.
    Export,
    /// Merge a file written by `export` into the store; may be repeated at any time.
    Import {
        /// File to read, or `-` for the standard input.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Runs a command and prints its result.
///
/// # Errors
/// One line for the operator.
pub async fn run(cli: Cli) -> anyhow::Result<()> {
    let tool = Tool { choices: cli.poll.stored_choices()?, store: cli.store };
    match cli.command {
        Command::Migrate { wait } => tool.migrate(Duration::from_secs(wait)).await,
        Command::Tally => tool.tally().await,
        Command::Reset { yes } => tool.reset(yes).await,
        Command::Check => tool.check().await,
        Command::Transfer { from, to, dry_run } => tool.transfer(&from, &to, dry_run).await,
        Command::NewOrigin => tool.new_origin().await,
        Command::Export => tool.export().await,
        Command::Import { file } => tool.import(&file).await,
    }
}

/// The commands.
struct Tool {
    choices: Choices,
    store: StoreArgs,
}

/// A store with its URL, which explains every error.
struct Target {
    url: StoreUrl,
    store: Arc<dyn VoteStore>,
}

impl Target {
    /// Adds the URL to an error of the store.
    fn named<T>(&self, result: Result<T, StoreError>) -> anyhow::Result<T> {
        result.with_context(|| self.url.to_string())
    }

    /// Says on the standard error which votes of the store a command left out, because they are for choices with other names.
    async fn note_other_votes(&self) {
        let note = match self.store.other_votes().await {
            Ok(others) if others.0.is_empty() => return,
            Ok(others) => others.to_string(),
            Err(error) => format!("whether it has votes of other choices is unknown: {error}"),
        };
        // Not worth an error.
        let _ = writeln!(std::io::stderr(), "note: {}: {note}", self.url);
    }
}

impl Tool {
    /// The store that the settings select.
    fn selected(&self) -> anyhow::Result<Target> {
        self.open(self.store.selected_url()?)
    }

    /// The store that the settings select, for a command that creates nothing.
    fn existing(&self) -> anyhow::Result<Target> {
        self.open(self.store.selected_url()?.existing())
    }

    fn open(&self, url: StoreUrl) -> anyhow::Result<Target> {
        let store = open(&url, &self.choices).with_context(|| url.to_string())?;
        Ok(Target { url, store })
    }

    async fn migrate(&self, wait: Duration) -> anyhow::Result<()> {
        let target = self.selected()?;
        // Not worth an error.
        let progress = |waited: Duration, cause: &str| {
            let _ = writeln!(std::io::stderr(), "{:>4} s: {cause}; waiting", waited.as_secs());
        };
        target.named(wait_until_ready(target.store.as_ref(), wait, progress).await)?;
        report(&format!("{} is ready.\n", target.url), "the store is ready")
    }

    async fn tally(&self) -> anyhow::Result<()> {
        let target = self.existing()?;
        let tally = target.named(target.store.tally().await)?;
        print(&table(&self.choices, &["votes"], &[tally]))?;
        target.note_other_votes().await;
        Ok(())
    }

    async fn reset(&self, yes: bool) -> anyhow::Result<()> {
        let target = self.existing()?;
        if !yes {
            bail!("this deletes all votes of {}; allowed with --yes", target.url);
        }
        target.named(transfer::reset(target.store.as_ref()).await)?;
        report(&format!("{} has no votes now.\n", target.url), "the votes are deleted")
    }

    async fn check(&self) -> anyhow::Result<()> {
        let target = self.existing()?;
        target.named(target.store.ping().await)?;
        target.named(target.store.probe().await)?;
        let findings = target.store.findings();
        let lines: String = findings.iter().map(|finding| format!("{finding}\n")).collect();
        print(&format!("{} answers.\n{lines}", target.url))?;
        target.note_other_votes().await;
        if findings.iter().any(|finding| finding.severity == Severity::Refusal) {
            bail!("{} takes no ballots", target.url);
        }
        Ok(())
    }

    async fn transfer(&self, from: &StoreChoice, to: &StoreChoice, dry_run: bool) -> anyhow::Result<()> {
        let (from, to) = (self.store.chosen_url(from)?.existing(), self.store.chosen_url(to)?);
        let (from, to) = (self.open(from)?, self.open(if dry_run { to.existing() } else { to })?);
        let work = if dry_run {
            transfer::preview(from.store.as_ref(), to.store.as_ref()).await
        } else {
            transfer::transfer(from.store.as_ref(), to.store.as_ref()).await
        };
        let names = format!("{} to {}", from.url, to.url);
        let Transferred { from: votes, before, after } = work.with_context(|| format!("from {names}"))?;
        let note = if dry_run { " (dry run, nothing was changed)" } else { "" };
        let text = format!("From {names}{note}:\n{}", self.effect([votes, before, after]));
        report(&text, if dry_run { "nothing was changed" } else { "the votes are merged" })?;
        from.note_other_votes().await;
        Ok(())
    }

    async fn new_origin(&self) -> anyhow::Result<()> {
        let target = self.existing()?;
        target.named(target.store.renew_origin().await)?;
        let text = format!("{} has a new origin. Restart the services that use it.\n", target.url);
        report(&text, "the store has a new origin; restart the services that use it")
    }

    async fn export(&self) -> anyhow::Result<()> {
        let target = self.existing()?;
        let snapshot = target.named(target.store.snapshot().await)?;
        print(&backup::write(&snapshot, &self.choices)?)?;
        target.note_other_votes().await;
        Ok(())
    }

    async fn import(&self, file: &Path) -> anyhow::Result<()> {
        let target = self.selected()?;
        let shown = file.to_string_lossy();
        let shown = shortened(&shown);
        let text = if file.as_os_str() == "-" {
            std::io::read_to_string(std::io::stdin())
        } else {
            std::fs::read_to_string(file)
        };
        let text = text.map_err(|error| {
            anyhow!("{shown} can't be read ({error}); allowed: a file that `voting-storage export` wrote")
        })?;
        let snapshot = backup::read(&text, &self.choices).with_context(|| shown.to_string())?;
        let imported = transfer::import(&snapshot, target.store.as_ref()).await;
        let Transferred { from, before, after } = imported.with_context(|| target.url.to_string())?;
        let effect = self.effect([from, before, after]);
        report(&format!("From {shown} to {}:\n{effect}", target.url), "the votes are merged")
    }

    /// The effect of a transfer or an import, as a table.
    fn effect(&self, tallies: [Tally; 3]) -> String {
        table(&self.choices, &["from", "to before", "to after"], &tallies)
    }
}

/// Prints the result of a command, whose effect an error names: it stays.
fn report(text: &str, effect: &'static str) -> anyhow::Result<()> {
    print(text).context(effect)
}

/// A table with a row per choice and a column per tally.
fn table(choices: &Choices, columns: &[&str], tallies: &[Tally]) -> String {
    let names = Choice::ALL.map(|choice| choices.name(choice).as_str());
    let width = names.iter().map(|name| name.chars().count()).max().unwrap_or_default();
    let mut table = String::new();
    let mut row = |name: &str, cells: Vec<String>| {
        let _ = write!(table, "{name:<width$}");
        for cell in cells {
            let _ = write!(table, "  {cell:>12}");
        }
        table.push('\n');
    };
    row("", columns.iter().map(ToString::to_string).collect());
    for choice in Choice::ALL {
        row(names[choice.index()], tallies.iter().map(|tally| tally[choice].to_string()).collect());
    }
    table
}
