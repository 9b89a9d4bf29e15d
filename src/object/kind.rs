//! Kinds, each once: what 100,000 objects are is asked again and again, and they are of few kinds.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::{PoisonError, RwLock};

use super::GroupKind;

/// Every kind met so far. They stay for the life of the process.
static KINDS: RwLock<BTreeSet<&'static GroupKind>> = RwLock::new(BTreeSet::new());

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind(&'static GroupKind);

impl Kind {
    pub(super) fn of(group: &str, kind: &str) -> Self {
        let wanted = GroupKind::new(group, kind);
        let known = KINDS.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = known.get(&wanted) {
            return Self(known);
        }
        drop(known);
        let mut kinds = KINDS.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = kinds.get(&wanted) {
            return Self(known);
        }
        let wanted: &'static GroupKind = Box::leak(Box::new(wanted));
        kinds.insert(wanted);
        Self(wanted)
    }
}

impl Deref for Kind {
    type Target = GroupKind;

    fn deref(&self) -> &GroupKind {
        self.0
    }
}
