//! One small graph in every form.

use super::*;
use crate::graph::{DroppedEdge, Edge, Node, Phase, Strength};
use crate::object::ObjectId;

fn node(id: &ObjectId, presence: Presence, phase: Phase, wave: u32) -> Node {
    Node {
        id: id.clone(),
        presence,
        phase,
        wave,
    }
}

fn edge(from: &ObjectId, to: &ObjectId, strength: Strength, rule: &str) -> Edge {
    Edge {
        from: from.clone(),
        to: to.clone(),
        strength,
        rule: rule.into(),
        path: "/spec/<x>".into(),
    }
}

/// A Deployment with what it needs, one of it missing, and a Service that looks back at it.
fn small() -> Graph {
    let namespace = ObjectId::cluster("", "Namespace", "shop");
    let class = ObjectId::cluster("storage.k8s.io", "StorageClass", "fast");
    let web = ObjectId::namespaced("apps", "Deployment", "shop", "web");
    let claim = ObjectId::namespaced("", "PersistentVolumeClaim", "shop", "files");
    let secret = ObjectId::namespaced("", "Secret", "shop", "it's \"quoted\" & <odd>");
    let service = ObjectId::namespaced("", "Service", "shop", "web");
    let account = ObjectId::namespaced("", "ServiceAccount", "shop", "default");
    let back = edge(&service, &web, Strength::S, "E-12");
    let mut graph = Graph {
        nodes: vec![
            node(&namespace, Presence::Captured, Phase::Skeleton, 0),
            node(&class, Presence::OnB, Phase::Cluster, 0),
            node(&web, Presence::Captured, Phase::Workload, 3),
            node(&claim, Presence::Captured, Phase::Storage, 2),
            node(&secret, Presence::Missing, Phase::Skeleton, 0),
            node(&service, Presence::Captured, Phase::Skeleton, 1),
            node(&account, Presence::Produced, Phase::Skeleton, 0),
        ],
        edges: vec![
            edge(&web, &namespace, Strength::H, "E-1"),
            edge(&web, &claim, Strength::H, "E-PT6"),
            edge(&web, &secret, Strength::N, "E-PT5"),
            edge(&web, &secret, Strength::R, "E-PT4"),
            edge(&web, &service, Strength::S, "E-PT12"),
            edge(&web, &account, Strength::H, "E-PT1"),
            edge(&claim, &class, Strength::H, "E-7"),
            back.clone(),
        ],
        dropped: vec![DroppedEdge {
            because: vec![web, service],
            edge: back,
        }],
    };
    graph.nodes.sort_by(|a, b| a.id.cmp(&b.id));
    graph.edges.sort();
    graph
}

#[test]
fn the_tree_shows_what_each_object_needs() {
    insta::assert_snapshot!(text(&small()));
}

#[test]
fn graphviz_and_mermaid_get_the_same_graph() {
    insta::assert_snapshot!(format!("{}\n{}", dot(&small()), mermaid(&small())));
}

#[test]
fn json_comes_back_as_the_graph() {
    let back: Graph = serde_json::from_str(&json(&small())).unwrap();
    assert_eq!(back, small());
}

#[test]
fn the_picture_needs_nothing_else_and_names_everything() {
    let svg = svg(&small());
    assert!(!svg.contains("<script") && !svg.contains("href") && !svg.contains("url("));
    assert!(svg.contains("it's &quot;quoted&quot; &amp; &lt;odd&gt;"));
    assert!(svg.contains("Secret · missing") && svg.contains("StorageClass · on target"));
    assert!(svg.contains("needs Service shop/web\nS E-PT12 /spec/&lt;x&gt;"));
    assert!(svg.contains("left out of the order"));
    assert_eq!(svg.matches("class=\"name\"").count(), 7);
    assert_eq!(
        svg.matches("class=\"e r\"").count(),
        2,
        "one line and the legend"
    );
}

#[test]
fn a_picture_of_nothing_is_a_picture() {
    assert!(svg(&Graph::default()).ends_with("</svg>\n"));
    assert!(text(&Graph::default()).contains("no order"));
}
