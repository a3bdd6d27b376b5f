//! Which chain must hold the accept rules.

use super::*;

fn chain(name: &str, policy: Option<&str>) -> Chain {
    Chain {
        family: "ip".to_owned(),
        table: "filter".to_owned(),
        name: name.to_owned(),
        hook: policy.map(|_| "forward".to_owned()),
        policy: policy.map(str::to_owned),
    }
}

fn rule(json: &str) -> Rule {
    serde_json::from_str(json).unwrap()
}

fn target(chains: &[Chain], rules: &[Rule]) -> Option<&'static str> {
    let modern = Modern {
        chains: chains.to_vec(),
        rules: rules.to_vec(),
    };
    modern.target()
}

#[test]
fn an_open_host_needs_no_rule() {
    assert_eq!(target(&[], &[]), None);
    assert_eq!(target(&[chain("FORWARD", Some("accept"))], &[]), None);
}

#[test]
fn rules_of_installations_do_not_close_a_host() {
    let own =
        r#"{"chain":"FORWARD","handle":4,"comment":"allod:01234567","expr":[{"accept":null}]}"#;
    let forward = chain("FORWARD", Some("accept"));
    assert_eq!(target(&[forward], &[rule(own)]), None);
}

#[test]
fn a_closed_host_needs_rules_in_its_own_chain_or_dockers() {
    let forward = chain("FORWARD", Some("drop"));
    let docker = chain("DOCKER-USER", None);
    assert_eq!(target(std::slice::from_ref(&forward), &[]), Some("FORWARD"));
    let unused = [forward, docker];
    assert_eq!(
        target(&unused, &[]),
        Some("FORWARD"),
        "nothing leads to Docker's chain"
    );
    let jump = r#"{"chain":"FORWARD","handle":7,
                   "expr":[{"counter":{}},{"jump":{"target":"DOCKER-USER"}}]}"#;
    assert_eq!(target(&unused, &[rule(jump)]), Some("DOCKER-USER"));
}

#[test]
fn an_open_policy_with_foreign_rules_may_still_drop() {
    let reject = r#"{"chain":"FORWARD","handle":7,"expr":[{"reject":null}]}"#;
    let forward = chain("FORWARD", Some("accept"));
    assert_eq!(target(&[forward], &[rule(reject)]), Some("FORWARD"));
}

#[test]
fn chains_that_drop_elsewhere_are_named() {
    let mut mine = chain("forward", Some("drop"));
    "inet".clone_into(&mut mine.family);
    "mine".clone_into(&mut mine.table);
    let modern = Modern {
        chains: vec![chain("FORWARD", Some("drop")), mine],
        rules: Vec::new(),
    };
    let obstacles = modern.obstacles("allod-01234567");
    assert_eq!(obstacles.len(), 1);
    let text = obstacles[0].to_string();
    assert!(
        text.contains("inet mine forward") && text.contains("allod-01234567"),
        "{text}"
    );
}
