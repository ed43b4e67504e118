//! Results that don't add up.

use voting_core::{Choice, Tally};

use crate::faults::Faults;
use crate::grammar::Fault;

impl Faults {
    /// The counts to show for this tally: a share of them has more votes for the first choice than were cast.
    pub fn counts(&self, tally: Tally) -> Tally {
        if !self.hits(Fault::WrongSummary, self.plan().wrong_summary) {
            return tally;
        }
        self.count(Fault::WrongSummary);
        let surplus = 1 + tally.total() / 10;
        Tally::new(tally[Choice::First].saturating_add(surplus), tally[Choice::Second])
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::grammar::FaultPlan;

    #[test]
    fn a_share_of_summaries_does_not_add_up() {
        let plan = FaultPlan::of_analytics("wrong-summary=20%").unwrap();
        let faults = Faults::start(plan, &mut Registry::default());
        for tally in [Tally::default(), Tally::new(20, 40)] {
            let wrong = (0..1000).filter(|_| faults.counts(tally) != tally).count();
            assert!((150..250).contains(&wrong), "{tally:?}: {wrong}");
        }
    }
}
