//! The settings of the program `voting-load`.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use clap::Parser;
use clap::builder::{StringValueParser, TypedValueParser};
use url::Url;
use voting_config::{InvalidSetting, address, has_user, listen_port, number};

use voting_http::server::most_connections;

use crate::plan::{Plan, Voting};

/// Vote on a running poll as browsers do, and account for every ballot by the release that answered.
///
/// Each voter has cookies of its own, reads the page, sends its form, follows the redirect, and repeats a ballot that failed.
/// In the end every ballot is cast once more, whose answer says whether it had been counted. The poll must have no other
/// voters meanwhile, and no reset. SIGTERM and SIGINT (Ctrl-C) end the load; the audit and the account follow. A second one ends
/// the program without them.
///
/// Exit code: 0 if every promise held, 1 if one was broken, 2 if a setting is invalid, 3 if there is no account or it can't
/// tell something.
#[derive(Parser, Clone, Debug)]
#[command(name = "voting-load", version)]
pub struct Cli {
    /// URL of the poll's page, such as http://localhost:8080. Only http: the voters have no TLS.
    #[arg(long, env = "POLL_URL", value_name = "URL", value_parser = poll_url(), hide_env_values = true)]
    pub poll_url: Url,

    /// Number of voters, which is the most ballots in flight.
    #[arg(long, env = "VOTERS", value_name = "NUMBER", default_value_t = 32, value_parser = number::<u16>(1..=2000))]
    pub voters: u16,

    /// Percentage of the voters with the feature flag, rounded up to a voter.
    #[arg(long, env = "FLAGGED", value_name = "PERCENT", default_value_t = 0, value_parser = number::<u8>(0..=100))]
    pub flagged: u8,

    /// A cookie that all voters send, such as one by which a gateway selects a release.
    #[arg(long, env = "COOKIE", value_name = "NAME=VALUE", value_parser = cookie())]
    pub cookie: Option<String>,

    /// Ballots per second, whatever the answers take [default: as fast as the answers allow].
    #[arg(long, env = "RATE", value_name = "NUMBER", value_parser = number::<u32>(1..=100_000))]
    pub rate: Option<u32>,

    /// Number of ballots after which the load ends [default: no limit].
    #[arg(long, env = "BALLOTS", value_name = "NUMBER", value_parser = number::<u64>(1..=10_000_000))]
    pub ballots: Option<u64>,

    /// Seconds after which the load ends; the audit follows [default: no limit].
    #[arg(long, env = "DURATION", value_name = "SECONDS", value_parser = number::<u32>(1..=604_800))]
    pub duration: Option<u32>,

    /// Seconds in which a voter repeats a ballot that was not accepted.
    #[arg(long, env = "PATIENCE", value_name = "SECONDS", default_value_t = 30, value_parser = number::<u16>(0..=3600))]
    pub patience: u16,

    /// Port for /livez and /metrics; 0 selects a free one.
    #[arg(long, env = "ADMIN_PORT", value_name = "PORT", default_value_t = 9090, value_parser = listen_port())]
    pub admin_port: u16,

    /// Port of the picture, a page that shows where the requests go and sets the rate, at /split; 0 selects a free one
    /// [default: no such page].
    #[arg(long, env = "SPLIT_PORT", value_name = "PORT", value_parser = listen_port())]
    pub split_port: Option<u16>,

    /// IP address on which the picture's port listens. The page has no authentication, and changes the rate.
    #[arg(long, env = "SPLIT_ADDRESS", value_name = "IP", default_value = "127.0.0.1", value_parser = address())]
    pub split_address: IpAddr,

    /// IP address on which the port for metrics listens; :: for all addresses of IPv6 and IPv4.
    #[arg(long, env = "LISTEN_ADDRESS", value_name = "IP", default_value = "::", value_parser = address())]
    pub listen_address: IpAddr,
}

/// How long the results are watched for votes of others, before the load and after it.
const WATCH: Duration = Duration::from_secs(2);

impl Cli {
    /// The load.
    pub fn plan(&self) -> Plan {
        let voters = usize::from(self.voters);
        let flagged = (voters * usize::from(self.flagged)).div_ceil(100);
        let url = self.poll_url.as_str().trim_end_matches('/');
        let voting = Voting::Browsers { flagged, cookie: self.cookie.clone() };
        let plan = Plan::until_stopped(url, voting, voters, Duration::ZERO);
        Plan {
            ballots: self.ballots.unwrap_or(u64::MAX),
            duration: self.duration.map(|seconds| Duration::from_secs(seconds.into())),
            rate: self.rate,
            patience: Duration::from_secs(self.patience.into()),
            watch: WATCH,
            ..plan
        }
    }

    /// Raises the limit of open files, since each voter has a connection of its own.
    ///
    /// # Errors
    /// [`InvalidSetting`]: the limit is lower than the number of voters.
    pub(crate) fn within_open_files(self) -> Result<Self, InvalidSetting> {
        let most = most_connections();
        if usize::from(self.voters) <= most {
            return Ok(self);
        }
        let reason =
            format!("is over the limit of open files; allowed: up to {most}, or a higher `ulimit -n`");
        Err(InvalidSetting::of("VOTERS", &self.voters.to_string(), reason))
    }

    /// The address of the picture, if there is one.
    pub(crate) fn picture_address(&self) -> Option<SocketAddr> {
        self.split_port.map(|port| SocketAddr::new(self.split_address, port))
    }

    pub(crate) fn admin_address(&self) -> SocketAddr {
        SocketAddr::new(self.listen_address, self.admin_port)
    }
}

fn poll_url() -> impl TypedValueParser<Value = Url> {
    const ALLOWED: &str = "allowed: the URL of the page, such as http://localhost:8080";
    StringValueParser::new().try_map(|text| match Url::parse(&text) {
        Ok(url) if url.scheme() == "https" => {
            Err(format!("needs TLS, which the voters don't have; {ALLOWED}"))
        }
        Ok(url) if has_user(&url) => Err(format!("has a user or a password; {ALLOWED}")),
        Ok(url) if url.scheme() == "http" && url.query().is_none() && url.fragment().is_none() => Ok(url),
        _ => Err(format!("is not the URL of a page; {ALLOWED}")),
    })
}

/// A cookie without attributes, in the characters of RFC 6265.
fn cookie() -> impl TypedValueParser<Value = String> {
    StringValueParser::new().try_map(|text| {
        let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        let is_octet = |byte: u8| byte.is_ascii_graphic() && !b"\",;\\".contains(&byte);
        match text.split_once('=') {
            Some((name, value))
                if !name.is_empty() && name.bytes().all(is_token) && value.bytes().all(is_octet) =>
            {
                Ok(text)
            }
            _ => {
                Err("is not a cookie; allowed: NAME=VALUE without white space, commas and semicolons"
                    .to_owned())
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Cli, String> {
        let url = ["voting-load", "--poll-url", "http://poll.example/votes/"];
        voting_config::parse_from(url.iter().chain(arguments).copied()).map_err(|error| error.to_string())
    }

    #[test]
    fn at_least_one_voter_has_the_flag_if_any_shall() {
        for (voters, percent, expected) in [("32", "0", 0), ("32", "1", 1), ("32", "25", 8), ("3", "100", 3)]
        {
            let plan = parse(&["--voters", voters, "--flagged", percent]).unwrap().plan();
            assert!(
                matches!(plan.voting, Voting::Browsers { flagged, .. } if flagged == expected),
                "{percent}% of {voters}: {plan:?}"
            );
        }
        assert_eq!(parse(&[]).unwrap().plan().url, "http://poll.example/votes");
    }

    #[test]
    fn an_invalid_setting_is_one_line_with_what_is_allowed() {
        for (arguments, start) in [
            (["--voters", "0"], "VOTERS: \"0\" is not allowed; allowed: a whole number from 1 to 2000"),
            (["--flagged", "101"], "FLAGGED: \"101\" is not allowed; allowed: a whole number from 0 to 100"),
            (["--rate", "0.5"], "RATE: \"0.5\" is not allowed; allowed: a whole number from 1 to 100000"),
            (["--duration", "0"], "DURATION: \"0\" is not allowed; allowed: a whole number from 1 to 604800"),
        ] {
            assert_eq!(parse(&arguments).unwrap_err(), start);
        }
        for cookie in ["flag", "=on", "a b=c", "a=b; c=d", "a=b,c"] {
            let error = parse(&["--cookie", cookie]).unwrap_err();
            assert!(
                error.starts_with(&format!("COOKIE: \"{cookie}\" is not a cookie; allowed: ")),
                "{error}"
            );
        }
        assert_eq!(parse(&["--cookie", "a=b"]).unwrap().cookie.as_deref(), Some("a=b"));
        for url in
            ["poll.example", "ftp://poll.example", "https://poll.example", "http://u:secret@poll.example"]
        {
            let error =
                voting_config::parse_from::<Cli>(["voting-load", "--poll-url", url]).unwrap_err().to_string();
            assert!(
                error.starts_with("POLL_URL: ") && error.contains("allowed: the URL of the page"),
                "{error}"
            );
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
