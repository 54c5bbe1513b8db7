//! The report of `storkit doctor --attack`.

use std::fmt::Write as _;

use adapters::markdown::{code_span, inert};
use agents::{
    attacks::{ATTACKS, Attack, AttackFinding},
    confine::{Confinement, NoLayers},
    trial::TrialFailure,
};

use serde::{Deserialize, Serialize};

use super::{
    text::{count, sentence},
    visible::visible_line,
};

/// So many of the things that an attack reached are shown.
const SHOWN: usize = 4;

/// Why findings are missing.
pub const NO_FINDINGS: &str = "the attacker was started and left no findings";
pub const TOOK_TOO_LONG: &str = "The attacks took too long.";

/// Why commands are not tried here.
pub fn no_trials(why: NoLayers) -> &'static str {
    match why {
        NoLayers::NoWall => "There is no wall.",
        NoLayers::OtherWall => "The wall on this machine cannot layer files.",
    }
}

/// Why a trial has no findings.
pub fn trial_failed(failure: &TrialFailure) -> String {
    match failure {
        TrialFailure::Stopped => TOOK_TOO_LONG.to_owned(),
        TrialFailure::NotStarted(why) => sentence(why),
    }
}

/// Attacks that Landlock does not stop, with the reason; `docs/security.md` lists them.
const BEYOND_LANDLOCK: [&str; 3] = ["file-names", "file-modes", "other-processes"];
const OF_THE_NETWORK: [&str; 2] = ["private-network", "way-out"];

/// A kind of process with a wall of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WalledKind {
    RoomInWorktree,
    RoomInCheckout,
    TriedInWorktree,
    TriedInCheckout,
    StoryAgent,
    TriedForStory,
    Gate,
    Component,
    Mergemaster,
}

/// The findings from inside one of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AttackedProcess {
    pub kind: WalledKind,
    /// What its wall is called.
    pub wall: String,
    pub findings: Vec<AttackFinding>,
    /// Why such a process is not started here, as a sentence.
    pub not_started: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AttackReport {
    pub processes: Vec<AttackedProcess>,
    /// The same without a wall: it shows which attacks are real on this machine.
    pub without_wall: Vec<AttackFinding>,
}

impl AttackReport {
    /// Whether every attack was tried from at least one process, and every one was stopped.
    pub fn all_held(&self) -> bool {
        let mut findings = self.processes.iter().flat_map(|process| &process.findings).peekable();
        findings.peek().is_some()
            && findings.all(|finding| finding.got_through.is_empty() && finding.not_tried.is_none())
    }

    /// The kinds of process that an attack got through from, with the targets that it reached.
    pub fn got_through<'a>(&'a self, attack: &'a str) -> impl Iterator<Item = (WalledKind, &'a [String])> {
        let finding = move |process: &'a AttackedProcess| {
            let found = process.findings.iter().find(|finding| finding.name == attack)?;
            (!found.got_through.is_empty()).then_some((process.kind, found.got_through.as_slice()))
        };
        self.processes.iter().filter_map(finding)
    }

    /// Whether an attack gets through where there is no wall.
    pub fn is_real(&self, attack: &str) -> bool {
        self.without_wall.iter().any(|finding| finding.name == attack && !finding.got_through.is_empty())
    }
}

/// Without a wall nothing is started, so that there is nothing to attack.
pub fn nothing_starts(why: &str) -> String {
    sentence(&format!("nothing was attacked, because nothing is started here. {}", why.trim_end_matches('.')))
}

pub fn not_tried(why: &str) -> String {
    sentence(&format!("the attacks could not be tried: {}", why.trim_end_matches('.')))
}

/// Every attack with what came of it, and what to do.
pub fn report(report: &AttackReport, wall: &Confinement) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}\n", attackers(report));
    for process in &report.processes {
        if let Some(why) = &process.not_started {
            let _ = writeln!(text, "- ℹ️ {}", not_started(process.kind, why));
        }
    }
    for attack in &ATTACKS {
        let _ = writeln!(text, "- {}", line(report, attack));
    }
    let held = ATTACKS.iter().filter(|attack| report.got_through(attack.name).next().is_none()).count();
    let _ = write!(
        text,
        "\n{} of {} are stopped. {}",
        held,
        count(ATTACKS.len(), "attack", "attacks"),
        advice(report, wall)
    );
    text
}

fn attackers(report: &AttackReport) -> String {
    let started = report.processes.iter().filter(|process| process.not_started.is_none());
    let named: Vec<String> =
        started.map(|process| format!("{} ({})", kind_name(process.kind), inert(&process.wall))).collect();
    format!(
        "An attacker was started in the place of each of these: {}. It found canaries only, no secrets of yours.",
        named.join(", ")
    )
}

fn not_started(kind: WalledKind, why: &str) -> String {
    sentence(&format!(
        "Not attacked, because it is not started here: {}. {}",
        kind_name(kind),
        inert(why.trim_end_matches('.'))
    ))
}

fn line(report: &AttackReport, attack: &Attack) -> String {
    // Kinds that reached the same share an entry.
    let mut through: Vec<(Vec<&str>, String)> = Vec::new();
    for (kind, reached) in report.got_through(attack.name) {
        let reached = listed(reached);
        match through.iter_mut().find(|(_, other)| *other == reached) {
            Some((kinds, _)) => kinds.push(kind_name(kind)),
            None => through.push((vec![kind_name(kind)], reached)),
        }
    }
    if !through.is_empty() {
        let through: Vec<String> =
            through.iter().map(|(kinds, reached)| format!("{reached} ({})", kinds.join(", "))).collect();
        return format!("❌ Got through: it {}: {}.", attack.goal, through.join("; "));
    }
    if let Some(process) = report.processes.iter().find(|process| was_not_tried(process, attack)) {
        return format!("❌ Not tried from {}: it {}.", kind_name(process.kind), attack.goal);
    }
    match report.is_real(attack.name) {
        true => format!("✅ Stopped: it {}.", attack.goal),
        // Not the wall's merit: the rights of the user, or storkit's own rules.
        false => format!("✅ Stopped, without the wall too: it {}.", attack.goal),
    }
}

fn was_not_tried(process: &AttackedProcess, attack: &Attack) -> bool {
    process.findings.iter().any(|finding| finding.name == attack.name && finding.not_tried.is_some())
}

fn listed(reached: &[String]) -> String {
    let mut shown: Vec<String> =
        reached.iter().take(SHOWN).map(|item| code_span(&visible_line(item, 90))).collect();
    if reached.len() > SHOWN {
        shown.push(format!("{} more", reached.len() - SHOWN));
    }
    shown.join(", ")
}

fn kind_name(kind: WalledKind) -> &'static str {
    match kind {
        WalledKind::RoomInWorktree => "room agents in worktrees",
        WalledKind::RoomInCheckout => "room agents in the main checkout",
        WalledKind::TriedInWorktree => "commands tried for rooms in worktrees",
        WalledKind::TriedInCheckout => "commands tried for rooms in the main checkout",
        WalledKind::StoryAgent => "agents on stories",
        WalledKind::TriedForStory => "commands tried for stories",
        WalledKind::Gate => "gates",
        WalledKind::Component => "components' commands",
        WalledKind::Mergemaster => "mergemasters",
    }
}

/// What to do about what got through.
fn advice(report: &AttackReport, wall: &Confinement) -> String {
    let through: Vec<&str> = ATTACKS
        .iter()
        .map(|attack| attack.name)
        .filter(|name| report.got_through(name).next().is_some())
        .collect();
    let any_of = |names: &[&str]| through.iter().any(|name| names.contains(name));
    let mut advice = Vec::new();
    match wall {
        _ if report.all_held() => {
            return "Nothing got through. Try again after you change `[wall]` in `.storkit/bot.toml`, or update the kernel or bubblewrap.".into();
        }
        _ if through.is_empty() => {
            return "Nothing got through, and some attacks could not be tried: see above. Try again when the machine is less busy.".into();
        }
        Confinement::None => {
            return "There is no wall: remove `confine = \"none\"` from `.storkit/bot.toml`, so that storkit uses bubblewrap or Landlock.".into();
        }
        Confinement::Landlock(_) if any_of(&BEYOND_LANDLOCK) => advice.push(
            "Landlock cannot hide names of files and processes, nor protect the modes of files: install bubblewrap, or let it work here (in \
             a container: `docker/compose.sandbox.yml`).",
        ),
        Confinement::Prefix(_) => advice.push("The command in `[wall] confine` is the wall here: what got through is for that command to stop."),
        Confinement::Bwrap(_) | Confinement::Landlock(_) => {}
    }
    if any_of(&OF_THE_NETWORK) {
        advice.push("The network is open for them: `storkit doctor` says why, and docs/operations.md (\"Network access\") how to limit it.");
    }
    if any_of(&["model-key"]) {
        advice.push("Give storkit an `ANTHROPIC_API_KEY` instead of Claude Code's own login or a cloud's credentials, so that they stay outside.");
    }
    let known = |name: &&str| [&BEYOND_LANDLOCK[..], &OF_THE_NETWORK, &["model-key"]].concat().contains(name);
    if !through.iter().all(known) {
        advice.push(
            "Look whether `visible`, `writable` or `variables` below `[wall]` in `.storkit/bot.toml` open what was reached. If not, \
             the wall has a hole: please report it as SECURITY.md says.",
        );
    }
    advice.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(attack: &Attack, reached: &[&str]) -> AttackFinding {
        let got_through = reached.iter().map(|path| (*path).to_owned()).collect();
        AttackFinding { name: attack.name.into(), got_through, not_tried: None }
    }

    fn process(kind: WalledKind, through: &[(&str, &[&str])]) -> AttackedProcess {
        let reached = |attack: &Attack| {
            through.iter().find(|(name, _)| *name == attack.name).map_or(&[][..], |(_, paths)| paths)
        };
        let findings = ATTACKS.iter().map(|attack| finding(attack, reached(attack))).collect();
        AttackedProcess { kind, wall: "Landlock".into(), findings, not_started: None }
    }

    #[test]
    fn what_got_through_is_named_with_who_did_it_and_what_to_do() {
        let mut found =
            AttackReport { processes: vec![process(WalledKind::Gate, &[])], without_wall: Vec::new() };
        assert!(found.all_held());
        let none = Confinement::None;
        assert!(report(&found, &none).contains("37 of 37 attacks are stopped. Nothing got through."));
        let reached: &[&str] = &["/home/ann/.ssh/id"];
        found.processes.push(process(WalledKind::StoryAgent, &[("operators-keys", reached)]));
        let prefix = Confinement::Prefix(vec!["podman".into()]);
        let text = report(&found, &prefix);
        assert!(!found.all_held());
        assert!(text.contains("- ❌ Got through: it reads the operator's keys, tokens and history: `/home/ann/.ssh/id` (agents on stories)."), "{text}");
        assert!(text.contains("36 of 37 attacks are stopped. The command in `[wall] confine`"), "{text}");
    }

    #[test]
    fn an_attack_that_was_not_tried_counts_as_not_stopped() {
        let mut gate = process(WalledKind::Gate, &[]);
        gate.findings[0].not_tried = Some("it ended".into());
        let found = AttackReport { processes: vec![gate], without_wall: Vec::new() };
        assert!(!found.all_held());
        assert!(report(&found, &Confinement::None).contains("❌ Not tried from gates: it reads"));
    }

    #[test]
    fn where_nothing_is_started_nothing_is_proven() {
        let why = Some("The wall on this machine cannot protect it.".to_owned());
        let process = AttackedProcess {
            kind: WalledKind::Gate,
            wall: String::new(),
            findings: Vec::new(),
            not_started: why,
        };
        let found = AttackReport { processes: vec![process], without_wall: Vec::new() };
        assert!(!found.all_held());
        assert!(
            report(&found, &Confinement::None)
                .contains("ℹ️ Not attacked, because it is not started here: gates.")
        );
        assert_eq!(
            nothing_starts("There is no wall."),
            "nothing was attacked, because nothing is started here. There is no wall."
        );
    }
}
