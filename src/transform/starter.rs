//! `ferry recipe new`: a recipe to begin with, from what a capture has and what B offers.
//!
//! Every name that a recipe may have to change is in it. Where B answers the question (the same
//! provisioner, one default class) the line is active; where only the user knows (registries, hosts,
//! namespaces) it waits behind a `#`. Each says why. The result is sound and fits the capture.

mod choose;
mod text;

use self::choose::{classes, hosts, namespaces, registries};
use super::found::found;
use crate::capture::Capture;
use crate::knowledge::Knowledge;
use crate::object::Object;
use crate::surface::Surface;

/// One transform of the recipe: what is to be said of it and the lines of its map.
struct Section {
    key: &'static str,
    /// Sentences over it.
    about: Vec<String>,
    lines: Vec<Line>,
}

/// One line of a map.
struct Line {
    from: String,
    to: String,
    /// What speaks for it, or what to decide.
    why: String,
    /// Whether it is part of the recipe, or waits for the user.
    active: bool,
}

/// Writes the recipe. `target` is B, when it is known already.
pub fn starter(
    name: &str,
    capture: &Capture,
    target: Option<&Surface>,
    knowledge: &Knowledge,
) -> String {
    let captured = capture.objects.iter();
    let objects: Vec<Object> = captured.map(|one| one.object.clone()).collect();
    let definitions: Vec<&Object> = capture
        .surface
        .of_kind("apiextensions.k8s.io", "CustomResourceDefinition")
        .collect();
    let found = found(&objects, &definitions, knowledge);
    let source = &capture.surface;
    let mut sections = classes(&found.classes, source, target);
    sections.push(registries(&found.registries));
    sections.push(hosts(&found.hosts, source, target));
    sections.push(namespaces(&found.namespaces, target));
    sections.retain(|section| !section.lines.is_empty() || !section.about.is_empty());
    let openshift = objects.iter().any(|object| {
        ["route.openshift.io", "apps.openshift.io"].contains(&object.group())
            && target
                .is_some_and(|target| target.resource(&object.id().group_kind(), None).is_none())
    });
    text::recipe(
        &text::Head {
            name,
            capture,
            target,
            openshift,
        },
        &sections,
    )
}

#[cfg(test)]
mod tests;
