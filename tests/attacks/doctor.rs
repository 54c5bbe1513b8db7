//! `storkit doctor --attack`: every attack of its table is real, the walls stop it, and what gets through is reported.

use std::collections::{BTreeMap, BTreeSet};

use agents::attacks::ATTACKS;
use e2e::Program;
use needs::{needs, walls};
use serde_json::Value;

/// What Landlock does not stop; `docs/security.md` says so.
const BEYOND_LANDLOCK: [&str; 3] = ["file-modes", "file-names", "other-processes"];

/// Stopped by storkit itself, before any wall: it knows its own processes, chooses variables, and closes its files.
const STOPPED_WITHOUT_WALL: [&str; 4] = ["console", "environment", "inherited-files", "operators-token"];

/// What only root can do, such as this machine's tests and no container as `compose.yml` runs it.
const NEEDS_ROOT: [&str; 3] = ["privileges", "storkit-memory", "system-files"];

/// The attacks that got through behind this wall, by kind of process; and the whole report.
fn attack(program: &Program, wall: &str) -> (BTreeMap<String, BTreeSet<String>>, Value) {
    program.write_config(&format!("[relay]\nworkspace = \"auto\"\n[wall]\nconfine = \"{wall}\""));
    let output = program.run(&["doctor", "--attack", "--json"], "");
    let said = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let mut through = BTreeMap::new();
    for process in report["processes"]
        .as_array()
        .expect("a list")
        .iter()
        .filter(|process| process["not_started"].is_null())
    {
        let findings = process["findings"].as_array().expect("a list");
        assert_eq!(findings.len(), ATTACKS.len(), "{process}");
        assert!(findings.iter().all(|finding| finding["not_tried"].is_null()), "{process}");
        let reached = findings
            .iter()
            .filter(|finding| finding["got_through"].as_array().is_some_and(|all| !all.is_empty()));
        let names: BTreeSet<String> =
            reached.map(|finding| finding["name"].as_str().expect("text").to_owned()).collect();
        through.insert(process["kind"].as_str().expect("text").to_owned(), names);
    }
    let held = through.values().all(BTreeSet::is_empty);
    assert_eq!(output.status.code(), Some(i32::from(!held)), "{through:?}");
    assert_eq!(report["all_held"], held);
    (through, report)
}

fn names(list: &[&str]) -> BTreeSet<String> {
    list.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn an_attack_of_the_doctor_gets_through_a_wall() {
    needs!(Wall);
    let mut program = Program::with_key();
    let folder = program.file("../tmp");
    std::fs::create_dir(&folder).expect("a folder");
    program.set_env("TMPDIR", folder.to_str().expect("text"));
    for wall in walls() {
        let (beyond, others) = match wall {
            "landlock" => (&BEYOND_LANDLOCK[..], &[][..]),
            _ => (
                &[][..],
                &["room-in-checkout", "tried-for-story", "tried-in-checkout", "tried-in-worktree"][..],
            ),
        };
        let (through, _) = attack(&program, wall);
        let kinds =
            [&["component", "gate", "mergemaster", "room-in-worktree", "story-agent"], others].concat();
        assert_eq!(through.keys().cloned().collect::<BTreeSet<_>>(), names(&kinds), "{wall}");
        for (kind, reached) in &through {
            assert_eq!(*reached, names(beyond), "{wall}: {kind}");
        }
    }
    // Each of them is real: it gets through where there is no wall.
    let (through, report) = attack(&program, "none");
    let all: BTreeSet<String> = through.values().flatten().cloned().collect();
    let stopped: BTreeSet<String> =
        ATTACKS.iter().map(|attack| attack.name.to_owned()).filter(|name| !all.contains(name)).collect();
    assert!(stopped.is_superset(&names(&STOPPED_WITHOUT_WALL)), "{stopped:?}");
    let powers = if rustix::process::getuid().is_root() { &[][..] } else { &NEEDS_ROOT };
    let expected = names(&[&STOPPED_WITHOUT_WALL, powers].concat());
    // A container in which bubblewrap does not work stops more.
    assert!(!walls().contains(&"bwrap") || stopped.is_subset(&expected), "{stopped:?}");
    let real = |attack: &&Value| attack["gets_through_without_wall"] == true;
    assert!(report["attacks"].as_array().expect("a list").iter().filter(real).count() > 25, "{report}");
    let left = std::fs::read_dir(program.file("../tmp")).expect("a folder").count();
    assert_eq!(left, 0, "the folders of the attacks are removed");
}

#[test]
fn without_any_wall_nothing_is_started_and_the_doctor_says_so() {
    let mut program = Program::with_key();
    // The kernel may have Landlock, so bubblewrap alone is asked for where there is none.
    program.set_env("PATH", "/nonexistent");
    program.write_config("[wall]\nconfine = \"bwrap\"");
    let output = program.run(&["doctor", "--attack"], "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("nothing was attacked, because nothing is started here")
            && said.contains("bubblewrap is not installed"),
        "{said}"
    );
}
