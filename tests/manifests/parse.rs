//! Strict parsing of the manifests.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{
    ConfigMap, Namespace, PersistentVolumeClaim, Secret, Service, ServiceAccount,
};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{gateway_api, istio, manifests, read};

/// A document of a manifest.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// The name that `kubectl` prints, as `deployment.apps/voting-app-1-0`.
    pub key: String,
    pub value: Value,
}

impl Document {
    /// The value at a JSON pointer such as `/spec/replicas`.
    pub fn at(&self, place: &str) -> Option<&Value> {
        self.value.pointer(place)
    }

    pub fn name(&self) -> &str {
        self.at("/metadata/name").and_then(Value::as_str).unwrap_or_default()
    }

    /// Converts the document into a type of [`istio`] or Kubernetes.
    pub fn typed<T: DeserializeOwned>(&self) -> T {
        T::deserialize(&self.value).unwrap_or_else(|error| panic!("{}: {error}", self.key))
    }
}

pub fn labels(value: Option<&Value>) -> BTreeMap<String, String> {
    value.map_or_else(BTreeMap::new, |value| {
        BTreeMap::deserialize(value).unwrap_or_else(|error| panic!("{value} are no labels: {error}"))
    })
}

use serde::Deserialize as _;

/// Parses the documents of a file strictly.
pub fn documents(path: &str) -> Vec<Document> {
    parse(&read(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Parses the documents of a text strictly.
pub fn parse(text: &str) -> Result<Vec<Document>, String> {
    serde_yaml_ng::Deserializer::from_str(text)
        .map(|document| {
            let value = Value::deserialize(document).map_err(|error| error.to_string())?;
            let part =
                |name: &str| value.pointer(name).and_then(Value::as_str).unwrap_or_default().to_owned();
            let (version, kind, name) = (part("/apiVersion"), part("/kind"), part("/metadata/name"));
            let group = version.split_once('/').map(|(group, _)| format!(".{group}")).unwrap_or_default();
            let key = format!("{}{group}/{name}", kind.to_lowercase());
            strictly(&version, &kind, &value).map_err(|error| format!("{key}: {error}"))?;
            Ok(Document { key, value })
        })
        .collect()
}

fn strictly(version: &str, kind: &str, value: &Value) -> Result<(), String> {
    let check = match (version, kind) {
        ("v1", "ConfigMap") => kubernetes::<ConfigMap>,
        ("v1", "Namespace") => kubernetes::<Namespace>,
        ("v1", "PersistentVolumeClaim") => kubernetes::<PersistentVolumeClaim>,
        ("v1", "Secret") => kubernetes::<Secret>,
        ("v1", "Service") => kubernetes::<Service>,
        ("v1", "ServiceAccount") => kubernetes::<ServiceAccount>,
        ("apps/v1", "Deployment") => kubernetes::<Deployment>,
        ("autoscaling/v2", "HorizontalPodAutoscaler") => kubernetes::<HorizontalPodAutoscaler>,
        ("batch/v1", "Job") => kubernetes::<Job>,
        ("networking.k8s.io/v1", "NetworkPolicy") => kubernetes::<NetworkPolicy>,
        ("policy/v1", "PodDisruptionBudget") => kubernetes::<PodDisruptionBudget>,
        ("gateway.networking.k8s.io/v1", "Gateway") => resource::<gateway_api::Gateway>,
        ("gateway.networking.k8s.io/v1", "HTTPRoute") => resource::<gateway_api::HttpRoute>,
        ("networking.istio.io/v1", "DestinationRule") => resource::<istio::DestinationRule>,
        ("networking.istio.io/v1", "Gateway") => resource::<istio::Gateway>,
        ("networking.istio.io/v1", "VirtualService") => resource::<istio::VirtualService>,
        ("security.istio.io/v1", "AuthorizationPolicy") => resource::<istio::AuthorizationPolicy>,
        ("security.istio.io/v1", "PeerAuthentication") => resource::<istio::PeerAuthentication>,
        _ => return Err(format!("there is no {kind} in {version}")),
    };
    check(value)
}

fn resource<S: DeserializeOwned>(value: &Value) -> Result<(), String> {
    istio::Resource::<S>::deserialize(value).map(drop).map_err(|error| error.to_string())
}

/// The types of Kubernetes ignore unknown fields, so the check compares the document before and after a round trip.
fn kubernetes<T: DeserializeOwned + Serialize>(value: &Value) -> Result<(), String> {
    let typed = T::deserialize(value).map_err(|error| error.to_string())?;
    let back = serde_json::to_value(typed).map_err(|error| error.to_string())?;
    lost(value, &back, "").map_or(Ok(()), |place| Err(format!("there is no field {place}")))
}

/// The first field of `before` that is missing in `after`. Empty objects and lists may be missing.
fn lost(before: &Value, after: &Value, place: &str) -> Option<String> {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => before.iter().find_map(|(field, inner)| {
            let place = format!("{place}/{field}");
            match after.get(field) {
                Some(after) => lost(inner, after, &place),
                None if is_empty(inner) => None,
                None => Some(place),
            }
        }),
        (Value::Array(before), Value::Array(after)) if before.len() == after.len() => before
            .iter()
            .zip(after)
            .enumerate()
            .find_map(|(index, (before, after))| lost(before, after, &format!("{place}/{index}"))),
        _ if before == after => None,
        _ => Some(place.to_owned()),
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(serde_json::Map::is_empty) || value.as_array().is_some_and(Vec::is_empty)
}

#[test]
fn every_field_of_every_document_is_known() {
    let count: usize = manifests().iter().map(|path| documents(path).len()).sum();
    assert!(count > 60, "only {count} documents");
}

/// Fields with arbitrary keys.
const FREE: [&str; 10] = [
    "labels",
    "annotations",
    "matchLabels",
    "sourceLabels",
    "selector",
    "requests",
    "limits",
    "headers",
    "add",
    "data",
];

#[test]
fn a_misspelt_field_is_rejected_anywhere() {
    let mut misspelt = 0;
    for path in manifests() {
        for document in documents(&path) {
            let (version, kind) = (document.at("/apiVersion"), document.at("/kind"));
            let (version, kind) = (version.and_then(Value::as_str), kind.and_then(Value::as_str));
            let (version, kind) = (version.unwrap_or_default(), kind.unwrap_or_default());
            for place in fields(&document.value, "") {
                let mut value = document.value.clone();
                let (parent, field) = place.rsplit_once('/').unwrap_or_default();
                let parent =
                    value.pointer_mut(parent).and_then(Value::as_object_mut).expect("a field has a parent");
                let inner = parent.remove(field).expect("the field is there");
                // The round trip does not detect empty unknown fields.
                let inner = if is_empty(&inner) { Value::from(true) } else { inner };
                parent.insert(format!("{field}x"), inner);
                assert!(
                    strictly(version, kind, &value).is_err(),
                    "{path}: {}: {place}x is accepted",
                    document.key
                );
                misspelt += 1;
            }
        }
    }
    assert!(misspelt > 1000, "only {misspelt} fields");
}

/// JSON pointers to all fields below `value` except `apiVersion` and `kind`, which select the type.
fn fields(value: &Value, place: &str) -> Vec<String> {
    match value {
        Value::Object(map) => map
            .iter()
            .flat_map(|(field, inner)| {
                let here = format!("{place}/{field}");
                let is_free = FREE.contains(&field.as_str())
                    && inner.is_object()
                    && inner.pointer("/matchLabels").is_none();
                let below = if is_free { Vec::new() } else { fields(inner, &here) };
                below.into_iter().chain([here])
            })
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .flat_map(|(index, inner)| fields(inner, &format!("{place}/{index}")))
            .collect(),
        _ => Vec::new(),
    }
}
