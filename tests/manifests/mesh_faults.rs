//! The faults that the mesh injects into release 2.0, an exercise of `docs/rehearsals.md`.

use serde_json::Value;

use crate::istio::{Resource, VirtualService};
use crate::parse::{Document, documents};
use crate::read;

const FAULTS: &str = "istio/faults/step-3-faults-of-2.0.yaml";
const STEP: &str = "istio/step-3-add-routing-for-2.0-components.yaml";

#[test]
fn only_routes_to_2_0_have_faults() {
    let mut faults = Vec::new();
    for document in documents(FAULTS) {
        let service: Resource<VirtualService> = document.typed();
        for route in service.spec.http {
            let Some(fault) = route.fault else { continue };
            let subsets = route.route.iter().map(|target| target.destination.subset.as_deref());
            assert!(subsets.into_iter().all(|subset| subset == Some("v2-0")), "{}", route.name);
            assert_eq!((fault.abort.http_status, fault.delay.fixed_delay.as_str()), (500, "2s"));
            faults.push((route.name, fault.delay.percentage.value, fault.abort.percentage.value));
        }
    }
    assert_eq!(faults, [("app-2-0".to_owned(), 20.0, 10.0), ("flag".to_owned(), 10.0, 10.0)]);
}

/// So the file of step 3 takes the faults away, and changes nothing else.
#[test]
fn without_its_faults_the_file_is_that_of_step_3() {
    let step = documents(STEP);
    for mut document in documents(FAULTS) {
        let routes = document.value.pointer_mut("/spec/http").and_then(Value::as_array_mut).expect("routes");
        let faults = routes.iter_mut().filter_map(|route| route.as_object_mut()?.remove("fault")).count();
        assert_eq!(faults, 1, "{}", document.key);
        let same = |one: &&Document| one.key == document.key;
        assert_eq!(step.iter().find(same), Some(&document));
    }
}

#[test]
fn the_rehearsal_applies_the_file_and_takes_it_back() {
    let page = read("docs/rehearsals.md");
    for file in [FAULTS, STEP] {
        assert!(page.contains(&format!("kubectl apply -f {file} --namespace voting")), "{file}");
    }
}
