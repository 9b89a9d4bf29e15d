//! Stage 4: will cluster B take these objects, and will they work there?
//!
//! Everything the rule book's §4 can tell before the first write, one family of rules per file. All
//! findings are reported, each with its rule id, the object, what was seen and what to do. Checks are
//! pure: they look at the surface of B and at what `cluster::probe` learned, and never ask a server.
//! What depends on the user's judgement is a warning; what B would refuse, or what would run into the
//! wrong data, blocks.

mod caps;
mod classes;
mod dry_run;
mod instances;
mod keys;
mod members;
mod missing;
mod namespaces;
mod nodes;
mod ownership;
mod ranges;
mod rights;
pub mod schema;
mod served;
mod storage;
mod volumes;

use crate::capture::{Capture, Captured};
use crate::cluster::rights::Lacking;
use crate::finding::{Finding, Verdict};
use crate::graph::Graph;
use crate::knowledge::Knowledge;
use crate::object::{Object, ObjectId};
use crate::surface::Surface;
use crate::target::TargetState;
use crate::transform::Transformed;

/// What the checks look at.
#[derive(Clone, Copy, Debug)]
pub struct CheckInput<'a> {
    /// What was captured on A; with A's surface.
    pub capture: &'a Capture,
    /// What the recipes made of it: the objects as B shall see them.
    pub transformed: &'a Transformed,
    /// The graph of those objects, with B's names.
    pub graph: &'a Graph,
    /// What B can accept.
    pub surface: &'a Surface,
    /// What B holds and says.
    pub target: &'a TargetState,
    /// The rules as data.
    pub knowledge: &'a Knowledge,
    /// What the user lacks of the rights a run needs on A and B (`cluster::rights::lacking`).
    pub lacking: &'a [Lacking],
}

impl<'a> CheckInput<'a> {
    /// The objects as B shall see them.
    fn objects(&self) -> &'a [Object] {
        &self.transformed.objects
    }

    /// The objects that travel, each after the captured one it came from.
    fn pairs(&self) -> impl Iterator<Item = (&'a Captured, &'a Object)> {
        self.transformed.from(&self.capture.objects)
    }
}

/// Runs every check. Findings come worst first, then by rule and object.
pub fn run(input: &CheckInput<'_>) -> Vec<Finding> {
    let mut findings = input.transformed.findings.clone();
    rights::check(input, &mut findings);
    namespaces::check(input, &mut findings);
    ranges::check(input, &mut findings);
    served::check(input, &mut findings);
    instances::check(input, &mut findings);
    storage::check(input, &mut findings);
    volumes::check(input, &mut findings);
    classes::check(input, &mut findings);
    nodes::check(input, &mut findings);
    members::check(input, &mut findings);
    missing::check(input, &mut findings);
    contents(input, &mut findings);
    dry_run::check(input, &mut findings);
    // Those about one object are of what A needs; what B lacks of that, `missing` knows.
    let whole = input
        .capture
        .findings
        .iter()
        .filter(|finding| finding.object.is_none());
    findings.extend(whole.cloned());
    findings.sort_by(|left, right| {
        let key = |finding: &Finding| {
            (
                std::cmp::Reverse(finding.verdict),
                rule_order(&finding.rule),
                finding.object.clone(),
                finding.path.clone(),
            )
        };
        key(left)
            .cmp(&key(right))
            .then_with(|| left.message.cmp(&right.message))
    });
    findings.dedup();
    findings
}

/// What needs a look at all of each object: at one after the other, for that is slow with many.
fn contents(input: &CheckInput<'_>, findings: &mut Vec<Finding>) {
    let keys = keys::Keys::new(input);
    let mut ownership = ownership::Ownership::default();
    for (origin, object) in input.transformed.origins.iter().zip(input.objects()) {
        if let Some(captured) = origin.and_then(|origin| input.capture.objects.get(origin)) {
            ownership.note(&captured.raw);
        }
        caps::check(object, findings);
        keys.check(object, findings);
    }
    ownership.tell(findings);
}

/// `C-5` before `C-40`.
fn rule_order(rule: &str) -> (String, u32) {
    let (family, number) = rule.rsplit_once('-').unwrap_or((rule, ""));
    (family.to_owned(), number.parse().unwrap_or(0))
}

/// Whether a finding about the object already says that it cannot be applied.
fn is_blocked(findings: &[Finding], object: &ObjectId) -> bool {
    findings
        .iter()
        .any(|finding| finding.verdict >= Verdict::Block && finding.object.as_ref() == Some(object))
}

/// At most this many names in one sentence.
const NAMES: usize = 10;

/// `a, b and 3 more`; `none` when there are none.
fn list<T: std::fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| name.to_string()).collect();
    match names.len() {
        0 => "none".into(),
        count if count > NAMES => {
            format!("{} and {} more", names[..NAMES].join(", "), count - NAMES)
        }
        _ => names.join(", "),
    }
}

#[cfg(test)]
mod testing;
