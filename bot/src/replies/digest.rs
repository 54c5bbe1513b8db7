//! Events of a moment as messages: a pure function.

use std::{collections::BTreeMap, sync::Arc};

use adapters::{
    Choice, Outgoing, Tone,
    markdown::{code_block, inert},
};
use pipeline::{
    event::{Actor, MergeView, NumberedEvent, PipelineEvent, WantedDecision},
    stage::Stage,
    story::StoryId,
};

use super::{
    text::{count, sentence, shorten},
    visible::visible,
};

/// More stories than this in one message are only counted.
const MOST: usize = 5;

/// More stories than this are not listed by their numbers.
const LISTED: usize = 20;

/// Longest title and reason in a line.
const TITLE: usize = 60;
const REASON: usize = 240;

/// The events of one story, merged.
#[derive(Default)]
struct StoryDigest {
    title: String,
    from: Option<Stage>,
    to: Option<Stage>,
    why: Option<String>,
    by: Option<Actor>,
    created: bool,
    deleted: bool,
    failed: Option<String>,
    merged: Option<String>,
    conflict: Option<usize>,
    /// A gate that failed on the merged result, and the end of its output.
    failed_gate: Option<(String, String)>,
    diff: Option<String>,
}

/// A message about the pipeline.
#[derive(Clone, Debug)]
pub struct PipelineNotice {
    pub message: Outgoing,
    pub asks: Option<NeededDecision>,
    /// The stories that it is about.
    pub about: Vec<StoryId>,
}

/// A decision about a story that people are asked for.
#[derive(Clone, Debug)]
pub struct NeededDecision {
    pub story: StoryId,
    /// Takes the place of the message once the decision is taken, or another one is needed.
    pub closed: Outgoing,
}

impl From<Outgoing> for PipelineNotice {
    fn from(message: Outgoing) -> Self {
        Self { message, asks: None, about: Vec::new() }
    }
}

/// The messages, the most urgent last, so that people see it first. `cost` is a story's in US dollars.
pub fn digest(events: &[Arc<NumberedEvent>], cost: &dyn Fn(StoryId) -> f64) -> Vec<PipelineNotice> {
    let mut stories: BTreeMap<StoryId, StoryDigest> = BTreeMap::new();
    let mut problems = Vec::new();
    let (mut urgent, mut in_quarantine) = (Vec::<PipelineNotice>::new(), Vec::new());
    for event in events {
        match &event.event {
            PipelineEvent::PlanProposed { story, title, plan } => {
                let message = Outgoing::text(plan_proposed(*story, title, plan));
                urgent.push(PipelineNotice { message, asks: None, about: vec![*story] });
            }
            PipelineEvent::NeedsPerson { story, title, why, wanted } => {
                let message = asked(*story, title, why, *wanted);
                let closed = decision_closed(*story, title, why);
                let asks = Some(NeededDecision { story: *story, closed });
                urgent.push(PipelineNotice { message, asks, about: vec![*story] });
            }
            PipelineEvent::Alarm { text, .. } => {
                let text = format!("**Alarm**: {}", inert(&shorten(text, 1_500)));
                urgent.push(Outgoing::text(text).with_tone(Tone::Question).into());
            }
            PipelineEvent::Paused { why: Some(why) } => {
                urgent.push(
                    Outgoing::text(sentence(&format!("No agents start for now: {}", inert(why))))
                        .with_tone(Tone::Failure)
                        .into(),
                );
            }
            PipelineEvent::Paused { why: None } => {
                urgent.push(Outgoing::text("Agents start again.").with_tone(Tone::Notice).into());
            }
            PipelineEvent::Quarantined { story, title, why } => {
                in_quarantine.push((*story, title.as_str(), why.as_str()));
            }
            PipelineEvent::Released { story, title, by } => {
                urgent.push(released(*story, title, by).into());
            }
            PipelineEvent::ProblemFound { problem } => problems.push(problem.clone()),
            other => collect(&mut stories, other),
        }
    }
    let mut messages = Vec::<PipelineNotice>::new();
    let mut lines: Vec<String> = if stories.len() > MOST {
        counted(&stories)
    } else {
        stories.iter().filter_map(|(id, story)| line(*id, story, cost(*id))).collect()
    };
    lines.extend(problems.iter().take(MOST).cloned());
    if problems.len() > MOST {
        let more = count(problems.len() - MOST, "more file", "more files");
        lines.push(format!("And {more} that cannot be read."));
    }
    if !lines.is_empty() {
        let message = Outgoing::text(lines.join("\n\n")).with_tone(Tone::Notice);
        messages.push(PipelineNotice { message, asks: None, about: stories.into_keys().collect() });
    }
    messages.extend(quarantined(&in_quarantine).map(PipelineNotice::from));
    messages.extend(urgent);
    messages
}

/// Characters of a plan in a room.
const PLAN: usize = 3_000;

/// A coder's plan, quoted: it is an agent's text.
fn plan_proposed(story: StoryId, title: &str, plan: &str) -> String {
    let shown: String = plan.chars().take(PLAN).collect();
    let more = match shown.len() < plan.len() {
        true => format!("\n\n`show {story}` has all of it."),
        false => String::new(),
    };
    let title = inert(&shorten(title, TITLE)).into_owned();
    let plan = visible(&shown);
    let lines: Vec<String> =
        plan.lines().map(|line| format!("> {}", inert(line)).trim_end().to_owned()).collect();
    format!("**{story} {title}**: its coder proposes this plan:\n\n{}{more}", lines.join("\n"))
}

fn collect(stories: &mut BTreeMap<StoryId, StoryDigest>, event: &PipelineEvent) {
    match event {
        PipelineEvent::StoryMoved { story, title, from, to, by, why } => {
            let known = stories.entry(*story).or_default();
            known.title.clone_from(title);
            known.from.get_or_insert(*from);
            known.to = Some(*to);
            known.by = Some(by.clone());
            known.why.clone_from(why);
        }
        PipelineEvent::StoryCreated { story, title, by, .. } => {
            let known = stories.entry(*story).or_default();
            known.title.clone_from(title);
            (known.created, known.by) = (true, Some(by.clone()));
        }
        PipelineEvent::StoryDeleted { story, title, by, .. } => {
            let known = stories.entry(*story).or_default();
            known.title.clone_from(title);
            (known.deleted, known.by) = (true, Some(by.clone()));
        }
        // Who asked for the review of a branch is told by its command.
        PipelineEvent::RunEnded { run, outcome, failed: true, .. } if run.branch.is_none() => {
            let known = stories.entry(run.story).or_default();
            known.title.clone_from(&run.title);
            known.failed = Some(format!("`{}` failed: {}", run.slot, inert(&shorten(outcome, REASON))));
        }
        PipelineEvent::Merge { story, title, merge, diff } => {
            let known = stories.entry(*story).or_default();
            known.title.clone_from(title);
            known.diff.clone_from(diff);
            match merge {
                MergeView::Merged { commit } => known.merged = Some(commit.clone()),
                MergeView::Conflict { files } => known.conflict = Some(files.len()),
                MergeView::GateFailed { gate, output } => {
                    known.failed_gate = Some((gate.clone(), output.join("\n")));
                }
                MergeView::Queued { .. } | MergeView::Running { .. } | MergeView::Failed { .. } => {}
            }
        }
        _ => {}
    }
}

/// A story's moment in one line.
fn line(id: StoryId, story: &StoryDigest, cost: f64) -> Option<String> {
    let head = format!("**{id} {}**", inert(&shorten(&story.title, TITLE)));
    let by = story.by.as_ref().map(|by| inert(&by.to_string()).to_string()).unwrap_or_default();
    let spent = if cost > 0.0 { format!(", ${cost:.2}") } else { String::new() };
    if let Some(commit) = &story.merged {
        let diff = story.diff.as_ref().map(|diff| format!(", {diff}")).unwrap_or_default();
        return Some(format!(
            "{head}: merged as `{commit:.10}`{diff}{spent}. `overview {id}` shows details."
        ));
    }
    if story.deleted {
        return Some(format!("{head}: deleted by {by}."));
    }
    if let Some(files) = story.conflict {
        let files = count(files, "file", "files");
        return Some(format!("{head}: merge conflict in {files}; the mergemaster resolves it."));
    }
    if let Some((gate, output)) = &story.failed_gate {
        let gate = inert(&shorten(gate, REASON)).to_string();
        let output = match output.is_empty() {
            true => String::new(),
            false => format!("\n\n{}", code_block(output, "")),
        };
        return Some(format!(
            "{head}: back to the coder, since on the merged result {} `log {id}` shows more.{output}",
            sentence(&gate)
        ));
    }
    match (story.from, story.to) {
        (Some(from), Some(to)) if from != to => {
            let why = story
                .why
                .as_ref()
                .map(|why| format!(": {}", inert(&shorten(why, REASON)).trim_end_matches('.')))
                .unwrap_or_default();
            let who =
                if matches!(story.by, Some(Actor::Pipeline)) { String::new() } else { format!(" by {by}") };
            return Some(format!("{head}: {from} → {to}{who}{why}{spent}."));
        }
        _ => {}
    }
    if let Some(failed) = &story.failed {
        return Some(format!("{head}: {} `log {id}` shows more.", sentence(failed)));
    }
    story.created.then(|| format!("{head}: created by {by}."))
}

/// Many stories: how many came where.
fn counted(stories: &BTreeMap<StoryId, StoryDigest>) -> Vec<String> {
    let mut places: BTreeMap<Stage, usize> = BTreeMap::new();
    let (mut created, mut deleted, mut failed) = (0, 0, 0);
    for story in stories.values() {
        if story.deleted {
            deleted += 1;
        } else if let (true, Some(to)) = (story.from != story.to, story.to) {
            *places.entry(to).or_default() += 1;
        } else if story.created {
            created += 1;
        } else {
            failed += usize::from(story.failed.is_some());
        }
    }
    let mut parts: Vec<String> =
        places.iter().map(|(stage, count)| format!("{count} moved to {stage}")).collect();
    let others = [(created, "created"), (deleted, "deleted"), (failed, "with a failed run")];
    parts.extend(
        others.into_iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")),
    );
    let stories = count(stories.len(), "story", "stories");
    vec![format!("{stories}: {}. `status` shows them.", parts.join(", "))]
}

/// A clone can bring many: one message for all of a moment.
fn quarantined(stories: &[(StoryId, &str, &str)]) -> Option<Outgoing> {
    const MEANING: &str =
        "runs reach package registries only and get no secrets, and a person accepts the changes";
    let text = match stories {
        [] => return None,
        [(id, title, why)] => format!(
            "**{id} {}** is in quarantine: {}. Its {MEANING}. `show {id}` shows it; once you have read it, `release {id}` lifts that.",
            inert(&shorten(title, TITLE)),
            inert(&shorten(why, REASON))
        ),
        many => {
            let ids: Vec<String> = many.iter().take(LISTED).map(|(id, ..)| id.to_string()).collect();
            let more = many.len().saturating_sub(LISTED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            format!(
                "{} are in quarantine, since strangers may have written them: {}{more}. Their {MEANING}. `show ID` shows one; once you \
                 have read it, `release ID` lifts that.",
                count(many.len(), "story", "stories"),
                ids.join(", ")
            )
        }
    };
    Some(Outgoing::text(text).with_tone(Tone::Notice))
}

fn released(id: StoryId, title: &str, by: &Actor) -> Outgoing {
    let (title, by) = (shorten(title, TITLE), by.to_string());
    let text = format!("**{id} {}** is released from quarantine by {}.", inert(&title), inert(&by));
    Outgoing::text(text).with_tone(Tone::Notice)
}

fn decision_closed(id: StoryId, title: &str, why: &str) -> Outgoing {
    let text = format!(
        "**{id} {}** no longer waits for this decision. {}",
        inert(&shorten(title, TITLE)),
        sentence(&inert(&shorten(why, REASON + 60)))
    );
    Outgoing::text(text).with_tone(Tone::Notice)
}

fn asked(id: StoryId, title: &str, why: &str, wanted: WantedDecision) -> Outgoing {
    let choice =
        |line: String, label: &str| Choice { key: format!("cmd:{line}"), label: label.into(), emoji: None };
    let (what, choices) = match wanted {
        WantedDecision::Review => (
            format!("`show {id}`, then `accept {id}` or `reject {id} WHY`."),
            vec![choice(format!("show {id}"), "Show"), choice(format!("accept {id}"), "Accept")],
        ),
        WantedDecision::Retry => (
            format!("`log {id}` shows more; `retry {id}` continues it."),
            vec![choice(format!("log {id}"), "Log"), choice(format!("retry {id}"), "Retry")],
        ),
        WantedDecision::ClearTheWay => (
            format!("Commit or move these files, then `retry {id}`."),
            vec![choice(format!("retry {id}"), "Retry")],
        ),
        WantedDecision::Budget => (
            format!("`cost {id}` shows for what; `retry {id}` allows the same amount again."),
            vec![choice(format!("cost {id}"), "Cost"), choice(format!("retry {id}"), "Continue")],
        ),
        WantedDecision::FinishInGit => ("It goes on by itself once that has ended.".to_owned(), Vec::new()),
        WantedDecision::Start => (
            format!("`show {id}` shows it."),
            vec![choice(format!("show {id}"), "Show"), choice(format!("start {id}"), "Start")],
        ),
    };
    let text = format!(
        "**{id} {}** needs a person. {} {what}",
        inert(&shorten(title, TITLE)),
        sentence(&inert(&shorten(why, REASON + 60)))
    );
    Outgoing { choices, ..Outgoing::text(text).with_tone(Tone::Question) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(events: Vec<PipelineEvent>) -> Vec<Arc<NumberedEvent>> {
        let number = |(seq, event)| Arc::new(NumberedEvent { seq: seq as u64, at: 0, event });
        events.into_iter().enumerate().map(number).collect()
    }

    fn moved(id: u32, from: Stage, to: Stage, by: Actor) -> PipelineEvent {
        PipelineEvent::StoryMoved {
            story: StoryId(id),
            title: format!("Story {id}"),
            from,
            to,
            by,
            why: None,
        }
    }

    fn texts(events: Vec<PipelineEvent>) -> Vec<String> {
        digest(&numbered(events), &|_| 0.5).into_iter().map(|notice| notice.message.markdown).collect()
    }

    #[test]
    fn stories_in_quarantine_share_a_message() {
        let event = |id, title: &str| PipelineEvent::Quarantined {
            story: StoryId(id),
            title: title.into(),
            why: "its file came with the repository".into(),
        };
        let said = |events: Vec<PipelineEvent>| {
            let messages = digest(&numbered(events), &|_| 0.0);
            messages.into_iter().map(|notice| notice.message.markdown).collect::<Vec<_>>().join("\n")
        };
        insta::assert_snapshot!(said(vec![event(7, "Theirs")]), @"**7 Theirs** is in quarantine: its file came with the repository. Its runs reach package registries only and get no secrets, and a person accepts the changes. `show 7` shows it; once you have read it, `release 7` lifts that.");
        insta::assert_snapshot!(said(vec![event(7, "x"), event(8, "y")]), @"2 stories are in quarantine, since strangers may have written them: 7, 8. Their runs reach package registries only and get no secrets, and a person accepts the changes. `show ID` shows one; once you have read it, `release ID` lifts that.");
    }

    #[test]
    fn what_happens_to_a_story_in_a_moment_is_one_line_with_its_end() {
        let merged = PipelineEvent::Merge {
            story: StoryId(1),
            title: "Story 1".into(),
            merge: MergeView::Merged { commit: "0123456789abcdef".into() },
            diff: Some("2 files, +3 -1".into()),
        };
        let events = vec![
            moved(1, Stage::Qa, Stage::Merge, Actor::Pipeline),
            merged,
            moved(1, Stage::Merge, Stage::Done, Actor::Pipeline),
            moved(2, Stage::Backlog, Stage::Current, Actor::Person("Ann".into())),
            moved(2, Stage::Current, Stage::Qa, Actor::Pipeline),
        ];
        insta::assert_snapshot!(texts(events).join("\n==\n"), @r"
        **1 Story 1**: merged as `0123456789`, 2 files, +3 -1, $0.50. `overview 1` shows details.

        **2 Story 2**: backlog → qa, $0.50.
        ");
    }

    #[test]
    fn the_output_of_a_gate_that_failed_on_the_merged_result_is_in_the_message() {
        let failed = PipelineEvent::Merge {
            story: StoryId(1),
            title: "Story 1".into(),
            merge: MergeView::GateFailed {
                gate: "`make test` failed with code 3".into(),
                output: vec!["test door ... FAILED".into(), "1 failed".into()],
            },
            diff: None,
        };
        let events = vec![failed, moved(1, Stage::Merge, Stage::Current, Actor::Pipeline)];
        insta::assert_snapshot!(texts(events).join("\n==\n"), @r"
        **1 Story 1**: back to the coder, since on the merged result `make test` failed with code 3. `log 1` shows more.

        ```
        test door ... FAILED
        1 failed
        ```
        ");
    }

    #[test]
    fn a_reason_that_is_a_sentence_gets_no_second_period() {
        let events = vec![PipelineEvent::StoryMoved {
            story: StoryId(1),
            title: "A door".into(),
            from: Stage::Qa,
            to: Stage::Current,
            by: Actor::Person("Ann".into()),
            why: Some("Remove README.Debian.gz.".into()),
        }];
        insta::assert_snapshot!(texts(events)[0], @"**1 A door**: qa → current by Ann: Remove README.Debian.gz, $0.50.");
    }

    #[test]
    fn ten_thousand_moves_are_one_line() {
        let events =
            (1..=10_000).map(|id| moved(id, Stage::Backlog, Stage::Current, Actor::Editor)).collect();
        assert_eq!(texts(events), ["10000 stories: 10000 moved to current. `status` shows them."]);
    }

    #[test]
    fn what_a_person_must_do_is_a_message_of_its_own_with_the_commands_as_buttons() {
        let asked = PipelineEvent::NeedsPerson {
            story: StoryId(3),
            title: "A door".into(),
            why: "Story 3: waits for a person to accept or reject it.".into(),
            wanted: WantedDecision::Review,
        };
        let messages = digest(&numbered(vec![asked]), &|_| 0.0);
        insta::assert_snapshot!(messages[0].message.markdown, @r"**3 A door** needs a person. Story 3: waits for a person to accept or reject it. `show 3`, then `accept 3` or `reject 3 WHY`.");
        assert_eq!(messages[0].message.choices[1].key, "cmd:accept 3");
        assert_eq!(messages[0].message.tone, Tone::Question);
        let asks = messages[0].asks.as_ref().expect("a decision");
        assert_eq!((asks.story, asks.closed.choices.len()), (StoryId(3), 0));
        insta::assert_snapshot!(asks.closed.markdown, @"**3 A door** no longer waits for this decision. Story 3: waits for a person to accept or reject it.");
    }
}
