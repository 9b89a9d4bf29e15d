//! T-13: an Alertmanager's configuration that tells nobody.
//!
//! Receivers keep their names, so that every route still leads somewhere, and lose what reaches people.
//! Addresses and passwords in `global`, which only receivers use, go with them.

use serde_json::{Map, Value, json};

use crate::yaml;

/// The settings in `global` that are about alerts and not about receivers.
const KEPT: [&str; 1] = ["resolve_timeout"];

/// The configuration without anybody to tell; `None` when the text is none.
pub(super) fn muted(text: &str) -> Option<String> {
    let mut config = yaml::parse(text).ok()?;
    let map = config.as_object_mut()?;
    map.get("route")?.as_object()?;
    let receivers = map.get_mut("receivers")?.as_array_mut()?;
    for receiver in receivers {
        *receiver = json!({"name": receiver.get("name")?});
    }
    if let Some(global) = map.get_mut("global").and_then(Value::as_object_mut) {
        global.retain(|key, _| KEPT.contains(&key.as_str()));
    }
    if map
        .get("global")
        .and_then(Value::as_object)
        .is_some_and(Map::is_empty)
    {
        map.remove("global");
    }
    yaml::emit(&config).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONFIG: &str = "global: {slack_api_url: https://hooks.slack.com/x, resolve_timeout: 5m}
route: {receiver: team, routes: [{receiver: pager, matchers: ['severity=\"critical\"']}]}
receivers:
- name: team
  slack_configs: [{channel: '#shop'}]
- name: pager
  pagerduty_configs: [{service_key: k}]
inhibit_rules: [{equal: [namespace]}]
";

    #[test]
    fn t_13_receivers_keep_their_names_and_reach_nobody() {
        let text = muted(CONFIG).unwrap();
        assert_eq!(
            yaml::parse(&text).unwrap(),
            json!({
                "global": {"resolve_timeout": "5m"},
                "route": {"receiver": "team", "routes": [{"receiver": "pager", "matchers": ["severity=\"critical\""]}]},
                "receivers": [{"name": "team"}, {"name": "pager"}],
                "inhibit_rules": [{"equal": ["namespace"]}],
            })
        );
        assert_eq!(muted(&text).unwrap(), text);
    }

    #[test]
    fn t_13_another_text_is_no_configuration() {
        for text in ["", "a: [", "route: {}", "route: {}\nreceivers: [1]\n"] {
            assert_eq!(muted(text), None, "{text}");
        }
    }
}
