//! Random schedules of faults, each the same for the same seed.

use std::fmt;

use super::{ClusterRelease, Fault};

/// A fault, and when it begins and ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub fault: Fault,
    /// Milliseconds from the start of the schedule.
    pub start: u64,
    /// Milliseconds from the start of the fault.
    pub length: u64,
}

impl Event {
    pub fn end(&self) -> u64 {
        self.start + self.length
    }
}

/// Faults of a cluster under load, which may overlap unless they have the same [`Fault::target`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    pub release: ClusterRelease,
    pub events: Vec<Event>,
}

/// A change of a fault in the course of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Begin(Fault),
    End(Fault),
}

impl Schedule {
    /// The latest start of a fault, in milliseconds.
    const LATEST_START: u64 = 3500;

    /// One to six faults of this cluster.
    pub fn random(release: ClusterRelease, seed: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut events: Vec<Event> = Vec::new();
        for _ in 0..random.usize(1..=6) {
            let fault = Fault::random(release, &mut random);
            // Most are shorter than the deadline of a vote, some are longer.
            let length = if random.u8(0..4) == 0 { random.u64(3000..4500) } else { random.u64(100..2000) };
            let start = random.u64(0..Self::LATEST_START);
            let event = Event { fault, start, length };
            let overlaps = |other: &Event| {
                other.fault.target() == fault.target() && other.start <= event.end() && start <= other.end()
            };
            if !events.iter().any(overlaps) {
                events.push(event);
            }
        }
        events.sort_by_key(|event| event.start);
        Self { release, events }
    }

    /// The changes in order, with their milliseconds from the start.
    pub fn changes(&self) -> Vec<(u64, Change)> {
        let changes = |event: &Event| {
            [(event.start, Change::Begin(event.fault)), (event.end(), Change::End(event.fault))]
        };
        let mut changes: Vec<_> = self.events.iter().flat_map(changes).collect();
        changes.sort_by_key(|(at, _)| *at);
        changes
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}:", self.release)?;
        for Event { fault, start, length } in &self.events {
            write!(f, " {fault:?} at {start} ms for {length} ms;")?;
        }
        Ok(())
    }
}

/// The shortest part of the events that still fails, by delta debugging: ever smaller pieces are left out as long as the
/// rest fails. Without any of the events that remain, it does not fail.
pub async fn shrink<T: Clone>(events: &[T], fails: impl AsyncFn(&[T]) -> bool) -> Vec<T> {
    let mut events = events.to_vec();
    let mut size = events.len().div_ceil(2).max(1);
    loop {
        let before = events.len();
        let mut first = 0;
        while first < events.len() {
            let mut rest = events.clone();
            rest.drain(first..(first + size).min(events.len()));
            if fails(&rest).await {
                events = rest;
            } else {
                first += size;
            }
        }
        if size > 1 {
            size = size.div_ceil(2);
        } else if events.len() == before {
            break;
        }
    }
    events
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn schedules() -> impl Iterator<Item = Schedule> {
        (0..3000).map(|seed| {
            let place = usize::try_from(seed).unwrap() % ClusterRelease::ALL.len();
            Schedule::random(ClusterRelease::ALL[place], seed)
        })
    }

    #[test]
    fn a_seed_has_one_schedule() {
        assert!(schedules().eq(schedules()));
        assert_ne!(Schedule::random(ClusterRelease::One, 1), Schedule::random(ClusterRelease::One, 2));
    }

    #[test]
    fn faults_of_one_target_do_not_overlap_and_those_of_different_targets_do() {
        let mut overlaps = false;
        for schedule in schedules() {
            assert!(!schedule.events.is_empty());
            for (place, event) in schedule.events.iter().enumerate() {
                for later in &schedule.events[place + 1..] {
                    let overlap = later.start <= event.end();
                    assert!(!overlap || later.fault.target() != event.fault.target(), "{schedule}");
                    overlaps |= overlap;
                }
            }
        }
        assert!(overlaps);
    }

    #[test]
    fn each_cluster_meets_each_of_its_faults() {
        for release in ClusterRelease::ALL {
            let kind = |fault: &Fault| format!("{fault:?}").split('(').next().unwrap().to_owned();
            let met: BTreeSet<_> = (0..1000)
                .flat_map(|seed| Schedule::random(release, seed).events)
                .map(|event| kind(&event.fault))
                .collect();
            let all: BTreeSet<_> = Fault::kinds(release).iter().map(kind).collect();
            assert_eq!(met, all);
        }
    }

    #[test]
    fn changes_are_in_order_and_each_fault_ends() {
        for schedule in schedules() {
            let changes = schedule.changes();
            assert!(changes.is_sorted_by_key(|(at, _)| *at));
            for event in schedule.events {
                let place = |change| changes.iter().position(|(_, other)| *other == change).unwrap();
                assert!(place(Change::Begin(event.fault)) < place(Change::End(event.fault)));
            }
        }
    }

    #[tokio::test]
    async fn shrinking_finds_the_events_that_fail_together() {
        for length in 2..20_usize {
            for (one, other) in (0..length).flat_map(|one| (0..one).map(move |other| (one, other))) {
                let fails = async |part: &[usize]| part.contains(&one) && part.contains(&other);
                let events: Vec<_> = (0..length).collect();
                assert_eq!(shrink(&events, fails).await, [other, one]);
            }
        }
    }

    #[tokio::test]
    async fn shrinking_ends_with_no_event_if_the_cause_is_none_of_them() {
        assert!(shrink(&[1, 2, 3], async |_: &[i32]| true).await.is_empty());
    }
}
