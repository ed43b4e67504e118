//! The faults of a running program.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

use crate::draw::Draws;
use crate::grammar::{Fault, FaultPlan, Rate};

/// The faults of a running program; clones share their draws and metrics.
#[derive(Clone, Debug)]
pub struct Faults(Arc<State>);

#[derive(Debug)]
struct State {
    plan: FaultPlan,
    draws: Draws,
    started: Instant,
    injected: Family<FaultLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FaultLabel {
    fault: &'static str,
}

impl Faults {
    /// Starts to inject these faults, registers their metrics and warns the operator in the log.
    pub fn start(plan: FaultPlan, registry: &mut Registry) -> Self {
        tracing::warn!(faults = %plan, "bad release: this program injects faults, use it for rehearsals only");
        registry.register(
            "voting_faults",
            "Configured faults of a bad release",
            Info::new([("faults", plan.to_string())]),
        );
        let injected = Family::<FaultLabel, Counter>::default();
        for fault in plan.faults() {
            // To Prometheus, a series that appears with its first fault has not increased.
            drop(injected.get_or_create(&FaultLabel { fault: fault.name() }));
        }
        registry.register("voting_faults_injected", "Injected faults by kind", injected.clone());
        let draws = Draws::new(plan.seed);
        Self(Arc::new(State { plan, draws, started: Instant::now(), injected }))
    }

    /// The configured faults.
    pub fn plan(&self) -> &FaultPlan {
        &self.0.plan
    }

    /// The names of the configured faults as a token of a header: `error.lose`.
    pub fn names(&self) -> String {
        self.plan().faults().iter().map(|fault| fault.name()).collect::<Vec<_>>().join(".")
    }

    /// How long ago the program started.
    pub(crate) fn age(&self) -> Duration {
        self.0.started.elapsed()
    }

    /// Whether a fault hits the next request. A hit is to be counted once it takes effect.
    pub(crate) fn hits(&self, fault: Fault, rate: Option<Rate>) -> bool {
        rate.is_some_and(|rate| self.0.draws.hits(fault, rate))
    }

    /// Counts an injected fault.
    pub(crate) fn count(&self, fault: Fault) {
        self.0.injected.get_or_create(&FaultLabel { fault: fault.name() }).inc();
    }

    /// How many faults of this kind were injected.
    #[cfg(test)]
    pub(crate) fn injected(&self, fault: Fault) -> u64 {
        self.0.injected.get_or_create(&FaultLabel { fault: fault.name() }).get()
    }
}
