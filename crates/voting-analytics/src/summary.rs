//! The wording of the results, which depends on the release.

use voting_core::release::Summary;
use voting_core::{Choice, Choices, Tally};

/// The results in words: `Cats: 2 | Dogs: 4` or `Cats: 2/6 (33%) | Dogs: 4/6 (67%)`.
pub fn text(summary: Summary, choices: &Choices, tally: Tally) -> String {
    let percentages = percentages(tally);
    let part = |choice: Choice| {
        let (name, count) = (choices.name(choice), tally[choice]);
        match summary {
            Summary::Counts => format!("{name}: {count}"),
            Summary::Percentages => {
                format!("{name}: {count}/{} ({}%)", tally.total(), percentages[choice.index()])
            }
        }
    };
    format!("{} | {}", part(Choice::First), part(Choice::Second))
}

/// The shares of both choices in whole percent, which add up to 100; both are 0 without votes.
///
/// The first is rounded half up and the second is the remainder, because rounding both could add up to 101.
fn percentages(tally: Tally) -> [u8; 2] {
    let (count, total) = (u128::from(tally[Choice::First]), u128::from(tally.total()));
    if total == 0 {
        return [0, 0];
    }
    let first = u8::try_from((200 * count + total) / (2 * total)).unwrap_or(100).min(100);
    [first, 100 - first]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn worded(summary: Summary, first: u64, second: u64) -> String {
        text(summary, &Choices::default(), Tally::new(first, second))
    }

    #[test]
    fn each_wording_is_the_tutorials() {
        assert_eq!(worded(Summary::Counts, 2, 4), "Cats: 2 | Dogs: 4");
        assert_eq!(worded(Summary::Percentages, 2, 4), "Cats: 2/6 (33%) | Dogs: 4/6 (67%)");
        assert_eq!(worded(Summary::Counts, 0, 0), "Cats: 0 | Dogs: 0");
        assert_eq!(worded(Summary::Percentages, 0, 0), "Cats: 0/0 (0%) | Dogs: 0/0 (0%)");
    }

    #[test]
    fn one_in_eight_adds_up_to_100_percent() {
        assert_eq!(percentages(Tally::new(1, 7)), [13, 87]);
        assert_eq!(percentages(Tally::new(7, 1)), [88, 12]);
        assert_eq!(percentages(Tally::new(1, 0)), [100, 0]);
    }

    proptest! {
        #[test]
        fn percentages_add_up_to_100_and_keep_the_order(first in 0..=u64::MAX / 2, second in 0..=u64::MAX / 2) {
            prop_assume!(first + second > 0);
            let [a, b] = percentages(Tally::new(first, second));
            prop_assert_eq!(a + b, 100);
            prop_assert!(if first >= second { a >= b } else { a <= b }, "{} {} -> {} {}", first, second, a, b);
            let exact = first as f64 / (first + second) as f64 * 100.0;
            prop_assert!((f64::from(a) - exact).abs() <= 0.5 + 1e-6, "{} is not {}", a, exact);
        }

        #[test]
        fn percentages_of_small_polls_add_up_to_100(first in 0_u64..300, second in 0_u64..300) {
            prop_assume!(first + second > 0);
            let [a, b] = percentages(Tally::new(first, second));
            prop_assert_eq!(a + b, 100);
            prop_assert!(if first >= second { a >= b } else { a <= b }, "{} {} -> {} {}", first, second, a, b);
        }
    }
}
