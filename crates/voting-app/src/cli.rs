//! The settings of the program.

use clap::builder::{StringValueParser, TypedValueParser};
use clap::{Args, Parser};
use voting_config::{InvalidSetting, PollArgs, StoreArgs, port};
use voting_core::release::{AppRelease, Release};
use voting_http::check::Command;
use voting_http::config::ServeArgs;

use crate::analytics::AnalyticsUrl;

/// Serves the page on which people vote.
#[derive(Parser, Debug)]
#[command(name = "voting-app", version, about)]
pub struct Cli {
    /// What it does instead.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Release that is served: 1.0 (votes in Redis) or 2.0 (votes in MySQL).
    #[arg(long, env = "RELEASE", value_name = "RELEASE", default_value = "1.0")]
    pub release: Release<AppRelease>,

    /// Where it listens and how it leaves.
    #[command(flatten)]
    pub serve: ServeArgs,

    /// What is voted for.
    #[command(flatten)]
    pub poll: PollArgs,

    /// What the page shows and allows.
    #[command(flatten)]
    pub features: Features,

    /// URL of voting-analytics, instead of the host and port below: http://HOST:PORT.
    #[arg(long, env = "ANALYTICS_URL", value_name = "URL")]
    pub analytics_url: Option<AnalyticsUrl>,

    /// Host of voting-analytics.
    #[arg(long, env = "ANALYTICS_HOST", value_name = "HOST", default_value = "localhost")]
    pub analytics_host: String,

    /// Port of voting-analytics.
    #[arg(long, env = "ANALYTICS_PORT", value_name = "PORT", default_value_t = 8080, value_parser = port())]
    pub analytics_port: u16,

    /// Where the votes are cast.
    #[command(flatten)]
    pub store: StoreArgs,
}

/// What the page shows and allows.
#[derive(Args, Clone, Debug)]
pub struct Features {
    /// Title of the page.
    #[arg(long, env = "TITLE", value_name = "TEXT", default_value = "Azure Voting App")]
    pub title: String,

    /// Show the name of the pod at the foot of the page: true or false.
    #[arg(long, env = "SHOWDETAILS", value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", value_parser = switch())]
    pub showdetails: bool,

    /// Show the toggle of the feature flag at the foot of the page: true or false.
    #[arg(long, env = "FEATUREFLAG", value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", value_parser = switch())]
    pub featureflag: bool,

    /// Allow visitors to reset both counts: true or false.
    #[arg(long, env = "ALLOW_RESET", value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", value_parser = switch())]
    pub allow_reset: bool,

    /// Name of the pod that the page shows with SHOWDETAILS.
    #[arg(long, env = "HOSTNAME", value_name = "NAME", default_value = "this machine")]
    pub hostname: String,
}

impl Default for Features {
    /// What the program has without any setting.
    fn default() -> Self {
        Self {
            title: "Azure Voting App".to_owned(),
            showdetails: false,
            featureflag: false,
            allow_reset: true,
            hostname: "this machine".to_owned(),
        }
    }
}

/// `true` or `false`; empty is false, as in the original.
fn switch() -> impl TypedValueParser<Value = bool> {
    StringValueParser::new().try_map(|text| match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" | "" => Ok(false),
        _ => Err("is neither; allowed: true, false"),
    })
}

impl Cli {
    /// Where voting-analytics is.
    ///
    /// # Errors
    /// [`InvalidSetting`]: the host can't stand in a URL.
    pub fn analytics_url(&self) -> Result<AnalyticsUrl, InvalidSetting> {
        if let Some(url) = &self.analytics_url {
            return Ok(url.clone());
        }
        let Self { analytics_host: host, analytics_port: port, .. } = self;
        let host = if host.contains(':') { format!("[{host}]") } else { host.clone() };
        format!("http://{host}:{port}").parse().map_err(|_| {
            InvalidSetting::of(
                "ANALYTICS_HOST",
                &self.analytics_host,
                "is not a host; allowed: a host name or an IP address",
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use voting_config::parse_from;

    use super::*;

    #[test]
    fn the_originals_settings_are_read() {
        let cli: Cli = parse_from([
            "voting-app",
            "--title",
            "Pets & more",
            "--showdetails",
            "true",
            "--featureflag",
            "1",
            "--analytics-host",
            "voting-analytics",
            "--analytics-port",
            "8080",
        ])
        .unwrap();
        assert_eq!(cli.features.title, "Pets & more");
        assert!(cli.features.showdetails && cli.features.featureflag && cli.features.allow_reset);
        assert_eq!(cli.analytics_url().unwrap().to_string(), "http://voting-analytics:8080/analytics");
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let error = |arguments: [&str; 2]| {
            parse_from::<Cli>(["voting-app", arguments[0], arguments[1]]).unwrap_err().to_string()
        };
        assert_eq!(
            error(["--featureflag", "maybe"]),
            "FEATUREFLAG: \"maybe\" is neither; allowed: true, false"
        );
        assert_eq!(
            error(["--release", "3.0"]),
            "RELEASE: \"3.0\" is not a release of voting-app; allowed: 1.0, 2.0"
        );
        assert_eq!(
            error(["--port", "tcp://10.0.0.1:6379"]),
            "PORT: \"tcp://10.0.0.1:6379\" is not a port; allowed: a number from 0 to 65535"
        );
    }

    proptest! {
        #[test]
        fn whatever_a_setting_holds_it_is_used_or_refused_in_one_line(
            flag in prop::sample::select(vec![
                "release", "port", "admin-port", "listen-address", "shutdown-wait", "log-format", "client-timeout",
                "vote1value", "vote2value", "title", "showdetails", "featureflag", "allow-reset", "analytics-url",
                "analytics-host", "analytics-port", "storage-url", "redis-host", "redis-port", "mysql-host",
                "mysql-port", "mysql-user", "mysql-password", "mysql-database",
            ]),
            value in prop_oneof![
                "\\PC{0,30}",
                "[a-z]{1,8}://[a-z:@/?%0-9]{0,20}",
                "[0-9]{1,7}",
                any::<String>(),
            ],
        ) {
            let refused = match parse_from::<Cli>(["voting-app".to_owned(), format!("--{flag}={value}")]) {
                Err(refused) => refused.to_string(),
                Ok(cli) => {
                    let store = cli.store.url(cli.release.0.storage.kind);
                    let (analytics, choices) = (cli.analytics_url(), cli.poll.choices());
                    let refused = [store.err(), analytics.err(), choices.err()];
                    refused.into_iter().flatten().map(|refused| refused.to_string()).collect::<String>()
                }
            };
            prop_assert!(refused.lines().count() <= 1, "{}", refused);
        }
    }
}
