//! The operator's tool: what each command does.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use clap::{Parser, Subcommand};

use voting_storage::config::{InvalidSetting, PollArgs, StoreArgs};
use voting_storage::transfer::{self, Transferred};
use voting_storage::{Category, Choices, StoreError, StoreKind, StoreUrl, Tally, VoteStore, backup, open};

/// Looks after stores of votes: schema, results, reset, transfer, backup.
///
/// The store is STORAGE_URL; without it, the Redis of REDIS_HOST or the MySQL of MYSQL_HOST, whichever is set.
#[derive(Parser, Debug)]
#[command(version, about, long_about)]
pub struct Settings {
    #[command(flatten)]
    poll: PollArgs,
    #[command(flatten)]
    store: StoreArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Make the store's schema or bring it up to date; an original's table `azurevote` is taken over.
    Migrate {
        /// For how many seconds to wait for the store and for the work.
        #[arg(long, value_name = "SECONDS", default_value_t = 600)]
        wait: u64,
    },
    /// Print the votes of each choice.
    Tally,
    /// Take every vote away.
    Reset {
        /// Really do it.
        #[arg(long)]
        yes: bool,
    },
    /// Exit with 0 if the store answers.
    Check,
    /// Bring the votes of one store into another; may be run again at any time, in both directions.
    Transfer {
        /// URL of the store that is read.
        #[arg(long, value_name = "URL", env = "FROM_URL", hide_env_values = true)]
        from: StoreUrl,
        /// URL of the store that the votes are brought into.
        #[arg(long, value_name = "URL", env = "TO_URL", hide_env_values = true)]
        to: StoreUrl,
        /// Only show what would change.
        #[arg(long)]
        dry_run: bool,
    },
    /// Write the store's counters to the standard output, as JSON lines.
    Export,
    /// Merge a file that `export` wrote into the store; may be done again at any time.
    Import {
        /// The file; the standard input if it is `-`.
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// Does what the settings say and prints the result.
///
/// # Errors
/// What went wrong, for the operator.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let choices = settings.poll.choices()?;
    let open = |url: &StoreUrl| open(url, &choices).with_context(|| url.to_string());
    let selected = || -> anyhow::Result<(StoreUrl, Arc<dyn VoteStore>)> {
        let url = selected_url(&settings.store)?;
        let store = open(&url)?;
        Ok((url, store))
    };
    match settings.command {
        Command::Migrate { wait } => {
            let (url, store) = selected()?;
            migrate(store.as_ref(), Duration::from_secs(wait)).await.with_context(|| url.to_string())?;
            println!("{url} is ready.");
        }
        Command::Tally => {
            let (url, store) = selected()?;
            let tally = store.tally().await.with_context(|| url.to_string())?;
            print!("{}", table(&choices, &["votes"], &[tally]));
        }
        Command::Reset { yes } => {
            let (url, store) = selected()?;
            if !yes {
                bail!("this takes every vote of {url} away; say --yes if that is meant");
            }
            store.reset().await.with_context(|| url.to_string())?;
            println!("{url} has no votes now.");
        }
        Command::Check => {
            let (url, store) = selected()?;
            store.ping().await.with_context(|| url.to_string())?;
            println!("{url} answers.");
        }
        Command::Transfer { from, to, dry_run } => {
            let [from, to] = [settings.store.with_password(&from)?, settings.store.with_password(&to)?];
            let (source, target) = (open(&from)?, open(&to)?);
            let work = if dry_run {
                transfer::preview(source.as_ref(), target.as_ref()).await
            } else {
                transfer::transfer(source.as_ref(), target.as_ref()).await
            };
            let Transferred { from: votes, before, after } =
                work.with_context(|| format!("from {from} to {to}"))?;
            println!("From {from} to {to}{}:", if dry_run { " (nothing was changed)" } else { "" });
            print!("{}", table(&choices, &["from", "to before", "to after"], &[votes, before, after]));
        }
        Command::Export => {
            let (url, store) = selected()?;
            let snapshot = store.snapshot().await.with_context(|| url.to_string())?;
            std::io::stdout().write_all(backup::write(&snapshot, &choices)?.as_bytes())?;
        }
        Command::Import { file } => {
            let (url, store) = selected()?;
            let shown = file.display();
            let text = if file.as_os_str() == "-" {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).map(|_| text)
            } else {
                std::fs::read_to_string(&file)
            };
            let text = text.with_context(|| format!("can't read {shown}"))?;
            let snapshot = backup::read(&text, &choices).with_context(|| shown.to_string())?;
            let before = store.tally().await.with_context(|| url.to_string())?;
            store.merge(&snapshot).await.with_context(|| url.to_string())?;
            let after = store.tally().await.with_context(|| url.to_string())?;
            println!("From {shown} to {url}:");
            let columns = ["from", "to before", "to after"];
            print!("{}", table(&choices, &columns, &[snapshot.tally(), before, after]));
        }
    }
    Ok(())
}

/// The store that is configured. The variables of both kinds have defaults, so the one that is set decides.
fn selected_url(settings: &StoreArgs) -> anyhow::Result<StoreUrl> {
    let is_set = |variable| std::env::var_os(variable).is_some();
    let kind = match (is_set("REDIS_HOST"), is_set("MYSQL_HOST")) {
        _ if settings.storage_url.is_some() => StoreKind::Sqlite,
        (true, false) => StoreKind::Redis,
        (false, true) => StoreKind::MySql,
        _ => {
            let wrong =
                "does not say which store; allowed: the URL of one, or one of REDIS_HOST and MYSQL_HOST";
            return Err(InvalidSetting::of("STORAGE_URL", "", wrong).into());
        }
    };
    Ok(settings.url(kind)?)
}

/// Waits until the store is ready: its connection makes the schema, which may take longer than one call.
async fn migrate(store: &dyn VoteStore, wait: Duration) -> Result<(), StoreError> {
    let start = Instant::now();
    loop {
        match store.ping().await {
            Err(StoreError::Unavailable(cause) | StoreError::Unconfirmed(cause))
                if start.elapsed() < wait =>
            {
                eprintln!("{:>4} s: {cause}; waiting", start.elapsed().as_secs());
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            done => return done,
        }
    }
}

/// The choices and some tallies of them, one below the other.
fn table(choices: &Choices, columns: &[&str], tallies: &[Tally]) -> String {
    let names = Category::ALL.map(|category| choices.name(category).as_str());
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
    for category in Category::ALL {
        row(names[category.index()], tallies.iter().map(|tally| tally[category].to_string()).collect());
    }
    table
}
