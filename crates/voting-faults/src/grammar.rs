//! The setting `FAULTS`: a list such as `error=5%,tail=1%:2s,lose=2%,seed=42`.
//!
//! | value | form |
//! |---|---|
//! | `RATE` | a percentage with up to 4 decimals: `5%`, `0.5%` |
//! | `TIME` | milliseconds or seconds: `200ms`, `20s` |
//! | `SIZE` | `64KiB`, `1MiB` |
//! | `REQUESTS`, `NUMBER` | a whole number |

use std::fmt;
use std::time::Duration;

/// A program that can be told to misbehave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Component {
    /// voting-app.
    App,
    /// voting-analytics.
    Analytics,
}

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// A share of requests is answered with 500.
    Error,
    /// Every request takes longer.
    Latency,
    /// A share of requests takes much longer.
    Tail,
    /// The service is not ready for a while after its start, and answers requests with 503.
    SlowStart,
    /// The process aborts after a number of requests.
    CrashAfter,
    /// Every request leaves memory behind.
    Leak,
    /// `/readyz` says ready, whether the service is or not.
    LyingReadyz,
    /// `/livez` fails.
    FailingLivez,
    /// A share of summaries doesn't add up.
    WrongSummary,
    /// A share of ballots is acknowledged but not stored.
    Lose,
    /// A share of ballots counts twice.
    Double,
}

impl Fault {
    /// All faults.
    pub const ALL: [Self; 11] = [
        Self::Error,
        Self::Latency,
        Self::Tail,
        Self::SlowStart,
        Self::CrashAfter,
        Self::Leak,
        Self::LyingReadyz,
        Self::FailingLivez,
        Self::WrongSummary,
        Self::Lose,
        Self::Double,
    ];

    /// Its item in the list: `error=RATE`.
    pub fn item(self) -> &'static str {
        self.syntax().0
    }

    /// Its item in the list, and what its value may be.
    fn syntax(self) -> (&'static str, &'static str) {
        const RATE: &str = "RATE from 0.0001% to 100%";
        const TIME: &str = "TIME from 1ms to 3600s";
        match self {
            Self::Error => ("error=RATE", RATE),
            Self::Latency => ("latency=TIME", TIME),
            Self::Tail => ("tail=RATE:TIME", "RATE from 0.0001% to 100%, TIME from 1ms to 3600s"),
            Self::SlowStart => ("slow-start=TIME", TIME),
            Self::CrashAfter => ("crash-after=REQUESTS", "REQUESTS from 1"),
            Self::Leak => ("leak=SIZE", "SIZE from 1KiB to 16MiB"),
            Self::LyingReadyz => ("lying-readyz", "no value"),
            Self::FailingLivez => ("failing-livez", "no value"),
            Self::WrongSummary => ("wrong-summary=RATE", RATE),
            Self::Lose => ("lose=RATE", RATE),
            Self::Double => ("double=RATE", RATE),
        }
    }

    /// Its name in the setting, in metrics and in the header `x-voting-path`.
    pub fn name(self) -> &'static str {
        self.item().split_once('=').map_or(self.item(), |(name, _)| name)
    }

    /// Whether a program can have it.
    pub fn is_of(self, component: Component) -> bool {
        match self {
            Self::WrongSummary => component == Component::Analytics,
            Self::Lose | Self::Double => component == Component::App,
            _ => true,
        }
    }
}

/// The share of requests or ballots that a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub(crate) per_million: u32,
}

/// The faults that an operator has configured: the value of `FAULTS`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    text: String,
    faults: Vec<Fault>,
    pub(crate) error: Option<Rate>,
    pub(crate) latency: Option<Duration>,
    pub(crate) tail: Option<(Rate, Duration)>,
    pub(crate) slow_start: Option<Duration>,
    pub(crate) crash_after: Option<u64>,
    pub(crate) leak: Option<usize>,
    pub(crate) wrong_summary: Option<Rate>,
    pub(crate) lose: Option<Rate>,
    pub(crate) double: Option<Rate>,
    pub(crate) seed: u64,
}

/// A text is not a list of faults that the program can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidFaults {
    component: Component,
    reason: Reason,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Reason {
    None,
    Unknown(String),
    Foreign(Fault),
    Twice(&'static str),
    Value(&'static str, &'static str),
}

impl FaultPlan {
    /// Parses the setting of voting-app.
    ///
    /// # Errors
    /// [`InvalidFaults`].
    pub fn of_app(text: &str) -> Result<Self, InvalidFaults> {
        Self::parse(text, Component::App)
    }

    /// Parses the setting of voting-analytics.
    ///
    /// # Errors
    /// [`InvalidFaults`].
    pub fn of_analytics(text: &str) -> Result<Self, InvalidFaults> {
        Self::parse(text, Component::Analytics)
    }

    /// Parses the setting of a program.
    ///
    /// # Errors
    /// [`InvalidFaults`]: an unknown fault, one of another program, a value that is not allowed, or no fault at all.
    pub fn parse(text: &str, component: Component) -> Result<Self, InvalidFaults> {
        let invalid = |reason| InvalidFaults { component, reason };
        let items: Vec<_> = text.split(',').map(str::trim).filter(|item| !item.is_empty()).collect();
        let mut plan = Self::without_faults(items.join(","));
        let mut has_seed = false;
        for item in items {
            let (name, value) =
                item.split_once('=').map_or((item, None), |(name, value)| (name, Some(value)));
            if name == SEED {
                if std::mem::replace(&mut has_seed, true) {
                    return Err(invalid(Reason::Twice(SEED)));
                }
                plan.seed = value
                    .and_then(whole_number)
                    .ok_or(invalid(Reason::Value(SEED_SYNTAX, "NUMBER from 0")))?;
                continue;
            }
            let fault = Fault::ALL.into_iter().find(|fault| fault.name() == name);
            let fault =
                fault.ok_or_else(|| invalid(Reason::Unknown(name.chars().take(MOST_SHOWN).collect())))?;
            if !fault.is_of(component) {
                return Err(invalid(Reason::Foreign(fault)));
            }
            if plan.has(fault) {
                return Err(invalid(Reason::Twice(fault.name())));
            }
            let (syntax, allowed) = fault.syntax();
            plan.set(fault, value).ok_or(invalid(Reason::Value(syntax, allowed)))?;
            plan.faults.push(fault);
        }
        if plan.faults.is_empty() { Err(invalid(Reason::None)) } else { Ok(plan) }
    }

    fn without_faults(text: String) -> Self {
        Self {
            text,
            faults: Vec::new(),
            error: None,
            latency: None,
            tail: None,
            slow_start: None,
            crash_after: None,
            leak: None,
            wrong_summary: None,
            lose: None,
            double: None,
            seed: 0,
        }
    }

    /// Adds a fault; `None` if its value is not allowed.
    fn set(&mut self, fault: Fault, value: Option<&str>) -> Option<()> {
        match fault {
            Fault::Error => self.error = Some(rate(value?)?),
            Fault::Latency => self.latency = Some(time(value?)?),
            Fault::Tail => {
                let (share, duration) = value?.split_once(':')?;
                self.tail = Some((rate(share)?, time(duration)?));
            }
            Fault::SlowStart => self.slow_start = Some(time(value?)?),
            Fault::CrashAfter => self.crash_after = Some(whole_number(value?).filter(|number| *number > 0)?),
            Fault::Leak => self.leak = Some(size(value?)?),
            Fault::LyingReadyz | Fault::FailingLivez => return value.is_none().then_some(()),
            Fault::WrongSummary => self.wrong_summary = Some(rate(value?)?),
            Fault::Lose => self.lose = Some(rate(value?)?),
            Fault::Double => self.double = Some(rate(value?)?),
        }
        Some(())
    }

    /// Whether a fault is configured.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.contains(&fault)
    }

    /// The configured faults.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

/// The value of the setting, which parses to the same plan.
impl fmt::Display for FaultPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for InvalidFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { component, reason } = self;
        let list = || {
            let faults = Fault::ALL.into_iter().filter(|fault| fault.is_of(*component));
            let items: Vec<_> = faults.map(Fault::item).chain([SEED_SYNTAX]).collect();
            items.join(",")
        };
        match reason {
            Reason::None => write!(f, "names no fault; allowed: one or more of {}", list()),
            Reason::Unknown(name) => write!(f, "names the unknown fault {name:?}; allowed: {}", list()),
            Reason::Foreign(fault) => {
                let program = match component {
                    Component::App => "voting-app",
                    Component::Analytics => "voting-analytics",
                };
                write!(
                    f,
                    "names the fault {:?}, which {program} can't have; allowed: {}",
                    fault.name(),
                    list()
                )
            }
            Reason::Twice(name) => write!(f, "names {name:?} more than once; allowed: once"),
            Reason::Value(syntax, values) => {
                let name = syntax.split('=').next().unwrap_or_default();
                write!(f, "has no valid value of {name:?}; allowed: {syntax}, {values}")
            }
        }
    }
}

impl std::error::Error for InvalidFaults {}

/// The most characters of an unknown fault in the error.
const MOST_SHOWN: usize = 40;
const SEED: &str = "seed";
const SEED_SYNTAX: &str = "seed=NUMBER";

fn whole_number(text: &str) -> Option<u64> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

fn rate(text: &str) -> Option<Rate> {
    const DECIMALS: usize = 4;
    let number = text.strip_suffix('%')?;
    let (whole, decimals) = number.split_once('.').unwrap_or((number, "0"));
    if decimals.len() > DECIMALS {
        return None;
    }
    whole_number(decimals)?;
    let millionths =
        whole_number(whole)?.checked_mul(10_000)?.checked_add(whole_number(&format!("{decimals:0<4}"))?)?;
    let is_allowed = (1..=1_000_000).contains(&millionths);
    is_allowed.then(|| u32::try_from(millionths).ok())?.map(|per_million| Rate { per_million })
}

fn time(text: &str) -> Option<Duration> {
    let (number, millis) = match text.strip_suffix("ms") {
        Some(number) => (number, 1),
        None => (text.strip_suffix('s')?, 1000),
    };
    let millis = whole_number(number)?.checked_mul(millis)?;
    (1..=3_600_000).contains(&millis).then(|| Duration::from_millis(millis))
}

fn size(text: &str) -> Option<usize> {
    let (number, kibibytes) = match text.strip_suffix("KiB") {
        Some(number) => (number, 1),
        None => (text.strip_suffix("MiB")?, 1024),
    };
    let kibibytes = whole_number(number)?.checked_mul(kibibytes)?;
    (1..=16 * 1024).contains(&kibibytes).then(|| usize::try_from(kibibytes * 1024).ok())?
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(text: &str, component: Component) -> String {
        FaultPlan::parse(text, component).unwrap_err().to_string()
    }

    #[test]
    fn a_list_names_faults_with_their_values() {
        let text = "error=5%, latency=200ms,tail=0.5%:2s,slow-start=20s,crash-after=500,leak=64KiB,lying-readyz,\
                    failing-livez,lose=2%,double=0.0001%,seed=42";
        let plan = FaultPlan::of_app(text).unwrap();
        let rate = |per_million| Rate { per_million };
        assert_eq!(
            (plan.error, plan.lose, plan.double),
            (Some(rate(50_000)), Some(rate(20_000)), Some(rate(1)))
        );
        assert_eq!(plan.latency, Some(Duration::from_millis(200)));
        assert_eq!(plan.tail, Some((rate(5_000), Duration::from_secs(2))));
        assert_eq!((plan.slow_start, plan.crash_after), (Some(Duration::from_secs(20)), Some(500)));
        assert_eq!((plan.leak, plan.seed), (Some(65_536), 42));
        assert!(
            plan.has(Fault::LyingReadyz) && plan.has(Fault::FailingLivez) && !plan.has(Fault::WrongSummary)
        );
        assert_eq!(plan.to_string(), text.replace(' ', ""));
        assert_eq!(FaultPlan::of_app(" ,error=5%,, ").unwrap().to_string(), "error=5%");
        let plan = FaultPlan::of_analytics("wrong-summary=100%,leak=16MiB").unwrap();
        assert_eq!((plan.wrong_summary, plan.leak, plan.seed), (Some(rate(1_000_000)), Some(16 << 20), 0));
    }

    #[test]
    fn an_invalid_list_is_an_error_with_what_is_allowed() {
        let of_app = "allowed: error=RATE,latency=TIME,tail=RATE:TIME,slow-start=TIME,crash-after=REQUESTS,leak=SIZE,\
                      lying-readyz,failing-livez,lose=RATE,double=RATE,seed=NUMBER";
        let of_analytics = of_app.replace("lose=RATE,double=RATE", "wrong-summary=RATE");
        assert_eq!(error("eror=5%", Component::App), format!("names the unknown fault \"eror\"; {of_app}"));
        assert!(error(&"e".repeat(100_000), Component::App).len() < 500);
        for (fault, component, allowed) in [
            ("wrong-summary", Component::App, of_app),
            ("lose", Component::Analytics, &of_analytics),
            ("double", Component::Analytics, &of_analytics),
        ] {
            let error = error(&format!("{fault}=1%"), component);
            assert!(error.starts_with(&format!("names the fault \"{fault}\", which voting-")), "{error}");
            assert!(error.ends_with(allowed), "{error}");
        }
        for empty in ["", ",", " , ", "seed=1"] {
            assert!(
                error(empty, Component::App).starts_with("names no fault; allowed: one or more of error=")
            );
        }
        assert_eq!(
            error("error=1%,error=1%", Component::App),
            "names \"error\" more than once; allowed: once"
        );
        assert_eq!(error("seed=1,seed=1", Component::App), "names \"seed\" more than once; allowed: once");
        assert_eq!(
            error("error=200%", Component::App),
            "has no valid value of \"error\"; allowed: error=RATE, RATE from 0.0001% to 100%"
        );
    }

    #[test]
    fn values_out_of_their_range_are_rejected() {
        for item in [
            "error",
            "error=",
            "error=5",
            "error=%",
            "error=0%",
            "error=100.0001%",
            "error=0.00001%",
            "error=-1%",
            "error=+1%",
            "error=1.%",
            "error=.5%",
            "error=1e1%",
            "latency=1",
            "latency=0ms",
            "latency=3601s",
            "latency=1.5s",
            "latency=99999999999999999999s",
            "tail=1%",
            "tail=2s",
            "tail=2s:1%",
            "tail=1%:0s",
            "slow-start=1h",
            "crash-after=0",
            "crash-after=-1",
            "crash-after=1.5",
            "leak=1",
            "leak=0KiB",
            "leak=17MiB",
            "leak=1kb",
            "lying-readyz=1",
            "failing-livez=true",
            "lose=101%",
            "double=x",
            "error=1%,seed=-1",
            "error=1%,seed=18446744073709551616",
            "error=1%,seed",
        ] {
            let error = error(item, Component::App);
            assert!(
                error.starts_with("has no valid value of ") && error.contains("allowed: "),
                "{item}: {error}"
            );
        }
    }

    #[test]
    fn the_names_of_faults_are_tokens_of_a_header() {
        for fault in Fault::ALL {
            assert!(fault.name().bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{fault:?}");
        }
    }

    proptest! {
        #[test]
        fn every_text_is_a_plan_that_reads_back_or_an_error_in_one_line(
            text in "((error|tail|lose|wrong-summary|leak|seed|latency)(=[0-9.]{0,4}(%|%:[0-9]s|ms|KiB|))?,?){0,4}|\\PC{0,20}",
        ) {
            for component in [Component::App, Component::Analytics] {
                match FaultPlan::parse(&text, component) {
                    Ok(plan) => {
                        prop_assert!(!plan.faults().is_empty());
                        prop_assert_eq!(FaultPlan::parse(&plan.to_string(), component), Ok(plan));
                    }
                    Err(error) => {
                        let error = error.to_string();
                        prop_assert!(error.lines().count() == 1 && error.contains("allowed: "), "{}", error);
                    }
                }
            }
        }
    }
}
