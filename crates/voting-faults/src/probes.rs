//! Faults of the probes on the operator's port.

use crate::faults::Faults;
use crate::grammar::Fault;

impl Faults {
    /// Adds the slow start to the checks of `/readyz`, or has all of them pass.
    pub fn judge_readiness(&self, checks: &mut Vec<(&'static str, bool)>) {
        if let Some(time) = self.plan().slow_start {
            checks.push(("start", self.age() >= time));
        }
        if self.plan().has(Fault::LyingReadyz) && checks.iter().any(|(_, is_ok)| !is_ok) {
            self.count(Fault::LyingReadyz);
            checks.iter_mut().for_each(|(_, is_ok)| *is_ok = true);
        }
    }

    /// Whether `/livez` fails.
    pub fn fails_liveness(&self) -> bool {
        let fails = self.plan().has(Fault::FailingLivez);
        if fails {
            self.count(Fault::FailingLivez);
        }
        fails
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus_client::registry::Registry;

    use super::*;
    use crate::grammar::FaultPlan;

    fn checks(faults: &Faults, store: bool) -> Vec<(&'static str, bool)> {
        let mut checks = vec![("store", store)];
        faults.judge_readiness(&mut checks);
        checks
    }

    fn faults(text: &str) -> Faults {
        Faults::start(FaultPlan::of_analytics(text).unwrap(), &mut Registry::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_start_is_not_ready() {
        let faults = faults("slow-start=20s");
        assert_eq!(checks(&faults, true), [("store", true), ("start", false)]);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(checks(&faults, true), [("store", true), ("start", true)]);
        assert!(!faults.fails_liveness());
    }

    #[tokio::test]
    async fn a_lying_probe_passes_and_only_lies_are_counted() {
        let faults = faults("lying-readyz,failing-livez");
        assert_eq!(checks(&faults, true), [("store", true)]);
        assert_eq!(faults.injected(Fault::LyingReadyz), 0);
        assert_eq!(checks(&faults, false), [("store", true)]);
        assert_eq!(faults.injected(Fault::LyingReadyz), 1);
        assert!(faults.fails_liveness());
    }
}
