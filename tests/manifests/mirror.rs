//! Step 2b: page views are mirrored to release 2.0, and nothing else.

use clap::ValueEnum as _;
use voting_tests::tutorial::{DETOUR, Track, halves_of_step_3};

use crate::gateway_api::browsers_routes;
use crate::parse::documents;
use crate::routing::{matches, pods, subset_labels};
use crate::steps::{Applied, applied_by};
use crate::tutorial::blocks_of;

fn file(track: &str) -> String {
    format!("{track}/step-2b-mirror-page-views-to-2.0.yaml")
}

/// What the blocks of steps 1 and 2 apply, those that deploy 2.0, those of step 2b with its way back, and the rest of step 3.
pub fn with_the_detour(track: Track) -> Vec<Applied> {
    let blocks = blocks_of(track);
    let [deploy, route] = halves_of_step_3(&blocks);
    let before = blocks
        .iter()
        .filter(|block| block.is_on_the_main_way() && matches!(block.step(), "Step 1" | "Step 2"));
    let detour = blocks.iter().filter(|block| block.step() == DETOUR);
    applied_by(before.chain(deploy).chain(detour).chain(route))
}

#[test]
fn applying_prints_what_the_tutorial_shows() {
    for track in Track::value_variants() {
        let applied = with_the_detour(*track);
        assert_eq!(applied.iter().filter(|step| step.file.contains("/step-2b-")).count(), 1, "{track:?}");
        for step in applied {
            assert_eq!(step.printed, step.shown, "{}", step.file);
        }
    }
}

#[test]
fn only_page_views_are_mirrored_and_everybody_stays_on_1_0() {
    for track in ["istio", "gateway-api"] {
        let routes = browsers_routes(&file(track)).expect("routes");
        let [views, others] = &routes[..] else { panic!("{routes:?}") };
        assert_eq!(views.of, Some(["GET".to_owned(), "/".to_owned()]));
        assert_eq!((views.mirror.as_deref(), &others.mirror), (Some("2-0"), &None));
        let to_1_0 = vec![("1-0".to_owned(), None, None)];
        for route in [views, others] {
            assert_eq!((&route.targets, &route.cookie), (&to_1_0, &None));
        }
    }
}

#[test]
fn copies_go_to_the_pods_of_app_2_0() {
    let applied = with_the_detour(Track::Istio);
    let step = applied.iter().find(|step| step.file == file("istio")).expect("step 2b");
    let selector = subset_labels(&step.cluster, "voting-app", "v2-0").expect("the subset");
    let pods = pods(&step.cluster);
    let selected: Vec<_> = pods
        .iter()
        .filter(|(_, labels)| labels["app"] == "voting-app" && matches(&selector, labels))
        .collect();
    assert!(matches!(&selected[..], [(name, _)] if name == "voting-app-2-0"), "{selected:?}");

    let applied = with_the_detour(Track::GatewayApi);
    let step = applied.iter().find(|step| step.file == file("gateway-api")).expect("step 2b");
    assert!(step.cluster.contains_key("service/voting-app-2-0"));
}

/// So that step 3, which follows, changes the routes alone.
#[test]
fn the_subsets_are_those_of_step_3() {
    let rule = |file: &str| {
        let documents = documents(file);
        documents.into_iter().find(|one| one.key == "destinationrule.networking.istio.io/voting-app")
    };
    assert!(rule(&file("istio")).is_some());
    assert_eq!(rule(&file("istio")), rule("istio/step-3-add-routing-for-2.0-components.yaml"));
}
