//! HTTPS at the gateway, as docs/platforms.md describes it, from step 1 to 4: in a browser, and with a new certificate in the end.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use voting_tests::browser::Browser;
use voting_tests::tutorial::Block;

use crate::steps::Steps;

/// Time limit of new routes, and of a new certificate.
const PATIENCE: Duration = Duration::from_secs(60);
/// The name in the certificate.
const HOST: &str = "vote.example";

/// Runs the test with a track of the tutorial.
pub async fn test(steps: &Steps) -> anyhow::Result<()> {
    println!("track: {:?}", steps.track);
    let _folder = steps.render("https").await?;
    take_the_steps(steps).await
}

async fn take_the_steps(steps: &Steps) -> anyhow::Result<()> {
    let platforms = steps.document("docs/platforms.md")?;
    let chapter: Vec<_> = platforms.into_iter().filter(|block| block.section == "HTTPS").collect();
    let [certificate, secret, variables, renewal] = &chapter[..] else {
        anyhow::bail!("{} blocks of commands", chapter.len());
    };
    steps.prepare().await?;
    // Up to the address; the votes follow over HTTPS.
    steps.take_if("Step 1", |block| !block.commands.contains("curl")).await?;
    let address = steps.shell.run("echo $INGRESS_IP").await?.trim().to_owned();
    run(steps, certificate).await?;
    run(steps, secret).await?;
    run(steps, variables).await?;
    eventually(steps, "curl --silent --fail --output /dev/null $INGRESS_IP").await?;
    steps.take_if("Step 1", |block| block.commands.contains("-d vote=")).await?;
    let mut votes = [2, 4];
    on_the_wire(steps, &address, &mut votes).await.context("step 1")?;

    let browser = browser(steps, &address).await?;
    // Over HTTP nothing answers on port 443, and the browser has no reason yet to use HTTPS there.
    let (page, insecure) = (format!("https://{HOST}/"), format!("http://{HOST}:443/"));
    arrives(&browser, &insecure, &insecure).await?;
    arrives(&browser, &format!("http://{HOST}/"), &page).await?;
    vote(&browser, 0, &mut votes).await?;
    arrives(&browser, &insecure, &page).await.context("HTTPS is not remembered")?;
    println!("step 1: redirected, voted, HTTPS remembered");

    steps.take("Step 2").await?;
    on_the_wire(steps, &address, &mut votes).await.context("step 2")?;
    browser.open(&page).await;
    vote(&browser, 1, &mut votes).await?;
    println!("step 2: voted");

    steps.take("Step 3").await?;
    on_the_wire(steps, &address, &mut votes).await.context("step 3")?;
    // The tutorial's vote with the flag is the first one of release 2.0.
    let mut canary = [1, 0];
    browser.open(&page).await;
    browser.follow("footer form button").await;
    shows(&browser, canary).await?;
    cookie(&browser, "featureflag").await?;
    vote(&browser, 1, &mut canary).await?;
    browser.follow("footer form button").await;
    shows(&browser, votes).await?;
    println!("step 3: voted with the flag, and returned");

    steps.take("Step 3b").await?;
    let draw = "curl --silent --include $INGRESS_IP | tr -d '\\r' | grep '^set-cookie: votingcanary='";
    eventually(steps, draw).await?;
    on_the_wire(steps, &address, &mut votes).await.context("step 3b")?;
    let drawn =
        steps.shell.run(&format!("for i in {{1..50}}; do {draw}; done | sort | uniq --count")).await?;
    let is_secure = |line: &str| line.split("; ").any(|attribute| attribute == "Secure");
    ensure!(drawn.lines().all(is_secure), "{drawn}");
    browser.devtools("Network.clearBrowserCookies", json!({})).await;
    browser.open(&page).await;
    let release = cookie(&browser, "votingcanary").await?;
    for _ in 0..5 {
        browser.reload().await;
        let footer = browser.text("footer").await;
        ensure!(footer.contains(&format!("voting-app {release}")), "{release} was drawn: {footer}");
    }
    println!("step 3b: a browser stays with {release}; 50 draws:\n{}", drawn.trim_end());

    steps.take("Step 4").await?;
    votes = [votes[0] + canary[0], votes[1] + canary[1]];
    on_the_wire(steps, &address, &mut votes).await.context("step 4")?;
    browser.open(&page).await;
    shows(&browser, votes).await?;
    vote(&browser, 0, &mut votes).await?;
    println!("step 4: all votes are there: {votes:?}");
    browser.quit().await;

    steps.shell.run(&format!("(INGRESS_IP={address}; {})", certificate.commands)).await?;
    let served = format!("openssl s_client -connect {address}:443 </dev/null 2>/dev/null");
    let serial = "openssl x509 -noout -serial";
    let is_served = format!("[ \"$({serial} -in tls.crt)\" = \"$({served} | {serial})\" ]");
    ensure!(steps.shell.run(&is_served).await.is_err(), "the new certificate is the old one");
    run(steps, renewal).await?;
    eventually(steps, &is_served).await?;
    println!("a new certificate is served");
    Ok(())
}

/// Runs a block of commands, which must print what the text shows.
async fn run(steps: &Steps, block: &Block) -> anyhow::Result<()> {
    let printed = steps.shell.run(&block.commands).await.with_context(|| block.commands.clone())?;
    ensure!(printed == block.output, "{}{printed}", block.commands);
    Ok(())
}

/// Repeats a command until it succeeds.
async fn eventually(steps: &Steps, command: &str) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        match steps.shell.run(command).await {
            Ok(_) => return Ok(()),
            Err(error) => ensure!(start.elapsed() < PATIENCE, "{command}: {error:#}"),
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Redirects, HSTS and the app's cookies, with a vote for the first choice at release 1.0, if there is one.
async fn on_the_wire(steps: &Steps, address: &str, votes: &mut [u64; 2]) -> anyhow::Result<()> {
    let curl = "curl --silent --include --output - --cookie votingcanary=1.0";
    for form in ["", "--data vote=Cats"] {
        let answer = answer(steps, &format!("{curl} {form} 'http://{address}/?a=b'")).await?;
        let location = answer.iter().find_map(|line| line.strip_prefix("location: "));
        ensure!(
            answer[0].contains(" 301 ") && location == Some(&format!("https://{address}/?a=b")),
            "{answer:?}"
        );
        ensure!(!answer.iter().any(|line| line.starts_with("strict-transport-security")), "{answer:?}");
    }
    votes[0] += 1;
    for (request, status) in [("", " 200"), ("--data vote=Cats", " 303")] {
        let answer = answer(steps, &format!("{curl} {request} $INGRESS_IP/")).await?;
        ensure!(answer[0].contains(status), "{answer:?}");
        ensure!(answer.contains(&"strict-transport-security: max-age=86400".to_owned()), "{answer:?}");
        let mut cookies = answer.iter().filter(|line| line.starts_with("set-cookie: "));
        ensure!(cookies.all(|cookie| cookie.contains("; Secure")), "{answer:?}");
        ensure!(
            request.is_empty() || answer.iter().any(|line| line.starts_with("set-cookie: notice=")),
            "{answer:?}"
        );
    }
    Ok(())
}

/// The status line and the headers of an answer.
async fn answer(steps: &Steps, curl: &str) -> anyhow::Result<Vec<String>> {
    let printed = steps.shell.run(curl).await.with_context(|| curl.to_owned())?;
    let header = printed.lines().map(|line| line.trim_end().to_owned()).take_while(|line| !line.is_empty());
    let header: Vec<_> = header.collect();
    ensure!(!header.is_empty(), "{curl}: no answer");
    Ok(header)
}

/// A browser that finds the poll under its name, and trusts the certificate.
async fn browser(steps: &Steps, address: &str) -> anyhow::Result<Browser> {
    let key = "openssl x509 -in tls.crt -noout -pubkey | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64";
    let key = steps.shell.run(key).await?;
    let arguments = [
        format!("--host-resolver-rules=MAP {HOST} {address}"),
        format!("--ignore-certificate-errors-spki-list={}", key.trim()),
    ];
    Ok(Browser::start_with(&arguments).await)
}

/// Opens a page, which leads to an address.
async fn arrives(browser: &Browser, url: &str, address: &str) -> anyhow::Result<()> {
    browser.open(url).await;
    let arrived = browser.address().await;
    ensure!(arrived == address, "{url} leads to {arrived} instead of {address}");
    Ok(())
}

/// Votes, and counts the vote. On a starved machine a vote may take longer than its deadline; the page then offers the same
/// ballot again.
async fn vote(browser: &Browser, choice: usize, votes: &mut [u64; 2]) -> anyhow::Result<()> {
    let start = Instant::now();
    let button = format!("main button[value='{}']", ["Cats", "Dogs"][choice]);
    loop {
        browser.follow(&button).await;
        let notice = browser.text(".notice").await;
        if notice.contains(" counted.") {
            break;
        }
        let message = browser.text(".message").await;
        ensure!(message.contains("503") && start.elapsed() < PATIENCE, "{notice}{message}");
        println!("voting again: {message:?}");
    }
    votes[choice] += 1;
    shows(browser, *votes).await
}

/// Waits until the page shows these votes. Until new routes have reached the gateway, it may be that of another release.
async fn shows(browser: &Browser, votes: [u64; 2]) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let results = browser.text("#results").await;
        let count = |name: &str| {
            let (_, rest) = results.split_once(&format!("{name}: "))?;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
        };
        if [count("Cats"), count("Dogs")] == votes.map(Some) {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "{results}, expected {votes:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
        browser.reload().await;
    }
}

/// The value of a cookie, which must be sent over TLS only and be hidden from scripts.
async fn cookie(browser: &Browser, name: &str) -> anyhow::Result<String> {
    let cookies = browser.devtools("Network.getAllCookies", json!({})).await;
    let cookie = cookies["cookies"].as_array().into_iter().flatten().find(|cookie| cookie["name"] == name);
    let cookie = cookie.with_context(|| format!("no cookie {name}: {cookies}"))?;
    ensure!(cookie["secure"] == true && cookie["httpOnly"] == true, "{cookie}");
    Ok(cookie["value"].as_str().unwrap_or_default().to_owned())
}
