//! Claims that one pod mounts.

use super::*;

/// The shop, whose database mounts six claims, and one that nothing mounts.
fn wide() -> Fixture {
    let mut fixture = shop();
    let database = id("Pod", "db-0");
    fixture.capture.volumes[0].pods = vec![database.name.to_string()];
    for name in ["e1", "e2", "e3", "e4", "e5", "free"] {
        let claim = object("PersistentVolumeClaim", name, json!({}));
        let mut volume = fixture.capture.volumes[0].clone();
        volume.claim = claim.id();
        if name == "free" {
            volume.pods.clear();
        }
        fixture.capture.volumes.push(volume);
        fixture.capture.objects.push(Captured {
            object: claim.clone(),
            raw: claim.clone(),
            owners: Vec::new(),
        });
        fixture.graph.nodes.push(Node {
            id: claim.id(),
            presence: Presence::Captured,
            phase: Phase::Storage,
            wave: 0,
        });
        let origin = fixture.transformed.objects.len();
        fixture.transformed.origins.push(Some(origin));
        fixture.transformed.objects.push(claim);
    }
    fixture
}

fn load<'a>(plan: &'a Plan, name: &str) -> (&'a Step, &'a VolumeMove) {
    let step = find(plan, "PersistentVolumeClaim", name, "load");
    let Action::Load(volume) = &step.action else {
        panic!("{step:?}");
    };
    (step, volume)
}

#[test]
fn what_a_pod_mounts_together_is_loaded_together_when_all_of_it_is_saved_by_fours() {
    let plan = wide().plan();
    let names = |volume: &VolumeMove| -> Vec<String> {
        volume
            .with
            .iter()
            .map(|claim| claim.name.to_string())
            .collect()
    };
    let (first, data) = load(&plan, "data");
    assert_eq!(names(data), ["e1", "e2", "e3", "e4", "e5"]);
    assert_eq!(names(load(&plan, "free").1), Vec::<String>::new());
    for name in ["e1", "e2", "e3"] {
        let (step, volume) = load(&plan, name);
        assert_eq!(volume.party(), &data.target, "{name}");
        let gate = |of: &Step, other: &str, word: &str| {
            needs(of, find(&plan, "PersistentVolumeClaim", other, word))
        };
        assert_eq!(gate(first, name, "save"), Some(Gate::Settled));
        assert_eq!(gate(step, "data", "save"), Some(Gate::Settled));
        assert_eq!(gate(step, name, "save"), Some(Gate::Done));
        assert_eq!(gate(step, "data", "create"), Some(Gate::Settled));
        assert_eq!(gate(step, "free", "save"), None);
    }
    let (late, last) = load(&plan, "e5");
    assert_eq!(last.party().name, "e4");
    assert_eq!(
        needs(late, first),
        Some(Gate::Settled),
        "it goes to where the first are"
    );
    assert_eq!(needs(first, late), None);
    assert_eq!(load(&plan, "free").1.party().name, "free");
}

#[test]
fn a_capture_alone_knows_them_too() {
    let saving = VolumeMove::saving(
        &wide().capture,
        Unprivileged::default(),
        Grouping::Off,
        Knowledge::builtin(),
    );
    let together = saving
        .iter()
        .filter(|volume| volume.travels_with(&saving[0]));
    assert_eq!(together.count(), 4);
}
