//! Draws from a seed: which requests or ballots a fault hits.

use std::sync::{Mutex, PoisonError};

use fastrand::Rng;

use crate::grammar::{Fault, Rate};

/// A sequence of draws for each fault. The n-th draw of a fault depends on the seed alone, not on the other faults.
#[derive(Debug)]
pub(crate) struct Draws([Mutex<Rng>; Fault::ALL.len()]);

impl Draws {
    pub(crate) fn new(seed: u64) -> Self {
        let mut seeds = Rng::with_seed(seed);
        Self(Fault::ALL.map(|_| Mutex::new(Rng::with_seed(seeds.u64(..)))))
    }

    /// Whether a fault of this rate hits the next request.
    pub(crate) fn hits(&self, fault: Fault, rate: Rate) -> bool {
        let mut draws = self.0[fault as usize].lock().unwrap_or_else(PoisonError::into_inner);
        draws.u32(0..1_000_000) < rate.per_million
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hits(draws: &Draws, fault: Fault, per_million: u32) -> Vec<bool> {
        (0..100_000).map(|_| draws.hits(fault, Rate { per_million })).collect()
    }

    #[test]
    fn draws_repeat_with_the_seed_whatever_the_other_faults_draw() {
        let (one, other) = (Draws::new(42), Draws::new(42));
        hits(&one, Fault::Tail, 500_000);
        let errors = hits(&one, Fault::Error, 50_000);
        assert_eq!(errors, hits(&other, Fault::Error, 50_000));
        assert_ne!(errors, hits(&Draws::new(43), Fault::Error, 50_000));
        assert_ne!(errors, hits(&Draws::new(42), Fault::Lose, 50_000));
    }

    #[test]
    fn the_share_of_hits_is_the_rate() {
        for fault in Fault::ALL {
            let share = |per_million| {
                let hits = hits(&Draws::new(7), fault, per_million);
                hits.into_iter().filter(|hit| *hit).count()
            };
            assert!((4_700..5_300).contains(&share(50_000)), "{fault:?}: {}", share(50_000));
            assert_eq!(share(1_000_000), 100_000);
        }
    }
}
