//! Runs `docs/tutorial.md` word for word on the cluster that kubectl reaches, with voters beside it.
//!
//! Every step is taken, rolled back and taken again. The run stops at the first output that differs from the text, and removes
//! the namespace `voting` in any case.

use std::collections::HashSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use voting_tests::kubernetes::{Shell, preconditions};
use voting_tests::load::Load;
use voting_tests::tutorial::output::{Circumstances, compare};
use voting_tests::tutorial::{Block, DETOUR, Track, blocks, blocks_of, halves_of_step_3};

/// Run docs/tutorial.md on the cluster that kubectl reaches.
#[derive(Parser, Debug)]
#[command(name = "cargo xtask tutorial")]
struct Arguments {
    /// The context of the kubeconfig file; default: the current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The commands for Istio's own API, or for the Gateway API.
    #[arg(long, value_enum, default_value = "istio")]
    track: Track,
    /// Take the steps with Istio's API, and change to the Gateway API and back after each.
    #[arg(long, conflicts_with = "track")]
    change_track: bool,
}

/// The order of the tour: the steps and their ways back.
const TOUR: &[(&str, Part)] = &[
    ("Step 1", Part::Forward),
    ("Step 2", Part::Forward),
    ("Step 2", Part::WayBack),
    ("Step 2", Part::Forward),
    ("Step 3", Part::Deploy),
    (DETOUR, Part::Forward),
    (DETOUR, Part::WayBack),
    ("Step 3", Part::Route),
    ("Step 3", Part::WayBack),
    ("Step 3", Part::Restart),
    ("Step 3b", Part::Forward),
    ("Step 3b", Part::WayBack),
    ("Step 4", Part::Forward),
    ("Step 4", Part::WayBack),
    ("Step 4", Part::Forward),
    ("Step 5", Part::Forward),
];

/// The order of the tour that changes the track.
const CHANGES: &[(&str, Part)] = &[
    ("Step 1", Part::Forward),
    ("Step 1", Part::Change),
    ("Step 2", Part::Forward),
    ("Step 2", Part::Change),
    ("Step 3", Part::Forward),
    ("Step 3", Part::Change),
    ("Step 3b", Part::Forward),
    ("Step 3b", Part::Change),
    ("Step 4", Part::Forward),
    ("Step 4", Part::Change),
    ("Step 5", Part::Forward),
    ("Step 5", Part::Change),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Forward,
    /// Step 3 up to the pods of 2.0.
    Deploy,
    /// The rest of step 3.
    Route,
    /// To the Gateway API and back.
    Change,
    WayBack,
    /// "To restart the canary, run the last `kubectl apply` of step 3 again."
    Restart,
}

/// New routes reach all proxies within this time on a busy machine.
const ROUTES: Duration = Duration::from_secs(30);
/// How long voters use both addresses, or the new one alone.
const MEANWHILE: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tutorial: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let shell = Shell::new(arguments.context.as_deref()).await?;
    preconditions(&shell).await?;
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/tutorial.md"))?;
    let mut tour = Tour {
        shell,
        text,
        track: arguments.track,
        start: Instant::now(),
        load: None,
        taken: Vec::new(),
        stored: HashSet::new(),
    };
    let parts = if arguments.change_track { CHANGES } else { TOUR };
    let done = tokio::select! {
        done = tour.run(parts) => done,
        signal = interrupted() => Err(signal),
    };
    // Its voters end with it.
    tour.load = None;
    println!("{:>4} s  removing the namespace voting", tour.start.elapsed().as_secs());
    let cleaned = tour.shell.run("kubectl delete namespace voting --ignore-not-found").await;
    done.and(cleaned.map(drop))
}

/// Waits for Ctrl-C or SIGTERM.
async fn interrupted() -> anyhow::Error {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return anyhow::anyhow!("no signals") };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => anyhow::anyhow!("interrupted"),
        _ = terminate.recv() => anyhow::anyhow!("terminated"),
    }
}

struct Tour {
    shell: Shell,
    /// The tutorial.
    text: String,
    track: Track,
    start: Instant,
    load: Option<Load>,
    /// The parts that were taken already.
    taken: Vec<(&'static str, Part)>,
    /// Ids of the ballots in the stores that the tutorial has scaled down, and in the end of all.
    stored: HashSet<[u8; 16]>,
}

impl Tour {
    async fn run(&mut self, parts: &[(&'static str, Part)]) -> anyhow::Result<()> {
        let blocks = blocks_of(&self.text, self.track);
        // The cluster is prepared but for its namespace.
        let prepare = blocks.iter().filter(|block| block.subsection == "Any cluster");
        for block in prepare.filter(|block| block.commands.contains("k8s/step-0")) {
            self.block(block, "Prepare", Part::Forward).await?;
        }
        for &(step, part) in parts {
            let label = match part {
                Part::Forward => step.to_owned(),
                Part::Deploy => format!("{step}, 2.0's pods"),
                Part::Route => format!("{step}, 2.0's route"),
                Part::WayBack => format!("{step}, way back"),
                Part::Restart => format!("{step}, again"),
                Part::Change => {
                    for to in [Track::GatewayApi, Track::Istio] {
                        self.change(step, to).await?;
                    }
                    continue;
                }
            };
            if let Some(load) = &self.load {
                load.go_to(&label);
            }
            let [deploy, route] = halves_of_step_3(&blocks);
            let of_step = blocks.iter().filter(|block| {
                block.step() == step && block.is_of_the_way_back() == (part == Part::WayBack)
            });
            let blocks: Vec<_> = match part {
                Part::Deploy => deploy,
                Part::Route => route,
                _ => of_step.collect(),
            };
            ensure!(!blocks.is_empty(), "the tutorial has no {label}");
            if part == Part::Restart {
                let last = blocks.iter().rfind(|block| block.commands.starts_with("kubectl apply"));
                self.block(last.context("no kubectl apply")?, &label, part).await?;
            } else {
                for block in blocks {
                    self.block(block, &label, part).await?;
                }
            }
            self.taken.push((step, part));
        }
        let mut load = self.load.take().context("no voters")?;
        load.stop().await;
        self.stored.extend(self.shell.ballots_in_mysql().await?);
        let report = load.report(&self.stored, &[None]).await?;
        println!("\n{report}\n");
        report.check()?;
        for block in blocks.iter().filter(|block| block.section == "Clean up") {
            self.block(block, "Clean up", Part::Forward).await?;
        }
        Ok(())
    }

    /// Changes the track after a step, as the tutorial says, while voters move from one gateway to the other.
    async fn change(&mut self, step: &str, to: Track) -> anyhow::Result<()> {
        let (label, heading) = match to {
            Track::GatewayApi => (format!("{step}, to the API"), "From Istio to the Gateway API"),
            Track::Istio => (format!("{step}, to Istio"), "From the Gateway API to Istio"),
        };
        self.load.as_ref().context("no voters")?.go_to(&label);
        let (remove, create): (Vec<_>, Vec<_>) = blocks(&self.text)
            .into_iter()
            .filter(|block| block.subsection == heading)
            .partition(|block| block.before.contains("remove the old routes"));
        let names =
            |block: &Block, when: &str| block.before.contains(&when.replace("STEP", &step.to_lowercase()));
        let last = create.iter().rposition(|block| names(block, "From STEP on")).context("no such step")?;
        for (index, block) in create.iter().enumerate() {
            // Each step's block in order, up to that of the last step.
            let is_for_all_later = !block.before.contains("alone:") && index <= last;
            if is_for_all_later || names(block, "In STEP alone") {
                self.block(block, &label, Part::Change).await?;
            }
        }
        let address = blocks(&self.text).into_iter().filter(|block| {
            let is_address = ["kubectl wait", "INGRESS_IP="].iter().any(|it| block.commands.starts_with(it));
            block.step() == "Step 1" && block.track == Some(to) && is_address
        });
        for block in address {
            self.block(&block, &label, Part::Change).await?;
        }
        let url = format!("http://{}", self.shell.run("echo $INGRESS_IP").await?.trim());
        self.until_served(&url).await?;
        let load = self.load.as_mut().context("no voters")?;
        load.come_to(&url)?;
        tokio::time::sleep(MEANWHILE).await;
        load.leave().await;
        for block in &remove {
            self.block(block, &label, Part::Change).await?;
        }
        tokio::time::sleep(MEANWHILE).await;
        Ok(())
    }

    /// Waits until a new gateway has its routes.
    async fn until_served(&self, url: &str) -> anyhow::Result<()> {
        let start = Instant::now();
        while self.shell.run(&format!("curl --silent --fail --output /dev/null {url}")).await.is_err() {
            ensure!(start.elapsed() < ROUTES, "{url} does not serve");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }

    async fn block(&mut self, block: &Block, label: &str, part: Part) -> anyhow::Result<()> {
        // These are for AKS only.
        if block.commands.contains("aks-istio") {
            return Ok(());
        }
        let first = block.commands.lines().next().unwrap_or_default();
        let number = block.commands.lines().count();
        let more = if number > 1 { format!(" (and {} more)", number - 1) } else { String::new() };
        println!("{:>4} s  {label}: {first}{more}", self.start.elapsed().as_secs());
        let is_merged = self.taken.iter().any(|(step, part)| *step == "Step 3b" && *part == Part::WayBack)
            || self.taken.contains(&("Step 3", Part::WayBack))
            // The results are shown after the transfer.
            || label.starts_with("Step 4");
        let is_repeated = part == Part::Restart
            || is_merged
            || self.taken.iter().any(|(step, part)| label.starts_with(step) && *part == Part::WayBack);
        if block.commands.contains("deployment/voting-storage-1-0 --replicas=0") {
            self.stored.extend(self.shell.ballots_in_redis().await?);
        }
        let is_flagged = block.commands.contains("featureflag=on");
        let run = async |[old, new]: [[u64; 2]; 2]| {
            // Until the votes of 2.0 are transferred, each release has its own.
            let votes = match (is_merged, is_flagged) {
                (true, _) => [old[0] + new[0], old[1] + new[1]],
                (false, true) => new,
                (false, false) => old,
            };
            self.judge(block, Circumstances { votes, is_repeated }).await
        };
        match &self.load {
            Some(load) if block.output.contains("results") => load.between_votes(run).await?,
            _ => run([[0; 2]; 2]).await?,
        }
        // The first votes are the tutorial's own.
        if self.load.is_none() && block.commands.contains("grep results") {
            let address = self.shell.run("echo $INGRESS_IP").await?;
            self.load = Some(Load::start(&format!("http://{}", address.trim()), label)?);
        }
        Ok(())
    }

    /// Runs a block and compares the output. One that only reads is repeated until new routes have reached all proxies and new
    /// pods run.
    async fn judge(&self, block: &Block, circumstances: Circumstances) -> anyhow::Result<()> {
        let only_reads = (block.commands.contains("curl") && !block.commands.contains(" -d "))
            || block.commands.starts_with("kubectl logs")
            || block.commands.starts_with("istioctl experimental describe")
            || block.commands.starts_with("kubectl get httproute");
        let start = Instant::now();
        loop {
            let difference = match self.shell.run(&block.commands).await {
                Ok(printed) => match compare(block, &printed, circumstances) {
                    Ok(()) => return Ok(()),
                    Err(difference) => difference,
                },
                Err(error) => format!("the command failed: {error:#}"),
            };
            if !only_reads || start.elapsed() > ROUTES {
                let open = self.load.as_ref().map_or(0, Load::open_outcomes);
                bail!(
                    "another output than the tutorial's of:\n{}{difference}\n\
                     ballots of the voters without a known outcome, which the tallies may include: {open}",
                    block.commands
                );
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}
