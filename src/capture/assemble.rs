//! From objects that were read to a capture's parts; the same for a cluster, a folder and an archive.

use std::collections::BTreeSet;

use super::classify::{Sorted, classify};
use super::closure;
use super::selection::{Chooser, Selection};
use super::{Captured, Dropped};
use crate::finding::Finding;
use crate::knowledge::Knowledge;
use crate::object::{GroupKind, Object};
use crate::surface::Surface;

/// What travels, what stays, and what there is to say about that. Sorted by id.
pub(super) struct Assembled {
    pub(super) captured: Vec<Captured>,
    pub(super) dropped: Vec<Dropped>,
    pub(super) findings: Vec<Finding>,
}

/// Sorts, sanitises and chooses, and names what is mapped to B's own. Of the kinds that were not read there may be
/// objects that nobody listed.
pub(super) fn assemble(
    listed: Vec<Object>,
    unread: &BTreeSet<GroupKind>,
    surface: &Surface,
    selection: &Selection,
    knowledge: &Knowledge,
) -> Assembled {
    let chooser = Chooser::new(selection, surface);
    let sorted = classify(listed, unread, &knowledge.sanitize, surface);
    let mut findings = chooser.idle(&sorted);
    let sorted = chooser.choose(sorted);
    findings.extend(chooser.needs(&sorted, surface, knowledge));
    let Sorted {
        captured,
        mut dropped,
    } = sorted;
    dropped.extend(closure::classes(&captured, surface, knowledge));
    let travel = captured.iter().map(|one| &one.object);
    dropped.extend(closure::definitions(travel, surface));
    dropped.sort_by(|a, b| a.id.cmp(&b.id));
    Assembled {
        captured,
        dropped,
        findings,
    }
}
