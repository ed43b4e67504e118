//! The settings of the program.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::Parser;
use voting_config::{InvalidSetting, PollArgs, port};
use voting_http::config::LogFormat;

use crate::step::Step;

/// Runs a step of the canary tutorial in one process: voting-app, voting-analytics and an embedded store each.
#[derive(Parser, Debug)]
#[command(name = "voting-local", version, about)]
pub struct Cli {
    /// Step of the tutorial: 1 deploy, 2 update, 3 canary, 4 finalize.
    #[arg(long, env = "STEP", value_name = "STEP", default_value_t = 3)]
    pub step: u8,

    /// With step 2: only analytics 1.1 is called, as after the tutorial's routing rules; without, 1.0 and 1.1 in
    /// turn.
    #[arg(long)]
    pub locked: bool,

    /// Port of the page; 0 takes a free one.
    #[arg(long, env = "PORT", value_name = "PORT", default_value_t = 8080, value_parser = port())]
    pub port: u16,

    /// Address that it listens on; 0.0.0.0 for all of this machine.
    #[arg(long, env = "LISTEN_ADDRESS", value_name = "IP", default_value = "127.0.0.1")]
    pub listen_address: IpAddr,

    /// Directory that keeps the votes; it is made if it is not there.
    #[arg(long, env = "DATA_DIR", value_name = "DIR", default_value = "voting-data")]
    pub data_dir: PathBuf,

    /// Title of the page.
    #[arg(long, env = "TITLE", value_name = "TEXT", default_value = "Azure Voting App")]
    pub title: String,

    /// Form of the log; RUST_LOG sets its level.
    #[arg(long, env = "LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    pub log_format: LogFormat,

    /// What is voted for.
    #[command(flatten)]
    pub poll: PollArgs,
}

impl Cli {
    /// The step that runs.
    ///
    /// # Errors
    /// [`InvalidSetting`]: there is no such step, or it has no lock.
    pub fn step(&self) -> Result<Step, InvalidSetting> {
        match (self.step, self.locked) {
            (1, false) => Ok(Step::Deploy),
            (2, locked) => Ok(Step::Update { locked }),
            (3, false) => Ok(Step::Canary),
            (4, false) => Ok(Step::Finalize),
            (1 | 3 | 4, true) => Err(InvalidSetting::of("--locked", "", "goes with step 2 only")),
            (step, _) => {
                Err(InvalidSetting::of("STEP", &step.to_string(), "is not a step; allowed: 1, 2, 3, 4"))
            }
        }
    }
}
