//! Settings.

use clap::{Args, Parser};
use voting_config::{InvalidSetting, PollArgs, StoreArgs, host, port, switch, url_host};
use voting_core::release::{AppRelease, Release};
use voting_faults::FaultPlan;
use voting_http::check::Command;
use voting_http::config::{ProxyArgs, ServeArgs};

use crate::analytics::AnalyticsUrl;

/// Serve the page of the poll.
#[derive(Parser, Debug)]
#[command(name = "voting-app", version, about)]
pub struct Cli {
    /// Subcommand to run instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// Release to serve: 1.0 (votes in Redis) or 2.0 (votes in MySQL).
    #[arg(long, env = "RELEASE", value_name = "RELEASE", default_value = "1.0")]
    pub release: Release<AppRelease>,

    /// Listener and shutdown settings.
    #[command(flatten)]
    pub serve: ServeArgs,

    /// The choices of the poll.
    #[command(flatten)]
    pub poll: PollArgs,

    /// Content of the page.
    #[command(flatten)]
    pub page: PageArgs,

    /// The proxies in front of the page.
    #[command(flatten)]
    pub proxy: ProxyArgs,

    /// URL of voting-analytics, instead of the host and port below: http://HOST:PORT.
    #[arg(long, env = "ANALYTICS_URL", value_name = "URL")]
    pub analytics_url: Option<AnalyticsUrl>,

    /// Host of voting-analytics.
    #[arg(long, env = "ANALYTICS_HOST", value_name = "HOST", default_value = "localhost", value_parser = host())]
    pub analytics_host: String,

    /// Port of voting-analytics.
    #[arg(long, env = "ANALYTICS_PORT", value_name = "PORT", default_value_t = 8080, value_parser = port())]
    pub analytics_port: u16,

    /// The store of the votes.
    #[command(flatten)]
    pub store: StoreArgs,

    /// Faults to inject, to rehearse a canary that fails: a list of error=RATE, latency=TIME, tail=RATE:TIME, slow-start=TIME,
    /// crash-after=REQUESTS, leak=SIZE, lying-readyz, failing-livez, lose=RATE, double=RATE, seed=NUMBER, separated by commas. An
    /// example: error=5%,tail=1%:2s,lose=2%,seed=42. Never set it on a real poll. [default: no faults]
    #[arg(long, env = "FAULTS", value_name = "LIST", value_parser = FaultPlan::of_app)]
    pub faults: Option<FaultPlan>,
}

/// Default of `TITLE`.
pub const DEFAULT_TITLE: &str = "Azure Voting App";

/// Default of `HOSTNAME`, which Kubernetes and Docker set.
const DEFAULT_HOSTNAME: &str = "this machine";

/// Content of the page.
#[derive(Args, Clone, Debug)]
pub struct PageArgs {
    /// Title of the page.
    #[arg(long, env = "TITLE", value_name = "TEXT", default_value = DEFAULT_TITLE)]
    pub title: String,

    /// Show the name of the pod in the footer of the page: true or false.
    #[arg(long, env = "SHOWDETAILS", value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", value_parser = switch())]
    pub showdetails: bool,

    /// Show the feature-flag toggle in the footer of the page: true or false.
    #[arg(long, env = "FEATUREFLAG", value_name = "BOOL", default_value_t = false, num_args = 0..=1, default_missing_value = "true", value_parser = switch())]
    pub featureflag: bool,

    /// Allow visitors to reset the poll: true or false.
    #[arg(long, env = "ALLOW_RESET", value_name = "BOOL", default_value_t = true, num_args = 0..=1, default_missing_value = "true", value_parser = switch())]
    pub allow_reset: bool,

    /// Name of the pod, shown with SHOWDETAILS.
    #[arg(long, env = "HOSTNAME", value_name = "NAME", default_value = DEFAULT_HOSTNAME)]
    pub hostname: String,
}

impl Default for PageArgs {
    /// The defaults of the settings, whatever the environment holds.
    fn default() -> Self {
        Self {
            title: DEFAULT_TITLE.to_owned(),
            showdetails: false,
            featureflag: false,
            allow_reset: true,
            hostname: DEFAULT_HOSTNAME.to_owned(),
        }
    }
}

impl Cli {
    /// The URL of voting-analytics: `ANALYTICS_URL`, otherwise host and port.
    ///
    /// # Errors
    /// [`InvalidSetting`]: an invalid host.
    pub fn analytics_url(&self) -> Result<AnalyticsUrl, InvalidSetting> {
        if let Some(url) = &self.analytics_url {
            return Ok(url.clone());
        }
        let Self { analytics_host: host, analytics_port: port, .. } = self;
        format!("http://{}:{port}", url_host(host)).parse().map_err(|_| {
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
    fn the_settings_of_azure_vote_are_accepted() {
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
        assert_eq!(cli.page.title, "Pets & more");
        assert!(cli.page.showdetails && cli.page.featureflag && cli.page.allow_reset);
        assert_eq!(cli.analytics_url().unwrap().to_string(), "http://voting-analytics:8080/analytics");
    }

    #[test]
    fn addresses_of_ipv6_may_stand_in_brackets() {
        let cli = |arguments: &[&str]| parse_from::<Cli>([&["voting-app"], arguments].concat());
        assert_eq!(cli(&[]).unwrap().serve.listen_address, std::net::Ipv6Addr::UNSPECIFIED);
        for address in ["::1", "[::1]", "2001:db8::7"] {
            let cli = cli(&["--analytics-host", address, "--listen-address", address]).unwrap();
            let bare = address.trim_matches(['[', ']']);
            assert_eq!(cli.serve.listen_address.to_string(), bare);
            assert_eq!(cli.analytics_url().unwrap().to_string(), format!("http://[{bare}]:8080/analytics"));
        }
        for address in ["localhost", "[127.0.0.1]", "[::1", "::1]", "1"] {
            let error = cli(&["--listen-address", address]).unwrap_err().to_string();
            assert!(error.contains("is not an IP address; allowed: one of IPv4 or IPv6"), "{error}");
        }
    }

    #[test]
    fn an_invalid_value_is_an_error_with_its_variable() {
        let error = |arguments: [&str; 2]| {
            parse_from::<Cli>(["voting-app", arguments[0], arguments[1]]).unwrap_err().to_string()
        };
        assert_eq!(
            error(["--featureflag", "maybe"]),
            "FEATUREFLAG: \"maybe\" is not a boolean; allowed: true, false"
        );
        assert_eq!(
            error(["--release", "3.0"]),
            "RELEASE: \"3.0\" is not a release of voting-app; allowed: 1.0, 2.0"
        );
        assert_eq!(
            error(["--analytics-host", "Bücher"]),
            "ANALYTICS_HOST: \"Bücher\" is not a host; allowed: a host name or an IP address, without a port"
        );
        assert_eq!(
            error(["--port", "tcp://10.0.0.1:6379"]),
            "PORT: \"tcp://10.0.0.1:6379\" is not a port; allowed: a number from 0 to 65535"
        );
    }

    proptest! {
        #[test]
        fn every_value_is_accepted_or_rejected_in_one_line(
            flag in prop::sample::select(vec![
                "release", "port", "admin-port", "listen-address", "shutdown-wait", "log-format", "client-timeout",
                "trusted-origins", "trust-forwarded-host", "hsts-max-age", "vote1value", "vote2value", "title", "showdetails", "featureflag", "allow-reset", "analytics-url",
                "analytics-host", "analytics-port", "storage-url", "redis-host", "redis-port", "mysql-host",
                "mysql-port", "mysql-user", "mysql-password", "mysql-database", "faults",
            ]),
            value in prop_oneof![
                "\\PC{0,30}",
                "[a-z]{1,8}://[a-z:@/?%0-9]{0,20}",
                "[0-9]{1,7}",
                any::<String>(),
            ],
        ) {
            let error = match parse_from::<Cli>(["voting-app".to_owned(), format!("--{flag}={value}")]) {
                Err(error) => error.to_string(),
                Ok(cli) => {
                    let store = cli.store.url(cli.release.0.storage.kind);
                    let (analytics, choices) = (cli.analytics_url(), cli.poll.choices());
                    let errors = [store.err(), analytics.err(), choices.err()];
                    errors.into_iter().flatten().map(|error| error.to_string()).collect::<String>()
                }
            };
            prop_assert!(error.lines().count() <= 1, "{}", error);
        }
    }
}
