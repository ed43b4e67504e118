//! What a block may print. The text of the tutorial is the rule; its own words allow the exceptions.

use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::Block;

/// The circumstances of a run that the tutorial's reader does not have.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances {
    /// Votes of the load in the store that the block reads.
    pub votes: [u64; 2],
    /// Whether the step was taken before: then resources may be there already.
    pub is_repeated: bool,
}

static TALLY: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"Cats: (?<cats>\d+)(?<view>/\d+ \(\d+%\))? \| Dogs: (?<dogs>\d+)(/\d+ \(\d+%\))?")
        .expect("a regex")
});
static COUNTED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"^ *(\d+) (.*)$").expect("a regex"));
static APPLIED: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r" (created|configured|unchanged)$").expect("a regex"));
/// A job of an earlier run, which the tutorial deletes if there is one.
static EARLIER_JOB: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#"^job\.batch "[^"]+" deleted"#).expect("a regex"));

/// Compares the output of a block with its text.
///
/// # Errors
/// Both texts, if they differ.
pub fn compare(block: &Block, printed: &str, circumstances: Circumstances) -> Result<(), String> {
    for words in block.announced() {
        let single = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        if !single(printed).contains(&single(words)) {
            return Err(format!("the tutorial announces:\n{words}\nprinted:\n{printed}"));
        }
    }
    if block.output.is_empty() {
        return Ok(());
    }
    let expected = with_votes(&block.output, circumstances.votes);
    let is_same = if block.after.contains("numbers will differ") {
        is_near(&expected, printed)
    } else if block.after.contains("figures will differ") {
        is_alike(&expected, printed)
    } else if circumstances.is_repeated || block.commands.contains("--ignore-not-found") {
        again(&expected) == again(printed)
    } else {
        expected == without_namespace(printed, &expected)
    };
    if is_same { Ok(()) } else { Err(format!("the tutorial's text:\n{expected}printed:\n{printed}")) }
}

/// The text with these votes in each tally.
fn with_votes(text: &str, votes: [u64; 2]) -> String {
    let tally = |found: &Captures<'_>| {
        let count = |name: &str, more: u64| found[name].parse::<u64>().map_or(0, |count| count + more);
        let (cats, dogs) = (count("cats", votes[0]), count("dogs", votes[1]));
        if found.name("view").is_none() {
            return format!("Cats: {cats} | Dogs: {dogs}");
        }
        let all = cats + dogs;
        // The first is rounded half up, and both add up to 100.
        let share = (200 * cats + all).checked_div(2 * all).unwrap_or_default();
        format!("Cats: {cats}/{all} ({share}%) | Dogs: {dogs}/{all} ({}%)", 100 - share)
    };
    TALLY.replace_all(text, tally).into_owned()
}

/// Whether the lines are the same with counts that chance explains.
fn is_near(expected: &str, printed: &str) -> bool {
    let parse = |text: &str| {
        let lines = text.lines().map(|line| {
            let found = COUNTED.captures(line)?;
            Some((found[1].parse::<i64>().ok()?, found[2].to_owned()))
        });
        lines.collect::<Option<Vec<_>>>()
    };
    let (Some(expected), Some(printed)) = (parse(expected), parse(printed)) else { return false };
    let sum = |lines: &[(i64, String)]| lines.iter().map(|(count, _)| count).sum::<i64>();
    let all = sum(&expected);
    sum(&printed) == all
        && expected.len() == printed.len()
        && expected.iter().zip(&printed).all(|((wanted, text), (count, line))| {
            // Five standard deviations of a binomial distribution.
            let variance = (wanted * (all - wanted)) as f64 / all as f64;
            text == line && ((wanted - count) as f64).abs() <= 5.0 * variance.sqrt()
        })
}

/// Whether the words are the same, and 0 where 0 is expected; any other number stands for any other one.
fn is_alike(expected: &str, printed: &str) -> bool {
    let words = |text: &str| -> Vec<Vec<String>> {
        text.lines().map(|line| line.split_whitespace().map(ToOwned::to_owned).collect()).collect()
    };
    let is_figure = |word: &str| word.parse::<u64>().is_ok_and(|number| number > 0);
    let (expected, printed) = (words(expected), words(printed));
    expected.len() == printed.len()
        && expected.iter().zip(&printed).all(|(expected, printed)| {
            expected.len() == printed.len()
                && expected
                    .iter()
                    .zip(printed)
                    .all(|(one, other)| one == other || (is_figure(one) && is_figure(other)))
        })
}

/// The text without the differences between a first and a second visit.
fn again(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| !EARLIER_JOB.is_match(line))
        .map(|line| APPLIED.replace(line, " applied").into_owned())
        .collect()
}

/// kubectl before 1.34 omits the namespace when it reports a deletion.
fn without_namespace(printed: &str, expected: &str) -> String {
    let lines = printed.lines().zip(expected.lines().chain(std::iter::repeat("")));
    let lines = lines.map(|(line, wanted)| {
        let short = wanted.strip_suffix(" from voting namespace").unwrap_or(wanted);
        if line == short { wanted } else { line }
    });
    lines.map(|line| format!("{line}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(commands: &str, output: &str) -> Block {
        Block { commands: commands.to_owned(), output: output.to_owned(), ..Block::default() }
    }

    fn judge(block: &Block, printed: &str) -> bool {
        compare(block, printed, Circumstances::default()).is_ok()
    }

    #[test]
    fn any_other_text_is_a_difference_that_shows_both() {
        let block = block("kubectl apply", "service/voting-app created\n");
        assert!(judge(&block, "service/voting-app created\n"));
        let difference = compare(&block, "service/voting-app unchanged\n", Circumstances::default());
        let difference = difference.expect_err("a difference");
        assert!(difference.contains("app created") && difference.contains("app unchanged"), "{difference}");
        assert!(!judge(&block, ""));
        assert!(!judge(&block, "service/voting-app created\nservice/more created\n"));
    }

    #[test]
    fn a_second_visit_finds_resources_of_the_first() {
        let block = block("kubectl apply", "service/a created\njob.batch/b created\n");
        let circumstances = Circumstances { is_repeated: true, ..Circumstances::default() };
        let printed =
            "job.batch \"b\" deleted from voting namespace\nservice/a unchanged\njob.batch/b created\n";
        assert!(compare(&block, printed, circumstances).is_ok());
        assert!(compare(&block, "service/a unchanged\n", circumstances).is_err());
    }

    #[test]
    fn tallies_include_the_votes_of_the_load() {
        let circumstances = Circumstances { votes: [6, 0], ..Circumstances::default() };
        let old = block("curl", "  <div> Cats: 2 | Dogs: 4 </div>\n");
        assert!(compare(&old, "  <div> Cats: 8 | Dogs: 4 </div>\n", circumstances).is_ok());
        assert!(compare(&old, "  <div> Cats: 9 | Dogs: 4 </div>\n", circumstances).is_err());
        let new = block("curl", "Cats: 2/6 (33%) | Dogs: 4/6 (67%)\n");
        assert!(compare(&new, "Cats: 8/12 (67%) | Dogs: 4/12 (33%)\n", circumstances).is_ok());
        assert!(compare(&new, "Cats: 8 | Dogs: 4\n", circumstances).is_err(), "the other view");
    }

    #[test]
    fn numbers_vary_only_where_the_text_says_so() {
        let mut block = block("curl", "    180 one\n     20 two\n");
        assert!(!judge(&block, "    185 one\n     15 two\n"));
        block.after = "Your numbers will differ slightly.".to_owned();
        assert!(judge(&block, "    185 one\n     15 two\n"));
        assert!(!judge(&block, "    185 one\n     16 two\n"), "another sum");
        assert!(!judge(&block, "    100 one\n    100 two\n"), "another share");
        assert!(!judge(&block, "    200 one\n"));
    }

    #[test]
    fn figures_vary_but_not_from_0_and_not_to_it() {
        let mut block = block("account", "release   1.0   2.0\nlost        0    12\n");
        assert!(!judge(&block, "release 1.0 2.0\nlost 0 7\n"));
        block.after = "Your figures will differ.".to_owned();
        assert!(judge(&block, "release 1.0 2.0\nlost 0 7\n"));
        assert!(!judge(&block, "release 1.0 2.0\nlost 0 0\n"), "nothing was lost");
        assert!(!judge(&block, "release 1.0 2.0\nlost 1 7\n"), "something was lost");
        assert!(!judge(&block, "release 1.0 3.0\nlost 0 7\n"), "another release");
        assert!(!judge(&block, "release 1.0 2.0\n"));
    }

    #[test]
    fn an_older_kubectl_omits_the_namespace() {
        let block = block("kubectl delete", "job.batch \"a\" deleted from voting namespace\n");
        assert!(judge(&block, "job.batch \"a\" deleted\n"));
        assert!(!judge(&block, "job.batch \"b\" deleted\n"));
    }

    #[test]
    fn announced_words_must_be_printed() {
        let block = Block {
            before: "The output should show `VirtualService: voting-app`:".to_owned(),
            ..Block::default()
        };
        assert!(judge(&block, "x\n   VirtualService:  voting-app\n"));
        assert!(!judge(&block, "VirtualService: other\n"));
    }
}
