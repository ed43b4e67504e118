//! The HTML of the pages, by the recommended rules of html-validate.

use std::path::Path;
use std::process::Command;

use voting_tests::browser::page_checker;
use voting_tests::deployment::Deployment;
use voting_tests::process::Local;

#[tokio::test]
async fn all_pages_keep_the_recommended_rules_of_html() {
    let (data, pages) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let local = Local::start(data.path(), &[]).await;
    let dead = format!("redis://127.0.0.1:{}", voting_tests::free_port());
    let without_store = Deployment::start("1.0", "1.1", &dead, &[("SHOWDETAILS", "true")]).await;
    let (visitor, outage) = (voting_tests::http::Visitor::new(local.url.clone()), without_store.visitor());
    let tester = visitor.with_cookies("featureflag=on");
    for (name, page, status) in [
        ("poll-1.0", visitor.get("/").await, 200),
        ("poll-2.0", tester.get("/").await, 200),
        ("not-found", visitor.get("/elsewhere").await, 404),
        ("bad-vote", visitor.post("/", "vote=Birds").await, 422),
        ("poll-without-store", outage.get("/").await, 200),
        ("split-still", visitor.get("/split?still").await, 200),
        ("refused-vote", outage.post("/", "vote=Cats").await, 503),
    ] {
        assert_eq!(page.status, status, "{name}: {}", page.text);
        std::fs::write(pages.path().join(name).with_extension("html"), page.text).unwrap();
    }
    keep_the_rules(pages.path(), &[]);

    // Without scripts this page reloads itself. The rule is there for those who can't stop that; a link on the page does.
    let reloading = tempfile::tempdir().unwrap();
    std::fs::write(reloading.path().join("split.html"), visitor.get("/split").await.text).unwrap();
    keep_the_rules(reloading.path(), &["--rule", "meta-refresh:off"]);
}

/// Checks the pages in a folder.
fn keep_the_rules(folder: &Path, arguments: &[&str]) {
    let checked = Command::new("node")
        .arg(page_checker("html-validate/bin/html-validate.mjs"))
        .args(["--preset", "recommended"])
        .args(arguments)
        .arg(".")
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
}
