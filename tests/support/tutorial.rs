//! The command blocks of `docs/tutorial.md`: [`blocks`] reads them, [`blocks_of`] those for one track, [`output`] judges what
//! they print.

pub mod output;

use clap::ValueEnum as _;

/// One of the two ways through the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Track {
    /// With Istio's own API.
    Istio,
    /// With the Gateway API of Kubernetes.
    GatewayApi,
}

impl Track {
    /// The line of the document above a block that is for this track alone.
    fn mark(self) -> &'static str {
        match self {
            Self::Istio => "**Istio**",
            Self::GatewayApi => "**Gateway API**",
        }
    }
}

/// A block of commands with their output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// The heading: `Step 3: Canary release 2.0`.
    pub section: String,
    /// The subheading: `Way back`, or empty.
    pub subsection: String,
    /// `None`: for both tracks.
    pub track: Option<Track>,
    /// The paragraph before the commands.
    pub before: String,
    pub commands: String,
    /// The expected output; empty without a text block.
    pub output: String,
    /// The paragraph after the commands and their output.
    pub after: String,
}

impl Block {
    /// Whether it belongs to the main path, from the first step to the last.
    pub fn is_on_the_main_way(&self) -> bool {
        self.section.starts_with("Step ") && !self.is_of_the_way_back() && self.step() != DETOUR
    }

    /// Whether it undoes its step.
    pub fn is_of_the_way_back(&self) -> bool {
        self.subsection == "Way back"
    }

    /// The step: `Step 3`, or the whole heading outside of the steps.
    pub fn step(&self) -> &str {
        self.section.split_once(':').map_or(&self.section, |(step, _)| step)
    }

    /// The words in backticks that the text before the commands announces: "The output should show `a` and `b`".
    pub fn announced(&self) -> Vec<&str> {
        let Some((_, promise)) = self.before.split_once("should show") else { return Vec::new() };
        // A remark in parentheses is about other clusters.
        let promise = promise.split('(').next().unwrap_or_default();
        promise.split('`').skip(1).step_by(2).collect()
    }
}

/// The step that may be left out. It begins in the middle of step 3, once release 2.0 is deployed, and step 3 goes on after it.
pub const DETOUR: &str = "Step 2b";

/// The blocks of step 3 up to the pods of 2.0, and those after them, which route browsers to it.
///
/// # Panics
/// Step 3 does not wait for the pods.
pub fn halves_of_step_3(blocks: &[Block]) -> [Vec<&Block>; 2] {
    let step: Vec<_> =
        blocks.iter().filter(|block| block.step() == "Step 3" && block.is_on_the_main_way()).collect();
    let is_ready = |block: &&Block| {
        block.commands.starts_with("kubectl wait --for=condition=available deployment --selector version=2.0")
    };
    let deployed = step.iter().position(is_ready).expect("step 3 waits for the pods of 2.0") + 1;
    [step[..deployed].to_vec(), step[deployed..].to_vec()]
}

/// Reads the blocks of a document for one track.
///
/// # Panics
/// A fence has no end, or output has no commands.
pub fn blocks_of(document: &str, track: Track) -> Vec<Block> {
    let mut blocks = blocks(document);
    blocks.retain(|block| block.track.is_none_or(|only| only == track));
    blocks
}

/// Reads the blocks of a document, of both tracks.
///
/// # Panics
/// A fence has no end, or output has no commands.
pub fn blocks(document: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut section, mut subsection) = (String::new(), String::new());
    let mut paragraph = String::new();
    let mut fence: Option<(String, String)> = None;
    let mut track = None;
    // Whether the current paragraph follows the last block.
    let mut follows = false;
    for line in document.lines() {
        fence = match fence.take() {
            Some((language, text)) if line == "```" => {
                match (language.as_str(), blocks.last_mut()) {
                    ("bash", _) => blocks.push(Block {
                        section: section.clone(),
                        subsection: subsection.clone(),
                        track: track.take(),
                        before: std::mem::take(&mut paragraph),
                        commands: text,
                        ..Block::default()
                    }),
                    ("text", Some(last)) => last.output = text,
                    _ => panic!("a block of {language:?} after {section:?}"),
                }
                follows = true;
                None
            }
            Some((language, text)) => Some((language, text + line + "\n")),
            None if line.starts_with("```") => Some((line.trim_start_matches('`').to_owned(), String::new())),
            None if Track::value_variants().iter().any(|one| one.mark() == line) => {
                track = Track::value_variants().iter().copied().find(|one| one.mark() == line);
                None
            }
            None => {
                if let Some(heading) = line.strip_prefix("## ") {
                    heading.clone_into(&mut section);
                    subsection.clear();
                } else if let Some(heading) = line.strip_prefix("### ") {
                    heading.clone_into(&mut subsection);
                }
                if line.starts_with('#') {
                    (paragraph, follows) = (String::new(), false);
                } else if !line.is_empty() {
                    if paragraph.ends_with('\n') {
                        follows &= blocks.last().is_some_and(|block| block.after.is_empty());
                        paragraph.clear();
                    }
                    paragraph += line;
                    paragraph.push(' ');
                } else if !paragraph.is_empty() && !paragraph.ends_with('\n') {
                    if let Some(last) = blocks.last_mut().filter(|block| follows && block.after.is_empty()) {
                        paragraph.trim().clone_into(&mut last.after);
                    }
                    paragraph.push('\n');
                }
                None
            }
        };
    }
    assert!(fence.is_none(), "the last block has no end");
    for block in &mut blocks {
        block.before = block.before.trim().to_owned();
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "# Title

```bash
prepare
```

## Step 1: First

An introduction.

One paragraph
of two lines:

```bash
one
two
```
```text
printed
```

Your numbers will differ.

### Check

The output should show `a: b` and, below, `c` (elsewhere `d`):

```bash
check
```

## Step 2

```bash
last
```
";

    #[test]
    fn blocks_have_their_headings_text_and_output() {
        let blocks = blocks(DOCUMENT);
        assert_eq!(blocks.len(), 4);
        let first = Block {
            section: "Step 1: First".to_owned(),
            before: "One paragraph of two lines:".to_owned(),
            commands: "one\ntwo\n".to_owned(),
            output: "printed\n".to_owned(),
            after: "Your numbers will differ.".to_owned(),
            ..Block::default()
        };
        assert_eq!(blocks[1], first);
        assert_eq!((blocks[1].step(), blocks[3].step()), ("Step 1", "Step 2"));
        assert_eq!(blocks[2].subsection, "Check");
        assert_eq!(blocks[2].announced(), ["a: b", "c"]);
        assert_eq!(blocks[3].before, "", "a heading ends the paragraph");
    }

    #[test]
    fn a_line_says_for_which_track_the_next_block_is() {
        let document = "## Step 1

For all of us:

**Istio**

```bash
one
```
```text
first
```

**Gateway API**

It should show `x`:

```bash
two
```

```bash
three
```
";
        let commands = |track| -> Vec<String> {
            blocks_of(document, track).into_iter().map(|block| block.commands.trim().to_owned()).collect()
        };
        assert_eq!(commands(Track::Istio), ["one", "three"]);
        assert_eq!(commands(Track::GatewayApi), ["two", "three"]);
        let all = blocks(document);
        assert_eq!(all[0].before, "For all of us:");
        assert_eq!(all[1].announced(), ["x"]);
    }

    #[test]
    #[should_panic(expected = "the last block has no end")]
    fn a_block_without_an_end_is_an_error() {
        blocks("```bash\nls\n");
    }
}
