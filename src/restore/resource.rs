//! Which API resource an object is written to, also when the run itself brings the kind.

use std::collections::BTreeSet;

use serde_json::Value;

use super::StepError;
use crate::object::Object;
use crate::plan::{Action, Plan};
use crate::surface::ApiResource;

pub(super) struct Resources {
    served: Vec<ApiResource>,
    /// Kinds whose CustomResourceDefinition is in the plan.
    coming: Vec<ApiResource>,
}

impl Resources {
    pub(super) fn new(served: Vec<ApiResource>, plan: &Plan) -> Self {
        let coming = plan
            .steps
            .iter()
            .filter(|step| {
                let (group, kind) = ("apiextensions.k8s.io", "CustomResourceDefinition");
                step.object.is(group, kind)
            })
            .filter_map(|step| match &step.action {
                Action::Apply { body, .. } => Some(body),
                _ => None,
            })
            .flat_map(|body| of_definition(body))
            .collect();
        Self { served, coming }
    }

    /// The resource at exactly the object's version, and whether it was served from the start.
    pub(super) fn of(&self, object: &Object) -> Result<(&ApiResource, bool), StepError> {
        let find = |resources: &'_ [ApiResource]| {
            resources.iter().position(|resource| {
                resource.group == object.group()
                    && resource.version == object.version()
                    && resource.kind == object.kind()
            })
        };
        if let Some(index) = find(&self.served) {
            return Ok((&self.served[index], true));
        }
        match find(&self.coming) {
            Some(index) => Ok((&self.coming[index], false)),
            None => Err(StepError::NotServed {
                kind: format!("{} in version {}", object.group_kind(), object.version()),
            }),
        }
    }

    /// What B served when the run began.
    pub(super) fn served(&self) -> &[ApiResource] {
        &self.served
    }

    /// A core resource by its kind.
    pub(super) fn core(&self, kind: &str) -> Option<&ApiResource> {
        self.served
            .iter()
            .find(|resource| resource.group.is_empty() && resource.kind == kind)
    }
}

fn of_definition(definition: &Object) -> Vec<ApiResource> {
    let text = |pointer| definition.text(pointer).unwrap_or_default().to_owned();
    let versions = definition
        .pointer("/spec/versions")
        .and_then(Value::as_array);
    versions
        .into_iter()
        .flatten()
        .filter_map(|version| version.get("name")?.as_str())
        .map(|version| ApiResource {
            group: text("/spec/group"),
            version: version.into(),
            kind: text("/spec/names/kind"),
            plural: text("/spec/names/plural"),
            namespaced: definition.text("/spec/scope") == Some("Namespaced"),
            verbs: BTreeSet::new(),
            preferred: false,
            subresources: BTreeSet::new(),
        })
        .collect()
}
