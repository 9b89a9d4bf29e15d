//! The part of a plan that a sync executes: the data, and beneath it the namespaces and claims it needs.
//!
//! Nothing that runs is made, so a sync can be repeated while A works on: what comes of it is a claim on
//! B that holds what A held a while ago.

use std::collections::{BTreeMap, BTreeSet};

use super::{Action, Gate, Need, Plan, Step};

/// Leaves of a plan the loads and what they cannot do without.
pub(super) fn data_alone(mut plan: Plan) -> Plan {
    let kept = beneath_loads(&plan.steps);
    let numbers: BTreeMap<u32, u32> = kept.iter().copied().zip(0..).collect();
    let steps = plan.steps.into_iter().filter_map(|step| {
        let number = *numbers.get(&step.number)?;
        let needs = step.needs.iter().filter_map(|need| {
            let step = *numbers.get(&need.step)?;
            Some(Need { step, ..*need })
        });
        Some(Step {
            number,
            needs: needs.collect(),
            ..step
        })
    });
    plan.steps = steps.collect();
    let objects: BTreeSet<_> = plan.steps.iter().map(|step| &step.object).collect();
    plan.drift
        .retain(|drift| objects.contains(&drift.live.id()));
    plan
}

/// Numbers of the loads and of whatever they need done, in order.
fn beneath_loads(steps: &[Step]) -> BTreeSet<u32> {
    let loads = steps
        .iter()
        .filter(|step| matches!(step.action, Action::Load(_)));
    let mut work: Vec<u32> = loads.map(|step| step.number).collect();
    let mut kept: BTreeSet<u32> = work.iter().copied().collect();
    while let Some(number) = work.pop() {
        let needs = &steps[number as usize].needs;
        for need in needs.iter().filter(|need| need.gate > Gate::Settled) {
            if kept.insert(need.step) {
                work.push(need.step);
            }
        }
    }
    kept
}
