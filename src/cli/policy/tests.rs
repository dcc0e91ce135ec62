//! The verbs, on the examples and on the policy of the manual.

use std::path::{Path, PathBuf};

use clap::Parser as _;
use serde_json::Value;

use crate::cli::args::{CommandLine, Verb};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::capture;

/// The policy that docs/policy.md shows.
const MANUAL: &str = include_str!("../../../docs/policy.md");

fn manual_policy() -> String {
    let block = MANUAL.split("```toml\n").nth(1).unwrap();
    block.split("```").next().unwrap().to_owned()
}

fn here(path: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path).to_str().unwrap().to_owned()
}

/// A folder with the manual's policy, changed, and its services.
fn folder(change: impl Fn(String) -> String) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("policy.toml"), change(manual_policy())).unwrap();
    for name in ["payments", "payments-staging", "ledger"] {
        let file = PathBuf::from(here("tests/cases/policy/services")).join(format!("{name}.toml"));
        std::fs::copy(file, folder.path().join(format!("{name}.toml"))).unwrap();
    }
    let path = folder.path().to_str().unwrap().to_owned();
    (folder, path)
}

/// How `breakglass policy …` ends, and what it prints on both streams.
fn policy(words: &[&str]) -> (Result<u8, Failure>, String, String) {
    let line = CommandLine::try_parse_from(["breakglass", "policy"].iter().chain(words)).unwrap();
    let Verb::Policy(args) = line.verb else { panic!("another verb") };
    let (mut out, data, talk) = capture::output(line.global.output);
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let ended = runtime.block_on(super::run(&args, &line.global, &|_| None, &mut out));
    (ended, data.text(), talk.text())
}

fn changed(old: &str, new: &str, exit: u8) -> String {
    let ((_a, old), (_b, new)) = (folder(|text| text), folder(|text| text.replace(old, new)));
    let (ended, said, _) = policy(&["diff", &old, &new]);
    assert_eq!(ended, Ok(exit), "{said}");
    said
}

#[test]
fn the_manual_s_policy_gives_the_expected_verdicts() {
    let (_folder, path) = folder(|text| text);
    let (ended, said, _) = policy(&["test", &here("tests/cases/policy/cases.toml"), "--files", &path]);
    assert_eq!(ended, Ok(0), "{said}");
    assert!(said.ends_with("cases passed\n"), "{said}");
}

#[test]
fn the_example_s_cases_pass() {
    let (ended, said, _) = policy(&["test", &here("config/policy-tests.toml")]);
    assert_eq!((ended, said.as_str()), (Ok(0), "4 cases passed\n"));
    let control = here("config/control.toml");
    let (ended, said, _) = policy(&["test", &here("config/policy-tests.toml"), "--config", &control]);
    assert_eq!(ended, Ok(0), "{said}");
}

#[test]
fn a_case_that_fails_says_what_came_out_and_what_was_wanted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("cases.toml");
    let text = std::fs::read_to_string(here("config/policy-tests.toml")).unwrap();
    let text = text
        .replace("approvals = 0, duration_s = 900", "approvals = 2, duration_s = 600")
        .replace("code = \"no_tier_fits\"", "code = \"tier_ambiguous\"")
        .replace("verdict = \"refuse\", code = \"duration_too_long\"", "verdict = \"allow\", tier = \"on-call\"");
    std::fs::write(&file, text).unwrap();
    let control = here("config/control.toml");
    let words = ["test", file.to_str().unwrap(), "--config", &control];
    let (ended, said, _) = policy(&words);
    assert_eq!(ended.unwrap_err().exit, Exit::Unverified);
    insta::assert_snapshot!("failed_cases", said);
    let (_, said, _) = policy(&[&words[..], &["--output", "json"]].concat());
    let report: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(report["failed"].as_array().unwrap().len(), 3);
    assert_eq!(report["failed"][0]["differences"][1]["want"], "600");
}

#[test]
fn cases_without_a_policy_are_refused() {
    let (ended, ..) = policy(&["test", &here("tests/cases/policy/cases.toml")]);
    assert_eq!(ended.unwrap_err().exit, Exit::Usage);
}

#[test]
fn every_mistake_is_told_by_check() {
    let (_folder, path) = folder(|text| text);
    assert_eq!(policy(&["check", &path]).0, Ok(0));
    let (_folder, path) = folder(|text| {
        text.replace("maximum_s = 600", "maximum_s = 901").replace("base = \"staging\"", "base = \"stagin\"")
    });
    let (ended, said, _) = policy(&["check", &path]);
    assert_eq!(ended.unwrap_err().exit, Exit::Unverified);
    assert!(said.contains("\"901\" is wider than \"900\" of the base \"on-call\""), "{said}");
    assert!(said.contains("no [[tier]] is named \"stagin\" (did you mean \"staging\"?)"), "{said}");
    assert_eq!(policy(&["check", "--config", &here("config/control.toml")]).0, Ok(0));
    assert_eq!(policy(&["check", &here("config/services")]).0.unwrap_err().exit, Exit::Usage, "no policy among them");
}

const ALICE: &[&str] = &["--as", "alice", "--service", "payments", "--resource", "contract/C-1", "--action"];

#[test]
fn an_explanation_names_the_tier_its_terms_and_every_obstacle() {
    let (_folder, path) = folder(|text| text);
    let on_call = ["--on-call", "payments-primary", "--group", "payments-oncall"];
    let explain = |rest: &[&str]| {
        let (ended, said, _) = policy(&[&["explain", "--files", &path], ALICE, rest, &on_call].concat());
        assert_eq!(ended, Ok(0), "{said}");
        said
    };
    insta::assert_snapshot!("granted", explain(&["payment.release", "--acr", "urn:example:mfa", "--auth-age", "2m"]));
    insta::assert_snapshot!("refused", explain(&["payment.release", "--for", "20m"]));
    insta::assert_snapshot!("approvals", explain(&["limit.set", "--reason", "customer_harm", "--uses", "4"]));
    let json: Value = serde_json::from_str(&explain(&["limit.set", "--output", "json"])).unwrap();
    assert_eq!(json["verdict"], "allow");
    assert_eq!(json["terms"]["approval_groups"], serde_json::json!(["payments-leads", "risk"]));
    let json: Value = serde_json::from_str(&explain(&["payment.steal", "--output", "json"])).unwrap();
    assert_eq!(json["refusal"]["code"], "action_not_served");
    assert_eq!(json["tiers"], serde_json::json!([]));
}

#[test]
fn what_is_left_out_is_taken_from_the_policy_and_said() {
    let (_folder, path) = folder(|text| text);
    let (_, _, talk) = policy(&[&["explain", "--files", &path], ALICE, &["payment.release"]].concat());
    assert_eq!(talk, "without --reason: explained for \"stuck_payment\"\n");
    let (ended, ..) = policy(&[&["explain"], ALICE, &["payment.release"]].concat());
    assert_eq!(ended.unwrap_err().exit, Exit::Usage);
}

#[test]
fn a_difference_says_who_gains_and_who_loses() {
    assert_eq!(changed("[[reason]]", "[[reason]]\n# only a remark", 0), "");
    let wider = changed("groups = [\"ledger-oncall\"]", "groups = [\"ledger-oncall\", \"ledger-dev\"]", 1);
    insta::assert_snapshot!("gains", wider);
    let both =
        changed("resources = [\"account/*\", \"day/current\"]", "resources = [\"account/A-1\"]\ncool_down_s = 900", 1);
    insta::assert_snapshot!("loses", both);
    let narrowed = changed(
        "[[team]]\nname = \"ledger\"",
        "[[team.tier]]\nbase = \"sre\"\ngroups = [\"sre\"]\nservices = [\"payments\"]\nmaximum_s = 120\n\n[[team]]\nname = \"ledger\"",
        1,
    );
    insta::assert_snapshot!("narrowed", narrowed);
}

#[test]
fn only_what_can_be_asked_for_counts() {
    let renamed = changed("name = \"sre\"\n", "name = \"night\"\n", 0);
    assert_eq!(renamed, "");
    let unserved = changed(
        "resources = [\"account/*\", \"day/current\"]",
        "resources = [\"account/*\", \"day/current\", \"day/next\"]",
        0,
    );
    assert_eq!(unserved, "");
}

#[test]
fn a_difference_is_one_for_programs_too() {
    let ((_a, old), (_b, new)) = (
        folder(|text| text),
        folder(|text| text.replace("step_up = { acr = [\"urn:example:mfa\"], max_age_s = 300 }", "")),
    );
    let json = |old: &str, new: &str| -> Value {
        let (ended, said, _) = policy(&["diff", old, new, "--output", "json"]);
        assert_eq!(ended, Ok(1));
        serde_json::from_str(&said).unwrap()
    };
    let (wider, narrower) = (json(&old, &new), json(&new, &old));
    assert_eq!((&wider["widens"], &narrower["widens"]), (&Value::Bool(true), &Value::Bool(false)));
    assert_eq!(wider["changes"][0]["key"], "step_up");
    assert_eq!((&wider["changes"][0]["effect"], &narrower["changes"][0]["effect"]), (&"gain".into(), &"loss".into()));
    let (ended, ..) = policy(&["diff", &old, "/nowhere"]);
    assert_eq!(ended.unwrap_err().exit, Exit::Usage);
}
