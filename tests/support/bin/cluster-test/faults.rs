//! Disturbances of the cluster, with voters of both releases beside them.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use voting_tests::figure;
use voting_tests::kubernetes::repository;
use voting_tests::load::Load;
use voting_tests::tutorial::blocks;

use crate::pods;
use crate::steps::Steps;

/// What happens to pods.
#[derive(Clone, Copy)]
enum Fault {
    /// A command of the operator.
    Command(&'static str),
    /// SIGKILL of a container of one pod for each selector in a namespace.
    Kill(&'static str, &'static [&'static str], &'static str),
}
use Fault::{Command, Kill};

const APPS: &[&str] = &["app=voting-app,version=1.0", "app=voting-app,version=2.0"];
const ANALYTICS: &[&str] = &["app=voting-analytics,version=1.1", "app=voting-analytics,version=2.0"];
const STORES: &[&str] = &["app=voting-storage,version=1.0", "app=voting-storage,version=2.0"];

/// The faults, and whether voters may notice them.
const FAULTS: &[(&str, Fault, bool)] = &[
    ("no fault", Command("sleep 5"), false),
    ("delete app", Command("for version in 1.0 2.0; do
        kubectl delete --namespace voting --wait=false \
          $(kubectl get pods --namespace voting --selector app=voting-app,version=$version --output name | head --lines 1)
      done"), false),
    ("delete analytics", Command("for version in 1.1 2.0; do
        kubectl delete --namespace voting --wait=false \
          $(kubectl get pods --namespace voting --selector app=voting-analytics,version=$version --output name | head --lines 1)
      done"), false),
    // On a single node the pods cannot go elsewhere: the budgets keep all but one of each component.
    ("drain", Command("kubectl drain node --pod-selector 'app in (voting-app, voting-analytics)' --timeout=15s && exit 1
      kubectl uncordon node"), false),
    ("restart app", Command("kubectl rollout restart deployment --selector app=voting-app --namespace voting"), false),
    ("restart analytics", Command("kubectl rollout restart deployment --selector app=voting-analytics --namespace voting"), false),
    ("restart istiod", Command("kubectl rollout restart deployment/istiod --namespace istio-system"), false),
    ("restart gateway", Command("kubectl rollout restart deployment/istio-ingressgateway --namespace istio-system"), false),
    ("kill istiod", Kill("istio-system", &["app=istiod"], "discovery"), false),
    ("kill app's sidecar", Kill("voting", APPS, "istio-proxy"), true),
    ("kill store's sidecar", Kill("voting", STORES, "istio-proxy"), true),
    ("kill app", Kill("voting", APPS.split_at(1).0, "voting-app"), false),
    ("kill app 2.0", Kill("voting", APPS.split_at(1).1, "voting-app"), false),
    ("kill analytics", Kill("voting", ANALYTICS, "voting-analytics"), false),
    ("kill gateway", Kill("istio-system", &["istio=ingressgateway"], "istio-proxy"), true),
    ("kill Redis", Kill("voting", STORES.split_at(1).0, "redis"), true),
    ("kill MySQL", Kill("voting", STORES.split_at(1).1, "mysql"), true),
    // A second pod gets the same volume, and must wait for it.
    ("scale out stores", Command("for store in 1-0 2-0; do
        kubectl scale deployment/voting-storage-$store --namespace voting --replicas=2
      done
      for store in 1-0 2-0; do
        kubectl wait deployment/voting-storage-$store --namespace voting '--for=jsonpath={.status.readyReplicas}=2' --timeout=20s && exit 1
        kubectl scale deployment/voting-storage-$store --namespace voting --replicas=1
      done"), false),
    ("force delete stores", Command("kubectl delete pods --namespace voting --selector app=voting-storage --force"), true),
    ("delete stores", Command("kubectl delete pods --namespace voting --selector app=voting-storage --wait=false"), true),
];

/// Runs the test in step 3, which has both releases.
pub async fn run(steps: &Steps) -> anyhow::Result<()> {
    steps.to("Step 3").await?;
    let load = Load::start(&steps.url().await?, "start")?;
    for (name, fault, _) in FAULTS {
        println!("{name}");
        load.go_to(name);
        match *fault {
            Command(script) => steps.shell.run(script).await.map(drop).with_context(|| (*name).to_owned())?,
            Kill(namespace, selectors, container) => {
                for selector in selectors {
                    pods::one(&steps.shell, namespace, selector).await?.kill(container).await?;
                }
            }
        }
        // The effects of a killed process come before its pod is unavailable.
        tokio::time::sleep(Duration::from_secs(3)).await;
        for namespace in ["voting", "istio-system"] {
            let wait = "for deployment in $(kubectl get deployments --output name --namespace";
            let wait = format!(
                "{wait} {namespace}); do kubectl rollout status $deployment --timeout=3m --namespace {namespace}; done"
            );
            steps.shell.run(&wait).await?;
        }
        load.settled().await?;
    }
    let report = steps.account_for(load).await?;
    report.check_votes()?;
    for (name, _, may_fail) in FAULTS {
        let failed = report.failed(name);
        ensure!(*may_fail || failed == 0, "{name}: {failed} requests failed");
    }
    another_password(steps).await
}

/// Replaces the secret of MySQL, which has its passwords from the first start, and repairs that as docs/operations.md describes.
async fn another_password(steps: &Steps) -> anyhow::Result<()> {
    println!("another password");
    let text = std::fs::read_to_string(repository().join("docs/operations.md"))?;
    let (_, chapter) =
        text.split_once("## The passwords of MySQL\n").context("the chapter of the passwords")?;
    let commands = blocks(chapter.split("\n## ").next().unwrap_or_default());
    let [restart, repair] = &commands[..] else { bail!("{} blocks of commands", commands.len()) };
    let replace = "kubectl get secret voting-storage-secret --namespace voting --output json |
        sed 's/\"MYSQL_PASSWORD\": \".*\"/\"MYSQL_PASSWORD\": \"YW5vdGhlcg==\"/' >$HOME/secret.json &&
        kubectl replace --force --filename $HOME/secret.json";
    steps.shell.run(&format!("HOME=$(mktemp -d); {replace}; status=$?; rm -r $HOME; (exit $status)")).await?;
    let run = async |script: &str| {
        steps.shell.run(&format!("set -e\n{script}")).await.with_context(|| script.to_owned())
    };
    let start = Instant::now();
    run(&restart.commands).await?;
    let vote = "curl --silent --cookie featureflag=on --data vote=Cats --output /dev/null --write-out '%{http_code}' $INGRESS_IP";
    let wait = |code: &str| {
        format!("for i in {{1..60}}; do [ $({vote}) = {code} ] && exit 0; sleep 1; done; exit 1")
    };
    steps
        .shell
        .run(&format!("({})", wait("503")))
        .await
        .context("votes are taken with the wrong password")?;
    let repaired = Instant::now();
    run(&repair.commands).await?;
    steps
        .shell
        .run(&format!("({})", wait("303")))
        .await
        .context("votes are not taken with the new password")?;
    let (all, repair) = (start.elapsed(), repaired.elapsed());
    figure(
        "another password",
        format!("the repair takes {repair:.1?}; votes count {all:.1?} after the restart of MySQL"),
    );
    Ok(())
}
