//! Settings.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;
use voting_app::cli::DEFAULT_TITLE;
use voting_config::{InvalidSetting, PollArgs, address, listen_port, number};
use voting_faults::FaultPlan;
use voting_http::config::LogFormat;
use voting_http::host::HostName;

use crate::step::Step;

/// Run a step of the canary tutorial in one process: voting-app, voting-analytics and embedded stores.
#[derive(Parser, Debug)]
#[command(name = "voting-local", version, about)]
pub struct Cli {
    /// Step of the tutorial: 1 deploy, 2 update, 3 canary, 4 finalize.
    #[arg(long, env = "STEP", value_name = "STEP", default_value_t = 3, value_parser = number::<u8>(1..=4))]
    pub step: u8,

    /// In step 2, call only analytics 1.1, as the tutorial's routing rules do, instead of 1.0 and 1.1 in turn.
    #[arg(long)]
    pub locked: bool,

    /// Port of the page; 0 selects a free one.
    #[arg(long, env = "PORT", value_name = "PORT", default_value_t = 8080, value_parser = listen_port())]
    pub port: u16,

    /// Address to listen on; :: for all interfaces.
    #[arg(long, env = "LISTEN_ADDRESS", value_name = "IP", default_value = "127.0.0.1", value_parser = address())]
    pub listen_address: IpAddr,

    /// Names of this machine, separated by commas, under which browsers may open the page besides localhost. Other names
    /// are rejected: a web page could point one at this machine and vote.
    #[arg(long, env = "ALLOWED_HOSTS", value_name = "NAMES", value_delimiter = ',')]
    pub allowed_hosts: Vec<HostName>,

    /// Directory of the votes, created if missing.
    #[arg(long, env = "DATA_DIR", value_name = "DIR", default_value = "voting-data")]
    pub data_dir: PathBuf,

    /// Title of the page.
    #[arg(long, env = "TITLE", value_name = "TEXT", default_value = DEFAULT_TITLE)]
    pub title: String,

    /// Faults that the newest voting-app of the step injects, to see a bad release at /split: a list such as error=20% or
    /// tail=5%:2s,lose=10%. With lose and double, votes are wrong and stay wrong. [default: no faults]
    #[arg(long, env = "FAULTS", value_name = "LIST", value_parser = FaultPlan::of_app)]
    pub faults: Option<FaultPlan>,

    /// Format of the log; RUST_LOG sets its level.
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// The choices of the poll.
    #[command(flatten)]
    pub poll: PollArgs,
}

impl Cli {
    /// The step to run.
    ///
    /// # Errors
    /// [`InvalidSetting`]: an unknown step, or `--locked` with another step than 2.
    pub fn step(&self) -> Result<Step, InvalidSetting> {
        match (self.step, self.locked) {
            (1, false) => Ok(Step::Deploy),
            (2, locked) => Ok(Step::Update { locked }),
            (3, false) => Ok(Step::Canary),
            (4, false) => Ok(Step::Finalize),
            (step @ (1 | 3 | 4), true) => {
                Err(InvalidSetting::of("STEP", &step.to_string(), "conflicts with --locked; allowed: 2"))
            }
            (step, _) => {
                Err(InvalidSetting::of("STEP", &step.to_string(), "is not a step; allowed: 1, 2, 3, 4"))
            }
        }
    }
}
