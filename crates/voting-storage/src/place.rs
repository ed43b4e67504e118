//! The place of a store in a sharded poll.
//!
//! A ballot's id selects a place, and each store keeps its place, which its first ballot gives it. So it does not matter by
//! which name or in which order a store is listed: a failover may change both. A list with more or fewer stores is rejected,
//! because its places are those of other ballots.

use std::fmt;

/// A place among the stores of a poll, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    number: u16,
    of: u16,
}

impl Place {
    /// The place of a store that is not sharded.
    pub(crate) const ALONE: Self = Self { number: 0, of: 1 };

    /// # Panics
    /// If there are more stores than fit into 16 bits.
    pub(crate) fn new(number: usize, of: usize) -> Self {
        let small = |number: usize| u16::try_from(number).expect("a poll has few shards");
        Self { number: small(number), of: small(of) }
    }

    /// The number, and how many stores share the poll, as a store keeps them.
    #[cfg(any(feature = "redis", feature = "mysql"))]
    pub(crate) fn to_numbers(self) -> [u16; 2] {
        [self.number, self.of]
    }

    #[cfg(any(feature = "redis", feature = "mysql"))]
    pub(crate) fn from_numbers([number, of]: [u16; 2]) -> Self {
        Self { number, of }
    }

    /// How many stores share the poll.
    pub(crate) fn of(self) -> u16 {
        self.of
    }

    /// Checks that a store that keeps `kept` may take the ballots of this place.
    pub(crate) fn check(self, kept: Self) -> Result<(), Misplaced> {
        if self == kept { Ok(()) } else { Err(Misplaced(self.mismatch(kept))) }
    }

    fn mismatch(self, kept: Self) -> String {
        match (self.of, kept.of) {
            (1, _) => format!("it is {kept} of a poll; allowed: all of the poll's stores in STORAGE_URL"),
            (ours, theirs) if ours == theirs => {
                format!(
                    "it is {kept}, and {self} was in its place before; allowed: a restart after stores changed places"
                )
            }
            (_, 1) => {
                "it has ballots of a poll that is not sharded; allowed: a transfer of its votes to new stores"
                    .into()
            }
            _ => format!("it is {kept}, not {self}; allowed: the same stores for as long as the poll lasts"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "shard {} of {}", self.number + 1, self.of)
    }
}

/// A store keeps another place than that of the ballots which it would get.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Misplaced(String);

/// What is known of a store's place: nothing yet, or the place that it keeps, if any.
pub(crate) type Known = Option<Option<Place>>;

/// The number of each of these stores, which are listed by these names; `None`: unknown as yet.
///
/// Stores without a place get those that are left, in the order of their names. While some have not answered, the order of
/// the names decides alone, unless it contradicts a place that a store keeps.
pub(crate) fn assign(known: &[Known], names: &[String]) -> Result<Vec<Option<usize>>, Misplaced> {
    let kept = |index: usize| known[index].flatten();
    let count = known.len();
    for (index, name) in names.iter().enumerate() {
        let Some(place) = kept(index) else { continue };
        if usize::from(place.of) != count {
            let cause = Place::new(index, count).mismatch(place);
            return Err(Misplaced(format!("{name}: {cause}")));
        }
        if let Some(other) = (0..index).find(|&other| kept(other) == Some(place)) {
            return Err(Misplaced(format!(
                "{} and {name} are both {place}; allowed: each of the poll's stores once",
                names[other]
            )));
        }
    }
    let numbers: Vec<_> =
        (0..count).map(|index| kept(index).map(|place| usize::from(place.number))).collect();
    let is_in_order =
        numbers.iter().enumerate().all(|(index, number)| number.is_none_or(|number| number == index));
    let mut left = (0..count).filter(|number| !numbers.contains(&Some(*number)));
    let is_complete = known.iter().all(Option::is_some);
    let assigned = (0..count).map(|index| match numbers[index] {
        None if is_in_order => known[index].map(|_| index),
        None if is_complete => left.next(),
        number => number,
    });
    Ok(assigned.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assigned(known: &[Known]) -> Result<Vec<Option<usize>>, String> {
        let names: Vec<_> = (0..known.len()).map(|index| format!("store {index}")).collect();
        assign(known, &names).map_err(|error| error.to_string())
    }

    fn kept(number: usize, of: usize) -> Known {
        Some(Some(Place::new(number, of)))
    }

    #[test]
    fn new_stores_have_the_places_of_their_order() {
        assert_eq!(assigned(&[Some(None), Some(None)]), Ok(vec![Some(0), Some(1)]));
        assert_eq!(assigned(&[Some(None), None, Some(None)]), Ok(vec![Some(0), None, Some(2)]));
    }

    #[test]
    fn a_store_keeps_its_place_under_another_name() {
        assert_eq!(assigned(&[kept(1, 2), kept(0, 2)]), Ok(vec![Some(1), Some(0)]));
        assert_eq!(assigned(&[kept(1, 3), Some(None), kept(0, 3)]), Ok(vec![Some(1), Some(2), Some(0)]));
        // The place of a store that is away may be any of those that are left.
        assert_eq!(assigned(&[kept(1, 3), Some(None), None]), Ok(vec![Some(1), None, None]));
    }

    #[test]
    fn other_stores_are_rejected() {
        for (known, cause) in [
            (vec![kept(0, 3), kept(1, 3)], "store 0: it is shard 1 of 3, not shard 1 of 2"),
            (vec![None, kept(0, 1)], "store 1: it has ballots of a poll that is not sharded"),
            (vec![kept(1, 2), kept(1, 2)], "store 0 and store 1 are both shard 2 of 2"),
        ] {
            let error = assigned(&known).unwrap_err();
            assert!(error.contains(cause) && error.contains("allowed: "), "{error}");
        }
    }
}
