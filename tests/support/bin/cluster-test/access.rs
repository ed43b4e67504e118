//! Who reaches whom, asked from real pods after each step of the tutorial, and the certificates that they show.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;
use tokio::task::JoinSet;
use voting_tests::PATIENCE;
use voting_tests::kubernetes::Shell;

use crate::pods::{self, Pod};
use crate::steps::Steps;

/// The answer to a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    /// The service answers.
    Allowed,
    /// The mesh answers 403.
    Forbidden,
    /// There is no answer, or the proxy's own that it has none.
    Unreachable,
}
use Answer::{Allowed, Forbidden, Unreachable};

/// What is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    App,
    Analytics,
    Redis,
    MySql,
    /// The admin port of a pod of voting-app.
    Admin,
    /// The metrics of its sidecar.
    Metrics,
    /// The API server, which no pod of the namespace needs.
    Kubernetes,
}
use Target::{Admin, Analytics, App, Kubernetes, Metrics, MySql, Redis};

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// Callers: name, namespace, labels.
const CALLERS: &[(&str, &str, &str)] = &[
    ("app 1.0", "voting", "app=voting-app,version=1.0"),
    ("app 2.0", "voting", "app=voting-app,version=2.0"),
    ("analytics 1.0", "voting", "app=voting-analytics,version=1.0"),
    ("analytics 1.1", "voting", "app=voting-analytics,version=1.1"),
    ("analytics 2.0", "voting", "app=voting-analytics,version=2.0"),
    ("storage 1.0", "voting", "app=voting-storage,version=1.0"),
    ("storage 2.0", "voting", "app=voting-storage,version=2.0"),
    // The pods below are no part of the system.
    ("transfer", "voting", "probe=transfer"),
    ("impostor", "voting", "probe=impostor"),
    ("plain", "voting", "probe=plain"),
    ("stranger", "voting", "probe=stranger"),
    ("outsider", "outside", "probe=outsider"),
];

/// Pods for calls that the system itself does not make. The first has the identity of the job that transfers votes; the
/// impostor has the label of the app and a sidecar, but another identity; the plain one has no sidecar; the stranger has no
/// label; the outsider is in another namespace.
const PROBES: &[(&str, &str, &str, &str, bool)] = &[
    ("transfer", "voting", "voting-storage-transfer", "voting-storage-transfer", true),
    ("impostor", "voting", "voting-app", "default", true),
    ("plain", "voting", "voting-app", "default", false),
    ("stranger", "voting", "stranger", "default", true),
    ("outsider", "outside", "voting-app", "default", true),
];

/// All calls that get an answer, and the forbidden ones. Every other call of the matrix must be unreachable.
fn expected(step: &str, caller: &str, target: Target) -> Answer {
    let is_locked = step != "Step 1";
    let has_new = !matches!(step, "Step 1" | "Step 2");
    match (caller, target) {
        (_, Metrics) => Allowed,
        ("outsider", Kubernetes) => Allowed,
        ("app 1.0" | "app 2.0", Analytics) => Allowed,
        ("app 1.0" | "analytics 1.0" | "analytics 1.1", Redis) => Allowed,
        ("app 2.0" | "analytics 2.0", MySql) => Allowed,
        // Storage 1.0 is scaled to zero in the end of step 4.
        ("transfer", Redis) if matches!(step, "Step 1" | "Step 3" | "Step 3b") => Allowed,
        ("transfer", MySql) if has_new && step != "Step 5" => Allowed,
        // Until step 2 only the network's policies hold, and these go by labels.
        // In step 4 the route of others than app 2.0 leads to analytics 1.1, which is scaled to zero.
        ("impostor", Analytics) if is_locked && step != "Step 4" => Forbidden,
        ("impostor" | "plain", Analytics | Redis) if !is_locked => Allowed,
        _ => Unreachable,
    }
}

/// Runs the test: the tutorial's main way, and all calls after each step.
pub async fn run(steps: &Steps) -> anyhow::Result<()> {
    steps.prepare().await?;
    create_probes(&steps.shell).await?;
    let mut before = BTreeMap::new();
    for step in ["Step 1", "Step 2", "Step 3", "Step 3b", "Step 4", "Step 5"] {
        // A call that is denied before and after a step is denied meanwhile as well.
        let denied = |(call, answer): (&Call, &Answer)| {
            (*answer != Allowed && expected(step, call.0.name, call.1) != Allowed).then(|| call.clone())
        };
        let watched: Vec<_> = before.iter().filter_map(denied).collect();
        if step == "Step 3" {
            // With the rules of the step, and without its pods.
            let rules = "istio/step-3-add-routing-for-2.0-components.yaml";
            assert_analysis(&steps.shell, rules, &["IST0101", "IST0127", "IST0173"]).await?;
        }
        let asked = watch(steps, step, &watched).await?;
        let messages: &[_] = if step == "Step 4" { &["IST0127"] } else { &[] };
        assert_analysis(&steps.shell, "", messages).await?;
        before = matrix(steps, step).await?;
        let count = |answer| before.values().filter(|it| **it == answer).count();
        println!(
            "{step}: of {} calls {} allowed, {} forbidden, {} unreachable, as expected; {asked} denied calls during the step, none allowed",
            before.len(),
            count(Allowed),
            count(Forbidden),
            count(Unreachable)
        );
        if step == "Step 2" {
            certificates(
                &steps.shell,
                &["voting-app-1-0", "voting-analytics-1-0", "voting-analytics-1-1", "voting-storage-1-0"],
            )
            .await?;
        }
        if step == "Step 3" {
            certificates(&steps.shell, &["voting-app-2-0", "voting-analytics-2-0", "voting-storage-2-0"])
                .await?;
        }
    }
    Ok(())
}

/// Waits until `istioctl analyze` reports what the tutorial says, apart from messages on this test's own pods. The files are
/// analyzed as if they were applied. Pods that were scaled to zero take some seconds to end.
async fn assert_analysis(shell: &Shell, files: &str, expected: &[&str]) -> anyhow::Result<()> {
    let start = Instant::now();
    loop {
        let analyze = format!("istioctl analyze --namespace voting --output json {files} || true");
        let report = shell.run(&analyze).await?;
        let messages: Vec<Value> = serde_json::from_str(&report).with_context(|| report.clone())?;
        let is_own = |message: &Value| {
            let origin = message["origin"].as_str().unwrap_or_default();
            PROBES.iter().any(|(name, ..)| origin.split(' ').any(|part| part.ends_with(&format!("/{name}"))))
        };
        let codes: BTreeSet<_> =
            messages.iter().filter(|one| !is_own(one)).filter_map(|one| one["code"].as_str()).collect();
        if codes == expected.iter().copied().collect() {
            return Ok(());
        }
        ensure!(start.elapsed() < PATIENCE, "istioctl analyze {files}: {report}, not {expected:?}");
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
}

type Call = (Caller, Target);

/// A pod that calls.
#[derive(Clone, Debug)]
struct Caller {
    name: &'static str,
    pod: Pod,
}

impl PartialEq for Caller {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}
impl Eq for Caller {}
impl PartialOrd for Caller {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Caller {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.name.cmp(other.name)
    }
}

async fn create_probes(shell: &Shell) -> anyhow::Result<()> {
    let mut manifest = String::from(
        "
apiVersion: v1
kind: Namespace
metadata: {name: outside, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: voting-storage-transfer, namespace: voting, labels: {app: voting-storage-transfer}}
",
    );
    for (name, namespace, app, account, has_sidecar) in PROBES {
        manifest += &format!(
            "
---
apiVersion: v1
kind: Pod
metadata:
  name: probe-{name}
  namespace: {namespace}
  labels: {{app: {app}, probe: {name}, sidecar.istio.io/inject: \"{has_sidecar}\"}}
spec:
  serviceAccountName: {account}
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 1
  securityContext: {{runAsNonRoot: true, runAsUser: 999, seccompProfile: {{type: RuntimeDefault}}}}
  containers:
    - name: probe
      image: redis:8
      command: [sleep, infinity]
      securityContext: {{allowPrivilegeEscalation: false, capabilities: {{drop: [ALL]}}}}
"
        );
    }
    let wait = "kubectl wait pod --selector probe --for=condition=ready --timeout=2m --namespace";
    shell
        .run(&format!(
            "kubectl apply --filename - <<'END' && {wait} voting && {wait} outside\n{manifest}\nEND"
        ))
        .await?;
    Ok(())
}

/// Whether the call may reach the caller itself, without the network.
fn is_own(caller: &str, target: Target) -> bool {
    let component = caller.split(' ').next().unwrap_or_default();
    matches!(
        (component, target),
        ("app", App | Admin) | ("analytics", Analytics) | ("storage", Redis | MySql)
    )
}

/// The callers that run in a step.
async fn callers(shell: &Shell) -> anyhow::Result<Vec<Caller>> {
    let mut callers = Vec::new();
    for (name, namespace, labels) in CALLERS {
        let pods = pods::running(shell, namespace, labels).await?;
        callers.extend(pods.into_iter().next().map(|pod| Caller { name, pod }));
    }
    Ok(callers)
}

/// Addresses of the targets: of services, and of a pod of the app.
async fn addresses(shell: &Shell) -> anyhow::Result<BTreeMap<Target, String>> {
    let mut addresses = BTreeMap::new();
    for (target, service) in [(App, "voting-app"), (Analytics, "voting-analytics"), (Redis, "voting-storage")]
    {
        let get = format!(
            "kubectl get service {service} --namespace voting --output 'jsonpath={{.spec.clusterIP}}'"
        );
        addresses.insert(target, shell.run(&get).await?);
    }
    addresses.insert(MySql, addresses[&Redis].clone());
    addresses.insert(Kubernetes, "10.96.0.1".to_owned());
    let app = pods::running(shell, "voting", "app=voting-app,version,!probe").await?;
    let app = app.last().context("no pod of voting-app")?;
    addresses.insert(Admin, app.ip.clone());
    addresses.insert(Metrics, app.ip.clone());
    Ok(addresses)
}

/// Makes a call.
async fn ask(caller: &Pod, target: Target, address: &str) -> anyhow::Result<Answer> {
    // curl and the shell of this machine, in the network of the pod.
    let http = |host: &str, port: u16, path: &str| {
        let curl = "curl --silent --max-time 3 --output /dev/null --write-out '%{http_code}' --insecure";
        let scheme = if port == 443 { "https" } else { "http" };
        format!("{curl} --resolve {host}:{port}:{address} {scheme}://{host}:{port}{path}")
    };
    let tcp = |port: u16, send: &str| {
        format!(
            "exec 3<>/dev/tcp/{address}/{port} && printf '{send}' >&3 && timeout 3 head --bytes 5 <&3 | tr -d '\\0'"
        )
    };
    let script = match target {
        App => http("voting-app", 8080, "/"),
        Analytics => http("voting-analytics", 8080, "/analytics"),
        Admin => http("admin", 9090, "/livez"),
        Metrics => http("metrics", 15020, "/stats/prometheus"),
        Kubernetes => http("kubernetes", 443, "/version"),
        Redis => tcp(6379, "PING\\r\\n"),
        // MySQL greets before a proxy has asked for the caller's rights: only the answer to a login counts.
        MySql => format!(
            "mysqladmin --no-defaults --protocol=tcp --host={address} --user=probe --connect-timeout=3 ping 2>&1"
        ),
    };
    let printed = caller.run(&script).await?.unwrap_or_default();
    Ok(match (target, printed.trim()) {
        (Redis, "+PONG") => Allowed,
        (MySql, printed) if printed.contains("Access denied") || printed.contains("alive") => Allowed,
        (Redis | MySql, _) => Unreachable,
        (Kubernetes, "200" | "401" | "403") | (_, "200") => Allowed,
        (_, "403") => Forbidden,
        _ => Unreachable,
    })
}

/// All calls, as soon as they have the expected answers.
async fn matrix(steps: &Steps, step: &str) -> anyhow::Result<BTreeMap<Call, Answer>> {
    let (callers, addresses) = (callers(&steps.shell).await?, addresses(&steps.shell).await?);
    let mut answers = BTreeMap::new();
    for attempt in 0.. {
        let mut calls = JoinSet::new();
        for caller in &callers {
            for (&target, address) in &addresses {
                if is_own(caller.name, target)
                    || answers.get(&(caller.clone(), target)) == Some(&expected(step, caller.name, target))
                {
                    continue;
                }
                let (caller, address) = (caller.clone(), address.clone());
                calls.spawn(async move {
                    let answer = ask(&caller.pod, target, &address).await?;
                    anyhow::Ok(((caller, target), answer))
                });
            }
        }
        while let Some(call) = calls.join_next().await {
            let (call, answer) = call??;
            answers.insert(call, answer);
        }
        let wrong: Vec<_> = answers
            .iter()
            .filter(|((caller, target), answer)| **answer != expected(step, caller.name, *target))
            .map(|((caller, target), answer)| {
                format!(
                    "{} -> {target}: {answer:?}, expected {:?}",
                    caller.name,
                    expected(step, caller.name, *target)
                )
            })
            .collect();
        if wrong.is_empty() {
            break;
        }
        // New rules reach all proxies within seconds.
        ensure!(attempt < 15, "after {step}:\n{}", wrong.join("\n"));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(answers)
}

/// Takes a step while pods make calls that are always denied. Returns their number.
async fn watch(steps: &Steps, step: &str, calls: &[Call]) -> anyhow::Result<u64> {
    let addresses = if calls.is_empty() { BTreeMap::new() } else { addresses(&steps.shell).await? };
    let mut voices = JoinSet::new();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    // A voice for each caller.
    let mut by_caller = BTreeMap::<_, Vec<Target>>::new();
    for (caller, target) in calls {
        by_caller.entry(caller.clone()).or_default().push(*target);
    }
    for (caller, targets) in by_caller {
        let (addresses, asked) = (addresses.clone(), asked.clone());
        voices.spawn(async move {
            loop {
                for target in &targets {
                    // A pod that ends cannot call.
                    let Ok(answer) = ask(&caller.pod, *target, &addresses[target]).await else { return None };
                    asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if answer == Allowed {
                        return Some(format!("{} -> {target}", caller.name));
                    }
                }
            }
        });
    }
    steps.take(step).await?;
    while let Some(ended) = voices.try_join_next() {
        let allowed = ended?;
        ensure!(allowed.is_none(), "{step} allowed for a moment: {}", allowed.unwrap_or_default());
    }
    voices.shutdown().await;
    Ok(asked.load(std::sync::atomic::Ordering::Relaxed))
}

/// Checks that the pods of these service accounts show their identity to a caller, and that they answer no plain text.
async fn certificates(shell: &Shell, accounts: &[&str]) -> anyhow::Result<()> {
    let plain = pods::one(shell, "voting", "probe=plain").await?;
    let gateway = pods::one(shell, "istio-system", "istio=ingressgateway").await?;
    for account in accounts {
        let (app, version) =
            account.split_at(account.rfind("-1-").or(account.rfind("-2-")).context("a version")?);
        let selector = format!("app={app},version={}", version[1..].replace('-', "."));
        let pod = pods::one(shell, "voting", &selector).await?;
        // The network lets only the gateway reach the app.
        let caller = if app == "voting-app" { &gateway } else { &plain };
        let port = match *account {
            "voting-storage-1-0" => 6379,
            "voting-storage-2-0" => 3306,
            _ => 8080,
        };
        let address = format!("{}:{port}", pod.ip);
        let script = format!(
            "openssl s_client -connect {address} -alpn istio </dev/null 2>/dev/null | openssl x509 -noout -ext subjectAltName"
        );
        let shown = caller.run(&script).await?.unwrap_or_default();
        let identity = format!("URI:spiffe://cluster.local/ns/voting/sa/{account}");
        ensure!(shown.lines().any(|line| line.trim() == identity), "{account} shows: {shown}");
        let text = format!(
            "exec 3<>/dev/tcp/{}/{port} && printf 'GET / HTTP/1.0\\r\\n\\r\\n' >&3 && timeout 3 head --bytes 1 <&3 | wc --bytes",
            pod.ip
        );
        let answered = caller.run(&text).await?.unwrap_or_default();
        ensure!(matches!(answered.trim(), "" | "0"), "{account} answers plain text");
        println!("{account}: certificate of {identity}, no answer to plain text");
    }
    Ok(())
}
