//! The diagrams of the tutorial: the releases after each step and the requests between them, read from the manifests.
//!
//! `cargo xtask diagrams` writes them; the test fails if they differ from the manifests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::Value;

use voting_tests::tutorial::Track;

use crate::istio::{AuthorizationPolicy, HttpRoute, PeerAuthentication, Resource};
use crate::mirror::with_the_detour;
use crate::parse::{Document, labels};
use crate::root;
use crate::routing::{matches, of_kind, pods, subset_labels, virtual_services};
use crate::steps::{Cluster, applied};

/// Setting that makes the test write the files.
const WRITE: &str = "WRITE_DIAGRAMS";

/// The diagrams, and the last file that is applied before each.
const DIAGRAMS: [(&str, &str); 7] = [
    ("step-1", "istio/step-1-create-voting-app-gateway.yaml"),
    ("step-2", "istio/step-2-update-and-add-routing-for-all-components.yaml"),
    ("step-2b", "istio/step-2b-mirror-page-views-to-2.0.yaml"),
    ("step-3", "istio/step-3-add-routing-for-2.0-components.yaml"),
    ("step-3b", "istio/step-3b-widen-canary-to-10-percent.yaml"),
    ("step-4", "istio/step-4-route-everybody-to-2.0.yaml"),
    ("step-5", "k8s/step-4-remove-old-storage.yaml"),
];

/// The columns of components, and the settings by which a pod finds the services of each.
const COMPONENTS: [(&str, &[&str]); 3] =
    [("voting-app", &[]), ("voting-analytics", &["ANALYTICS"]), ("voting-storage", &["REDIS", "MYSQL"])];

const GATEWAY: &str = "gateway";

/// A Deployment: its name, and the labels of its pods.
type Workload = (String, BTreeMap<String, String>);

/// The requests between the gateway and the releases. An arrow has a line of text for each route that it stands for.
#[derive(Default)]
struct Picture {
    /// Names of the Deployments, with the component and the release of each.
    releases: BTreeMap<String, (usize, String)>,
    stores: BTreeMap<String, String>,
    arrows: BTreeMap<(String, String), Vec<String>>,
    is_locked_down: bool,
}

impl Picture {
    fn of(cluster: &Cluster) -> Self {
        let mut picture = Self { is_locked_down: is_locked_down(cluster), ..Self::default() };
        let workloads = pods(cluster);
        for (name, labels) in &workloads {
            let component = COMPONENTS.iter().position(|(component, _)| *component == labels["app"]);
            let component = component.unwrap_or_else(|| panic!("{name} is of no component"));
            picture.releases.insert(name.clone(), (component, labels["version"].clone()));
        }
        for document in of_kind(cluster, "deployment.apps") {
            let image = document.at("/spec/template/spec/containers/0/image").and_then(Value::as_str);
            let image = image.and_then(|image| image.rsplit('/').next()?.split(':').next());
            let product = match image {
                Some("redis") => "Redis",
                Some("mysql") => "MySQL",
                _ => continue,
            };
            picture.stores.insert(document.name().to_owned(), product.to_owned());
        }
        let entry = http_routes(cluster, "voting-app");
        for (route, text) in entry.iter().flat_map(|route| described(route, entry.len())) {
            for target in selected(cluster, &workloads, "voting-app", route) {
                picture.arrow(GATEWAY, target, Some(&text));
            }
        }
        for document in of_kind(cluster, "deployment.apps") {
            let (caller, of_caller) =
                workloads.iter().find(|(name, _)| name == document.name()).expect("the Deployment has pods");
            for (host, port) in called(document) {
                for subset in subsets(cluster, &host, port, of_caller) {
                    for target in selected(cluster, &workloads, &host, subset.as_deref()) {
                        picture.arrow(caller, target, None);
                    }
                }
            }
        }
        picture.check_policies(cluster, &workloads);
        picture
    }

    fn arrow(&mut self, from: &str, to: &str, text: Option<&str>) {
        let texts = self.arrows.entry((from.to_owned(), to.to_owned())).or_default();
        texts.extend(text.map(ToOwned::to_owned));
    }

    /// Checks that the policies allow each arrow.
    fn check_policies(&self, cluster: &Cluster, workloads: &[Workload]) {
        if !self.is_locked_down {
            return;
        }
        let policies: Vec<Resource<AuthorizationPolicy>> =
            of_kind(cluster, "authorizationpolicy.security.istio.io").map(Document::typed).collect();
        for (from, to) in self.arrows.keys().filter(|(from, _)| from != GATEWAY && self.is_used(from)) {
            let (_, of_target) = workloads.iter().find(|(name, _)| name == to).expect("a workload");
            let is_allowed = policies.iter().any(|policy| {
                let is_of_target =
                    policy.spec.selector.as_ref().is_some_and(|one| matches(&one.match_labels, of_target));
                let callers = policy.spec.rules.iter().flat_map(|rule| &rule.from);
                is_of_target && callers.into_iter().any(|one| one.source.service_accounts.contains(from))
            });
            assert!(is_allowed, "{from} calls {to}, and no AuthorizationPolicy allows it");
        }
    }

    /// Whether requests of browsers reach a release.
    fn is_used(&self, release: &str) -> bool {
        let mut callers = self.arrows.keys().filter(|(_, to)| to == release).map(|(from, _)| from);
        callers.any(|from| from == GATEWAY || self.is_used(from))
    }
}

/// Whether connections need mutual TLS and requests a policy that allows them.
fn is_locked_down(cluster: &Cluster) -> bool {
    let is_strict =
        |document: &Document| document.typed::<Resource<PeerAuthentication>>().spec.mtls.mode == "STRICT";
    let denies = cluster.contains_key("authorizationpolicy.security.istio.io/deny-all");
    denies && of_kind(cluster, "peerauthentication.security.istio.io").any(is_strict)
}

fn http_routes(cluster: &Cluster, service: &str) -> Vec<HttpRoute> {
    let mut services = virtual_services(cluster).into_iter();
    services.find(|one| one.metadata.name == service).map_or_else(Vec::new, |one| one.spec.http)
}

/// The subset of each target of a route, and the requests that it gets.
fn described(route: &HttpRoute, routes: usize) -> Vec<(Option<&str>, String)> {
    let cookie = route.matches.iter().find_map(|one| one.headers.get("cookie"));
    let mirror = route.mirror.as_ref();
    let copies = mirror.map(|mirror| (mirror.subset.as_deref(), "copies of page views".to_owned()));
    let targets = route.route.iter().map(|target| {
        let text = match (cookie, target.weight) {
            (Some(cookie), _) => format!("cookie {}", cookie_of(&cookie.regex)),
            (None, Some(weight)) => format!("{weight}% of the others"),
            (None, None) if mirror.is_some() => "page views".to_owned(),
            (None, None) if routes > 1 => "all others".to_owned(),
            (None, None) => "all browsers".to_owned(),
        };
        (target.destination.subset.as_deref(), text)
    });
    targets.chain(copies).collect()
}

/// The cookie that a regular expression finds among others.
fn cookie_of(regex: &str) -> String {
    let inner = regex.strip_prefix(r"(.*;\s*)?").and_then(|rest| rest.strip_suffix(r"(\s*;.*)?"));
    inner.unwrap_or_else(|| panic!("{regex} is not the expression of a cookie")).replace('\\', "")
}

/// Host and port of the services that a pod calls.
fn called(document: &Document) -> Vec<(String, u64)> {
    let variables = document.at("/spec/template/spec/containers/0/env").and_then(Value::as_array);
    let value = |name: &str| {
        let variable = variables?.iter().find(|variable| variable["name"] == name)?;
        variable["value"].as_str().map(ToOwned::to_owned)
    };
    let names = COMPONENTS.iter().flat_map(|(_, names)| *names);
    names
        .filter_map(|name| {
            let port = value(&format!("{name}_PORT"))?.parse().ok()?;
            Some((value(&format!("{name}_HOST"))?, port))
        })
        .collect()
}

/// The subsets to which a service's requests of this caller go; `None`: all of its pods.
fn subsets(
    cluster: &Cluster,
    host: &str,
    port: u64,
    caller: &BTreeMap<String, String>,
) -> Vec<Option<String>> {
    let mut services = virtual_services(cluster).into_iter();
    let Some(service) = services.find(|one| one.metadata.name == host) else {
        return vec![None];
    };
    let is_for = |route: &HttpRoute| {
        route.matches.is_empty() || route.matches.iter().any(|one| matches(&one.source_labels, caller))
    };
    let http = service.spec.http.into_iter().find(is_for).map(|route| route.route);
    let has_port = |one: &crate::istio::TcpMatch| one.port.map(u64::from) == Some(port);
    let tcp = service.spec.tcp.into_iter().find(|route| route.matches.iter().any(has_port));
    let targets = http.or_else(|| tcp.map(|route| route.route)).unwrap_or_default();
    targets.into_iter().map(|target| target.destination.subset).collect()
}

/// The workloads of a service, or of a subset of it.
fn selected<'a>(
    cluster: &'a Cluster,
    workloads: &'a [Workload],
    service: &str,
    subset: Option<&str>,
) -> impl Iterator<Item = &'a str> {
    let mut selector = labels(cluster[&format!("service/{service}")].at("/spec/selector"));
    if let Some(subset) = subset {
        selector.extend(subset_labels(cluster, service, subset).expect("the subset is there"));
    }
    workloads.iter().filter(move |(_, labels)| matches(&selector, labels)).map(|(name, _)| name.as_str())
}

const WIDTH: i32 = 1000;
const NODE: (i32, i32) = (150, 46);
/// The left edges of the gateway and of the components.
const LEFT: [i32; 4] = [20, 430, 640, 830];
const ROW: i32 = 64;

impl Picture {
    /// The centre of each release: analytics above the line between the app and the store of its major release, so that
    /// arrows between those two pass below it.
    fn places(&self) -> (BTreeMap<&str, (i32, i32)>, i32) {
        let major = |release: &str| release.split('.').next().unwrap_or_default().to_owned();
        let majors: BTreeSet<String> = self.releases.values().map(|(_, release)| major(release)).collect();
        let mut places = BTreeMap::new();
        let mut y = 74;
        for one in majors {
            let of_major = self.releases.iter().filter(|(_, (_, release))| major(release) == one);
            let (above, line): (Vec<_>, Vec<_>) = of_major.partition(|(_, (component, _))| *component == 1);
            for (name, (component, _)) in above {
                places.insert(name.as_str(), (LEFT[component + 1] + NODE.0 / 2, y));
                y += ROW;
            }
            for (name, (component, _)) in line {
                places.insert(name.as_str(), (LEFT[component + 1] + NODE.0 / 2, y));
            }
            y += ROW + 20;
        }
        (places, y - 30)
    }

    fn svg(&self, title: &str) -> String {
        let (mut places, bottom) = self.places();
        let apps = places.iter().filter(|(name, _)| self.releases[**name].0 == 0).map(|(_, place)| place.1);
        let apps: Vec<i32> = apps.collect();
        let middle = (apps[0] + apps[apps.len() - 1]) / 2;
        places.insert(GATEWAY, (LEFT[0] + NODE.0 / 2, middle));
        let height = bottom + 56;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" width=\"{WIDTH}\" height=\"{height}\" \
             role=\"img\" aria-label=\"{alt}\">\n<title>{title}</title>\n<style>{STYLE}</style>\n\
             <defs><marker id=\"tip\" viewBox=\"0 0 8 8\" refX=\"7\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" \
             orient=\"auto\"><path class=\"tip\" d=\"M0 0L8 4L0 8z\"/></marker></defs>\n\
             <rect class=\"paper\" width=\"{WIDTH}\" height=\"{height}\" rx=\"12\"/>\n",
            alt = self.text(),
        );
        for (column, name) in
            ["Istio gateway", COMPONENTS[0].0, COMPONENTS[1].0, COMPONENTS[2].0].iter().enumerate()
        {
            let x = LEFT[column] + NODE.0 / 2;
            let _ = writeln!(svg, "<text class=\"head\" x=\"{x}\" y=\"30\">{name}</text>");
        }
        for ((from, to), texts) in &self.arrows {
            let ((x1, y1), (x2, y2)) = (places[from.as_str()], places[to.as_str()]);
            let (x1, x2) = (x1 + NODE.0 / 2, x2 - NODE.0 / 2 - 2);
            let bend = ((x2 - x1) / 2).min(60);
            let class = if from == GATEWAY || self.is_used(from) { "arrow" } else { "arrow idle" };
            let _ = writeln!(
                svg,
                "<path class=\"{class}\" d=\"M{x1} {y1}C{} {y1} {} {y2} {} {y2}H{x2}\" marker-end=\"url(#tip)\"/>",
                x1 + bend,
                x1 + bend,
                x1 + 2 * bend,
            );
            for (line, text) in texts.iter().rev().enumerate() {
                let y = y2 - 9 - 17 * i32::try_from(line).unwrap_or_default();
                let _ = writeln!(svg, "<text class=\"route\" x=\"{}\" y=\"{y}\">{text}</text>", x2 - 12);
            }
        }
        for (name, (x, y)) in &places {
            let (caption, class) = match self.releases.get(*name) {
                None => ("port 80".to_owned(), "gateway".to_owned()),
                Some((_, release)) => {
                    let idle = if self.is_used(name) { "" } else { " idle" };
                    let product = self.stores.get(*name).map(|product| format!(" ({product})"));
                    let major = release.split('.').next().unwrap_or_default();
                    (format!("{release}{}", product.unwrap_or_default()), format!("r{major}{idle}"))
                }
            };
            let (left, top, text) = (x - NODE.0 / 2, y - NODE.1 / 2, y + 6);
            let _ = writeln!(
                svg,
                "<rect class=\"{class}\" x=\"{left}\" y=\"{top}\" width=\"{}\" height=\"{}\" rx=\"10\"/>\n\
                 <text class=\"name\" x=\"{x}\" y=\"{text}\">{caption}</text>",
                NODE.0, NODE.1,
            );
        }
        let _ = writeln!(
            svg,
            "<text class=\"note\" x=\"24\" y=\"{}\">{}</text>\n</svg>",
            height - 20,
            self.note()
        );
        svg
    }

    fn note(&self) -> &'static str {
        if self.is_locked_down {
            "Every arrow is mutual TLS and allowed by a policy; every other request is denied. Dashed: deployed, no requests."
        } else {
            "Mutual TLS between the sidecars; no policy restricts the requests yet. Dashed: deployed, no requests."
        }
    }

    /// The picture in words.
    fn text(&self) -> String {
        let name = |name: &str| match self.releases.get(name) {
            None => "The gateway".to_owned(),
            Some((component, release)) => format!("{} {release}", COMPONENTS[*component].0),
        };
        let mut callers: Vec<&String> = self.arrows.keys().map(|(from, _)| from).collect();
        callers.retain(|from| *from == GATEWAY || self.is_used(from));
        callers
            .sort_by_key(|from| self.releases.get(*from).map(|(component, release)| (*component, release)));
        callers.dedup();
        let sentences: Vec<String> = callers
            .into_iter()
            .map(|caller| {
                let called =
                    self.arrows.iter().filter(|((from, _), _)| from == caller).map(|((_, to), texts)| {
                        let texts =
                            if texts.is_empty() { String::new() } else { format!(" ({})", texts.join(", ")) };
                        format!("{}{texts}", name(to))
                    });
                format!("{} calls {}.", name(caller), called.collect::<Vec<_>>().join(" and "))
            })
            .collect();
        let idle = self.releases.keys().filter(|release| !self.is_used(release)).map(|release| name(release));
        let idle: Vec<String> = idle.collect();
        let idle =
            if idle.is_empty() { String::new() } else { format!(" No requests: {}.", idle.join(", ")) };
        format!("{}{idle}", sentences.join(" "))
    }
}

const STYLE: &str = "\
text{font:15px system-ui,sans-serif;fill:#1f2933;text-anchor:middle}\
.head{font-weight:600}.name{font-weight:600}.route{text-anchor:end;font-size:13px}.note{text-anchor:start;font-size:13px}\
.paper{fill:#fff}rect{stroke-width:2}.gateway{fill:#eef1f4;stroke:#6b7785}.r1{fill:#dcecfb;stroke:#1668b5}\
.r2{fill:#ebe2fa;stroke:#6f3cc0}.idle{stroke-dasharray:6 5;opacity:.65}\
.arrow{fill:none;stroke:#52606d;stroke-width:2}.arrow.idle{opacity:.35}.tip{fill:#52606d}\
@media(prefers-color-scheme:dark){text{fill:#e6eaee}.paper{fill:#14181d}.gateway{fill:#262d35;stroke:#8b97a5}\
.r1{fill:#12324f;stroke:#5aa7ec}.r2{fill:#2f2150;stroke:#a985ee}.arrow{stroke:#a3afbb}.tip{fill:#a3afbb}}";

#[test]
fn the_diagrams_show_the_manifests() {
    let applied: Vec<_> = with_the_detour(Track::Istio).into_iter().chain(applied()).collect();
    let tutorial = crate::read("docs/tutorial.md");
    for (name, file) in DIAGRAMS {
        let step = applied.iter().rev().find(|step| step.file == file);
        let mut cluster = step.unwrap_or_else(|| panic!("{file} is not applied")).cluster.clone();
        if name == "step-5" {
            // The step ends with the removal of these releases.
            assert!(tutorial.contains("--selector 'version in (1.0, 1.1)'"), "the removal in step 5");
            cluster.retain(|_, document| {
                let version = labels(document.at("/metadata/labels")).remove("version").unwrap_or_default();
                !["1.0", "1.1"].contains(&version.as_str())
            });
        }
        let picture = Picture::of(&cluster);
        let svg = picture.svg(&format!("The releases after {}", name.replace('-', " ")));
        let path = format!("docs/images/diagram-{name}.svg");
        let image = format!("![{}](images/diagram-{name}.svg)", picture.text());
        if std::env::var_os(WRITE).is_some() {
            std::fs::write(root().join(&path), &svg).unwrap_or_else(|error| panic!("{path}: {error}"));
            println!("{image}");
            continue;
        }
        assert!(crate::read(&path) == svg, "{path} is outdated; `cargo xtask diagrams` writes it");
        assert!(tutorial.contains(&image), "docs/tutorial.md lacks this image with its text:\n{image}");
    }
}
