//! The exercises of `docs/rehearsals.md`, with the commands of the page, and what they print.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use regex::Regex;
use voting_tests::tutorial::Block;
use voting_tests::tutorial::output::{Circumstances, compare};

use crate::steps::Steps;

/// The section of the page whose commands start the voters.
const VOTERS: &str = "Voters";
/// The parts of an exercise in their order.
const PARTS: &[&str] = &["Start", "Watch", "Act", "In the end"];
/// The script that ends the voters and prints their account.
const ACCOUNT: &str = "sh k8s/load/account.sh";

/// Ballots that are cast in each part of an exercise with voters.
const BALLOTS: u64 = 100;
/// Time limit of these ballots, and of the output of a block that only reads.
const PATIENCE: Duration = Duration::from_secs(300);
/// Time between two looks.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs the exercises with these numbers, or all, one after the other. Each begins in step 3.
pub async fn run(steps: &Steps, numbers: &[usize]) -> anyhow::Result<()> {
    let blocks = steps.document("docs/rehearsals.md")?;
    let voters: Vec<_> = blocks.iter().filter(|block| block.subsection == VOTERS).collect();
    ensure!(!voters.is_empty(), "the page starts no voters");
    let mut exercises: Vec<&str> = blocks.iter().map(|block| block.section.as_str()).collect();
    exercises.retain(|section| section.starts_with("Exercise "));
    exercises.dedup();
    ensure!(exercises.len() == 8, "{exercises:?}");
    let is_chosen = |index: usize| numbers.is_empty() || numbers.contains(&(index + 1));

    steps.to("Step 3").await?;
    let start = Instant::now();
    for (_, name) in exercises.into_iter().enumerate().filter(|(index, _)| is_chosen(*index)) {
        let began = Instant::now();
        println!("{name}");
        let before = steps.votes(&[None, Some("featureflag=on")]).await?;
        let blocks = blocks.iter().filter(|block| block.section == name);
        let done = exercise(steps, &voters, blocks).await;
        let ballots = done.with_context(|| name.to_owned())?;
        if name.starts_with("Exercise 8") {
            let shown = steps.votes(&[None]).await?;
            println!("  {before} votes before, {ballots} ballots since, {shown} votes on the page of 1.0");
            ensure!(shown == before + ballots, "{name}: votes were lost or doubled on the way back");
        }
        println!("  passed after {:.0} s", began.elapsed().as_secs_f32());
    }
    println!("the exercises took {:.0} s", start.elapsed().as_secs_f32());
    Ok(())
}

/// Runs the blocks of an exercise, and returns the number of ballots in its accounts.
async fn exercise<'a>(
    steps: &Steps,
    voters: &[&Block],
    blocks: impl Iterator<Item = &'a Block>,
) -> anyhow::Result<u64> {
    for block in voters {
        steps.shell.run(&block.commands).await?;
    }
    // Whether there are voters, and in which part the last ballots were cast.
    let (mut are_there, mut part, mut ballots) = (true, "", 0);
    vote(steps).await?;
    for block in blocks {
        ensure!(PARTS.contains(&block.subsection.as_str()), "{} is no part of an exercise", block.subsection);
        let is_account = block.commands.starts_with(ACCOUNT);
        // What a part did must have happened to voters.
        if are_there && (is_account || part != block.subsection) {
            vote(steps).await?;
        }
        part = &block.subsection;
        let printed = judged(steps, block).await?;
        if is_account {
            print!("{printed}");
            are_there = false;
            ballots += number_of_ballots(&printed);
        }
        are_there |= voters.iter().any(|one| block.commands.contains(&one.commands));
        if block.after.contains("take [step 4](") {
            steps.take("Step 4").await?;
        } else if block.after.contains("take the [way back of step 4](") {
            steps.take_back("Step 4").await?;
        }
    }
    ensure!(!are_there, "the exercise does not end its voters");
    Ok(ballots)
}

/// Waits until the voters have cast some more ballots.
async fn vote(steps: &Steps) -> anyhow::Result<()> {
    let progress = Regex::new(r" s: (\d+) ballots cast")?;
    let (start, mut before) = (Instant::now(), None);
    loop {
        let log = steps.shell.run("kubectl logs job/voting-load --namespace voting").await?;
        let cast = progress.captures_iter(&log).last().and_then(|found| found[1].parse::<u64>().ok());
        let before = *before.get_or_insert(cast.unwrap_or_default());
        if cast.unwrap_or_default() >= before + BALLOTS {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "the voters cast no {BALLOTS} ballots:\n{log}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Runs a block and compares the output. One that only reads is repeated until the cluster has followed.
async fn judged(steps: &Steps, block: &Block) -> anyhow::Result<String> {
    let only_reads = ["for i", "curl", "kubectl get", "kubectl logs"]
        .iter()
        .any(|command| block.commands.starts_with(command));
    let start = Instant::now();
    loop {
        let difference = match steps.shell.run(&block.commands).await {
            Ok(printed) => match compare(block, &printed, Circumstances::default()) {
                Ok(()) => return Ok(printed),
                Err(difference) => difference,
            },
            Err(error) => format!("the command failed: {error:#}"),
        };
        if !only_reads || start.elapsed() > PATIENCE {
            bail!("another output than the page's of:\n{}{difference}", block.commands);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// The ballots of all releases in an account; 0 if it does not show them.
fn number_of_ballots(account: &str) -> u64 {
    let line = account.lines().find(|line| line.starts_with("ballots "));
    line.and_then(|line| line.split_whitespace().last()?.parse().ok()).unwrap_or_default()
}
