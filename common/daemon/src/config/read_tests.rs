//! What strict reading finds and says.

use super::*;
use crate::config::{Kept, Legacy};
use serde::Deserialize;

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
struct Api {
    chain: Option<String>,
    retries: u32,
    mode: Mode,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Fast,
    Careful,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
struct Root {
    api: Api,
    miners: Vec<Miner>,
    meta: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize, PartialEq)]
#[serde(rename_all = "PascalCase", default)]
struct Miner {
    actor: Option<u64>,
    factor: f64,
}

const RULES: Rules = Rules {
    fold_case: true,
    legacy: &[
        Legacy {
            path: "Api.Gateway",
            note: "was retired",
            kept: Kept::Ignored,
        },
        Legacy {
            path: "Miners.SnapUp.Enabled",
            note: "is not supported yet",
            kept: Kept::RefusedWhenOn,
        },
        Legacy {
            path: "Miners.SnapUp.Retry",
            note: "is not supported yet",
            kept: Kept::Ignored,
        },
    ],
};

fn read(text: &str) -> (Option<Root>, Report) {
    parse(Path::new("x.cfg"), text, &RULES)
}

fn faults(text: &str) -> Vec<String> {
    let (_, report) = read(text);
    report
        .faults
        .iter()
        .map(|f| format!("{}: {}: {}", f.line.unwrap_or(0), f.key, f.message))
        .collect()
}

#[test]
fn good_text_whatever_its_case() {
    let (value, report) = read(
        "[API]\nchain = \"a\"\nRETRIES = 3\nmode = \"careful\"\n[[miners]]\nActor = 1000\nFactor = 2\n[Meta]\nk = \"v\"\n",
    );
    assert!(report.faults.is_empty(), "{}", report.faults);
    let value = value.unwrap();
    assert_eq!(value.api.retries, 3);
    assert_eq!(value.api.mode, Mode::Careful);
    assert_eq!(
        value.miners[0],
        Miner {
            actor: Some(1000),
            factor: 2.0
        }
    );
    assert_eq!(value.meta["k"], "v");
    assert_eq!(report.line("Miners[0].Actor"), Some(6));
    assert_eq!(report.line("Miners[0].PoSt.Sender"), Some(5));
}

#[test]
fn every_fault_is_found_with_its_line_and_the_nearest_key() {
    let text = "\
[Api]
chian = \"a\"
Retries = \"many\"
Mode = \"carefull\"
[[Miners]]
Actor = -1
Factor = 1.5
[[Miners]]
Actor = \"t01000\"
Bogus = 1
[Mets]
";
    assert_eq!(
        faults(text),
        [
            "2: Api.chian: unknown key; did you mean \"Chain\"?",
            "3: Api.Retries: must be a whole number, 0 or more, but is the text \"many\"",
            "4: Api.Mode: \"carefull\" is not one of the choices; did you mean \"careful\"?",
            "6: Miners[0].Actor: must be a whole number, 0 or more, but is -1",
            "9: Miners[1].Actor: must be a whole number, 0 or more, but is the text \"t01000\"",
            "10: Miners[1].Bogus: unknown key; known here: Actor, Factor",
            "11: Mets: unknown key; did you mean \"Meta\"?",
        ]
    );
}

#[test]
fn syntax_faults_have_a_line() {
    let found = faults("[Api]\nchain = \nretries = 1\n");
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with("2: : not TOML: "), "{found:?}");
}

#[test]
fn keys_known_from_elsewhere_are_notices_unless_they_are_on() {
    let (value, report) = read(
        "[Api]\nGateway = [\"x\"]\n[[Miners]]\n[Miners.SnapUp]\nEnabled = false\n[Miners.SnapUp.Retry]\nPoll = 1\n",
    );
    assert!(report.faults.is_empty(), "{}", report.faults);
    assert_eq!(value.unwrap().miners.len(), 1);
    let notices: Vec<String> = report.notices.iter().map(ToString::to_string).collect();
    assert_eq!(
        notices,
        [
            "line 2: Api.Gateway was retired, ignored",
            "line 5: Miners[0].SnapUp.Enabled is not supported yet, ignored",
            "line 6: Miners[0].SnapUp.Retry is not supported yet, ignored",
        ]
    );
    assert_eq!(
        faults("[[Miners]]\n[Miners.SnapUp]\nEnabled = true\nEnabledd = 1\n"),
        [
            "3: Miners[0].SnapUp.Enabled: this is not supported yet; switch it off or remove it",
            "4: Miners[0].SnapUp.Enabledd: unknown key; did you mean \"Enabled\"?",
        ]
    );
}

#[test]
fn twice_in_different_case_is_a_fault() {
    assert_eq!(
        faults("[Api]\nchain = \"a\"\nChain = \"b\"\n"),
        ["3: Api.Chain: given twice; it stands on line 2 too"]
    );
}

#[test]
fn later_checks_add_faults_at_the_right_line() {
    let (_, mut report) = read("[Api]\nRetries = \"x\"\n[[Miners]]\n");
    report.fault("Api.Retries", "must not be 0");
    report.fault("Miners[0].Actor", "is missing");
    let text = report.finish().unwrap_err().to_string();
    assert_eq!(
        text,
        "2 faults in x.cfg\n  x.cfg:2: Api.Retries: must be a whole number, 0 or more, but is the text \"x\"\n  x.cfg:3: Miners[0].Actor: is missing"
    );
}

#[test]
fn tables_whose_names_differ_in_case_are_one() {
    let (value, report) = read("[api]\nchain = \"a\"\n[Api]\nRetries = 2\n");
    assert!(report.faults.is_empty(), "{}", report.faults);
    let api = value.unwrap().api;
    assert_eq!((api.chain.as_deref(), api.retries), (Some("a"), 2));
    assert_eq!(
        faults("[api]\nchain = \"a\"\n[Api]\nchain = \"b\"\n"),
        ["4: Api.chain: given twice"]
    );
    assert_eq!(
        faults("[api]\nchain = \"a\"\n[Api]\nChain = \"b\"\n"),
        ["4: Api.Chain: given twice; it stands on line 2 too"]
    );
}

#[test]
fn a_configuration_that_never_ends_is_not_read() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    for path in [&pipe, Path::new("/dev/zero"), dir.path()] {
        let fatal = parse_file::<toml::Table>(path, &Rules::default())
            .err()
            .unwrap();
        assert_eq!(fatal.exit, Exit::Config);
        assert!(fatal.message.contains("is not a file"), "{}", fatal.message);
    }
}

#[test]
fn a_fault_of_a_key_that_only_the_file_below_has_names_that_file() {
    let (_, own) = read("[Api]\nRetries = 1\n");
    let (_, below) = read("[[Miners]]\nActor = 1\n[Api]\nChain = \"a\"\n[Other]\n");
    let mut report = own.laid_over(below, "the profile \"p\"", str::to_owned, |_| true);
    report.fault("Api.Retries", "is wrong");
    report.fault("Api.Chain", "is wrong");
    report.fault("Miners[0].Actor", "is wrong");
    let text = report.finish().unwrap_err().to_string();
    for line in [
        "x.cfg:2: Api.Retries: is wrong",
        "x.cfg: Api.Chain: is wrong (the profile \"p\", line 4)",
        "x.cfg: Miners[0].Actor: is wrong (the profile \"p\", line 2)",
        "the profile \"p\", line 5: Other: unknown key",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
}
