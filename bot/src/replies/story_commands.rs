//! The commands about stories: results, missing arguments, refusals of the pipeline.

use std::fmt::Write as _;

use adapters::markdown::{code_block, code_span, inert};
use pipeline::{
    PipelineError,
    event::{PipelineSnapshot, RunInfo},
    handle::{DeletedStory, StartResult, StoryOverview, WorkDone},
    reading::LogOf,
    stage::Stage,
    story::{Story, StoryId},
    strangers::QuarantineCause,
};

use super::{
    board::merge_words,
    call_warnings::stranger_texts,
    text::{count, sentence},
};

// --- arguments ---

/// No story is named.
pub const WHICH_STORY: &str = "Which story? Its number comes first.";
/// `move ID` without a stage.
pub const WHICH_STAGE: &str = "Which stage?";
/// `reject ID` without a reason.
pub const WHY_REJECT: &str = "Why? The next run reads the reason.";
/// `assign ID` without one name.
pub const WHICH_FILE: &str = "Which file? Its name, as the story's text links to it.";
pub const WHICH_AGENT: &str = "Which agent? One name, as in `project.toml`.";
/// The answer to `new` without anything.
pub const WHICH_KIND: &str = "What kind of story, and what is its title?";
/// `new KIND` without a title.
pub const NO_TITLE: &str = "A story needs a title.";
/// The answer to `log` without anything.
pub const WHOSE_LOG: &str = "Whose log? Name an agent or a story's number.";

/// `tell ID` without words.
pub const TELL_WHAT: &str = "What? The words for the agent come behind the story's number.";

/// Too many words for `tell`.
pub fn tell_too_long(id: StoryId, longest: usize) -> String {
    format!(
        "That is longer than {longest} characters. Put it into the story with `edit {id}`, and tell the agent to read it."
    )
}

/// An agent gets a person's words.
pub fn told(run: &RunInfo) -> String {
    format!("{} ({}) gets it between two of its steps.", code_span(&run.slot), run.subject())
}

/// The first word is no story's number.
pub fn not_a_story_number(word: &str) -> String {
    format!("{} is not a story's number, like `12`; `status` lists them.", code_span(word))
}

/// Words behind a number that takes none.
pub fn one_number_is_enough(more: &str) -> String {
    format!("{} is too much: one number is enough.", code_span(more))
}

/// Words behind the last argument.
pub fn too_much(more: &str) -> String {
    format!("{} is too much.", code_span(more))
}

/// A word that is no stage.
pub fn not_a_stage(word: &str) -> String {
    let stages = Stage::ALL.map(|stage| format!("`{stage}`")).join(", ");
    format!("{} is not a stage; the stages are {stages}.", code_span(word))
}

/// A word that is no kind of story.
pub fn not_a_kind(word: &str) -> String {
    format!("{} is not a kind of story; use `story`, `bug`, `spike` or `refactor`.", code_span(word))
}

/// Several words where an agent's name belongs.
pub fn not_an_agent(words: &str) -> String {
    format!("{} is not an agent's name.", code_span(words))
}

/// `log X LINES` with another number of lines.
pub fn not_a_line_count(word: &str, most: usize) -> String {
    format!("{} is not a number of lines from 1 to {most}.", code_span(word))
}

/// The board does not have the story.
pub fn unknown_story(id: StoryId) -> String {
    format!("There is no story `{id}`; `status` lists the stories.")
}

/// A refusal of the pipeline, as a sentence.
pub fn refused_by_pipeline(error: &PipelineError) -> String {
    let text = error.to_string();
    let mut letters = text.chars();
    let first = letters.next().map(|letter| letter.to_uppercase().to_string()).unwrap_or_default();
    sentence(&format!("{first}{}", letters.as_str()))
}

// --- results ---

/// The answer to `new`.
pub fn story_created(story: &Story) -> String {
    let id = story.id();
    format!(
        "Story `{id}` **{}** is in the backlog: `.storkit/work/1_backlog/{}`. `edit {id}` changes it, `start {id}` starts the work.",
        inert(&story.front.name),
        story.file
    )
}

/// The answer to `start` and `retry`.
pub fn story_started(id: StoryId, result: &StartResult) -> String {
    match result {
        StartResult::Running(run) => {
            format!("`{}` works on story `{id}` now. `log {id}` shows its progress.", run.slot)
        }
        StartResult::Waiting(why) => {
            sentence(&format!("Story `{id}` is ready for an agent. For now: {}", inert(why)))
        }
    }
}

/// `stop ID` and `stop AGENT`
pub fn runs_stopped(stopped: &[RunInfo]) -> String {
    let runs: Vec<String> = stopped
        .iter()
        .map(|run| match run.on_story() {
            Some(story) => format!("`{}` on story `{story}`", run.slot),
            None => format!("`{}` on {}", run.slot, inert(&run.subject())),
        })
        .collect();
    let next = match stopped.iter().any(|run| run.on_story().is_some()) {
        true => " `start ID` lets a story continue.",
        false => "",
    };
    format!("Stopped: {}.{next}", runs.join(", "))
}

/// `stop X` where nothing runs for X.
pub fn nothing_to_stop(word: &str) -> String {
    format!("No agent runs for {}; `status` shows which ones run.", code_span(word))
}

/// The answer to `assign`.
pub fn agent_preferred(id: StoryId, agent: &str) -> String {
    format!("Story `{id}` now prefers the agent {} for its work.", code_span(agent))
}

/// The answer to `move`.
pub fn story_moved(id: StoryId, to: Stage) -> String {
    format!("Story `{id}` is now in {to}.")
}

/// The answer to `accept`.
pub fn story_accepted(id: StoryId) -> String {
    format!("Story `{id}` is accepted and goes to the merge queue.")
}

/// The answer to `release`.
pub fn story_released(id: StoryId) -> String {
    format!("Story `{id}` is released from quarantine.")
}

/// The answer to `release all`; `left` stay in quarantine.
pub fn stories_released(released: usize, left: usize) -> String {
    let stories = |count| super::text::count(count, "story", "stories");
    let mut text = match released {
        0 => "No story in quarantine came with the repository.".to_owned(),
        1 => "1 story is released from quarantine.".to_owned(),
        many => format!("{many} stories are released from quarantine."),
    };
    if left > 0 {
        let it = if left == 1 { "it" } else { "them" };
        text.push_str(&format!(
            " {} that agents wrote after reading text by strangers: read {it} with `show ID`, then `release ID`.",
            stories(left)
        ));
    }
    text
}

/// The answer to `reject`.
pub fn story_rejected(id: StoryId) -> String {
    format!("Story `{id}` goes back to its coder.")
}

/// `delete ID`, before the confirmation.
pub fn confirm_delete(id: StoryId, snapshot: &PipelineSnapshot) -> Option<String> {
    let what = match (snapshot.board.story(id), snapshot.board.problem(id)) {
        (Some(story), _) => format!("story `{id}` **{}**, in {}", inert(&story.front.name), story.stage),
        (None, Some(problem)) => format!("`{}`, which cannot be read", problem.path().display()),
        (None, None) => return None,
    };
    let mut text = format!(
        "Delete {what}? This also deletes its worktree, branch and files, with everything not merged."
    );
    if let Some(run) = snapshot.runs.iter().find(|run| run.story == id) {
        let _ = write!(text, " `{}` works on it and is stopped.", run.slot);
    }
    let _ = write!(text, " `delete {id} yes` confirms.");
    Some(text)
}

/// `delete ID word` with another word.
pub fn not_yes(word: &str) -> String {
    format!("{} is not `yes`.", code_span(word))
}

/// The answer to `delete ID yes`.
pub fn story_deleted(id: StoryId, deleted: &DeletedStory) -> String {
    let mut gone = vec![format!("its file in {}", deleted.stage)];
    gone.extend((deleted.files > 0).then(|| count(deleted.files, "file beside it", "files beside it")));
    gone.extend(deleted.stopped.iter().map(|slot| format!("the run of `{slot}`")));
    gone.extend(deleted.worktree.then(|| "its worktree".to_owned()));
    gone.extend(deleted.branch.iter().map(|branch| format!("branch `{branch}`")));
    format!("Story `{id}` is deleted: {}.", gone.join(", "))
}

// --- pages ---

/// The answer to `show`.
pub fn story_page(
    story: &Story,
    snapshot: &PipelineSnapshot,
    work: &WorkDone,
    cost: f64,
    text: &str,
) -> String {
    let id = story.id();
    let mut page = format!("**{id} {}**\n\n- in **{}**", inert(&story.front.name), story.stage);
    if let Some(run) = snapshot.runs.iter().find(|run| run.story == id) {
        let _ = write!(page, ", `{}` {}", run.slot, run.phase);
    } else if let Some(hold) = snapshot.holds.get(&id) {
        let _ = write!(page, ": {}", inert(hold));
    } else if let Some(merge) = snapshot.merges.get(&id) {
        let _ = write!(page, ": {}", merge_words(merge));
    }
    page.push('\n');
    if let Some(quarantine) = snapshot.quarantined.get(&id) {
        let _ = writeln!(page, "- {}", in_quarantine(id, &quarantine.cause));
    }
    if let Some(read) = snapshot.strangers_read.get(&id) {
        let _ = writeln!(page, "- its agents have read text by strangers: {}", stranger_texts(read));
    }
    if !story.criteria.is_empty() {
        let done = story.criteria.iter().filter(|(_, done)| *done).count();
        let _ = writeln!(page, "- criteria: {done} of {} done", story.criteria.len());
    }
    if let Some(branch) = &work.branch {
        let diff = work.diff.as_ref().map(|diff| format!(", {diff}")).unwrap_or_default();
        let _ = writeln!(page, "- branch `{branch}`: {}{diff}", count(work.commits, "commit", "commits"));
    }
    if let Some(agent) = &story.front.agent {
        let _ = writeln!(page, "- preferred agent: {}", inert(agent));
    }
    if cost > 0.0 {
        let _ = writeln!(page, "- cost: ${cost:.2}");
    }
    if !work.failed_merge.is_empty() {
        let output = code_block(&work.failed_merge.join("\n"), "");
        let _ = write!(page, "\nIts last merge failed at a gate. The end of the output:\n\n{output}");
    }
    let _ = write!(page, "\n{}", code_block(text.trim_end(), "markdown"));
    page
}

/// A story's quarantine: why, and its effect.
fn in_quarantine(id: StoryId, cause: &QuarantineCause) -> String {
    let read = match cause {
        QuarantineCause::Repository => String::new(),
        QuarantineCause::Read { texts, .. } => format!(" ({})", stranger_texts(texts)),
    };
    format!(
        "**in quarantine**: {}{read}. Its runs reach package registries only and get no secrets, and a person accepts its changes. \
         `release {id}` lifts that.",
        inert(&cause.to_string())
    )
}

/// `show` for a file that cannot be read as a story.
pub fn broken_story(id: StoryId, text: &str) -> String {
    format!("Story `{id}` cannot be worked on as it is.\n\n{}", code_block(text, ""))
}

/// More files than this are only counted.
const FILES: usize = 30;

/// The answer to `overview`.
pub fn overview_page(id: StoryId, done: &StoryOverview, cost: f64) -> String {
    let subject = done.message.lines().next().unwrap_or_default();
    let time =
        jiff::Timestamp::from_second(done.time).map(|at| at.strftime("%Y-%m-%d %H:%M UTC").to_string());
    let mut page = format!("**Story {id}**: {}\n\n", inert(subject));
    let _ = writeln!(page, "- merged as `{:.10}`, {}", done.commit, time.unwrap_or_default());
    for (gate, code) in &done.gates {
        let _ = writeln!(page, "- gate {} ended with {code}", code_span(gate));
    }
    if cost > 0.0 {
        let _ = writeln!(page, "- cost: ${cost:.2}");
    }
    let (added, removed) = done.files.iter().fold((0, 0), |(a, r), file| (a + file.1, r + file.2));
    let _ = writeln!(page, "\n{}, +{added} -{removed}", count(done.files.len(), "file", "files"));
    for (path, added, removed) in done.files.iter().take(FILES) {
        let _ = writeln!(page, "- {} +{added} -{removed}", code_span(&path.display().to_string()));
    }
    if done.files.len() > FILES {
        let _ = writeln!(page, "- and {} more", done.files.len() - FILES);
    }
    page
}

/// `overview` of a story that is not merged.
pub fn not_merged(id: StoryId, base: &str) -> String {
    format!("Story `{id}` is not merged to `{base}` yet. `show {id}` shows its state.")
}

/// The answer to `log`.
pub fn run_log(run: &str, lines: &[String]) -> String {
    match lines {
        [] => format!("Run `{run}` has no output yet."),
        lines => format!("Run `{run}`:\n\n{}", code_block(&lines.join("\n"), "")),
    }
}

/// `log` where there was no run.
pub fn no_run(of: &LogOf) -> String {
    match of {
        LogOf::Story(id) => format!("No agent has worked on story `{id}` yet."),
        LogOf::Agent(name) => format!("No agent {} has run yet.", code_span(name)),
    }
}

#[cfg(test)]
mod tests {
    use super::{super::board::fixture, *};

    #[test]
    fn the_question_before_a_delete_names_everything_that_would_go() {
        let text = confirm_delete(StoryId(2), &fixture::snapshot()).unwrap();
        insta::assert_snapshot!(text, @"Delete story `2` **Second**, in current? This also deletes its worktree, branch and files, with everything not merged. `coder` works on it and is stopped. `delete 2 yes` confirms.");
        assert_eq!(confirm_delete(StoryId(99), &fixture::snapshot()), None);
    }

    #[test]
    fn a_story_is_shown_with_what_matters_and_its_text_as_it_is() {
        let snapshot = fixture::snapshot();
        let story = snapshot.board.story(StoryId(2)).unwrap();
        let work = WorkDone {
            branch: Some("feature/story-2_x/work".into()),
            commits: 1,
            diff: Some("1 file, +3 -1".into()),
            failed_merge: Vec::new(),
        };
        insta::assert_snapshot!(story_page(story, &snapshot, &work, 0.5, "# Door\n\n```\ncode\n```\n"), @r"
        **2 Second**

        - in **current**, `coder` working
        - branch `feature/story-2_x/work`: 1 commit, 1 file, +3 -1
        - cost: $0.50

        ````markdown
        # Door

        ```
        code
        ```
        ````
        ");
    }

    #[test]
    fn a_storys_page_has_what_a_failing_merge_gate_printed() {
        let snapshot = fixture::snapshot();
        let story = snapshot.board.story(StoryId(2)).unwrap();
        let failed_merge = vec!["the reason".to_owned(), "`make` failed with code 3".to_owned()];
        let work = WorkDone { failed_merge, ..WorkDone::default() };
        let page = story_page(story, &snapshot, &work, 0.0, "# Door");
        assert!(
            page.contains("Its last merge failed at a gate. The end of the output:\n\n```\nthe reason\n"),
            "{page}"
        );
    }

    #[test]
    fn an_overview_shows_commit_gates_and_files() {
        let done = StoryOverview {
            commit: "0123456789abcdef".into(),
            message: "storkit: merge 12 Fix the door\n\nStorkit-Story: 12\n".into(),
            time: 1_700_000_000,
            files: vec![("src/door.rs".into(), 3, 1), ("tests/door.rs".into(), 10, 0)],
            gates: vec![("script/test".into(), 0)],
        };
        insta::assert_snapshot!(overview_page(StoryId(12), &done, 1.25), @r"
        **Story 12**: storkit: merge 12 Fix the door

        - merged as `0123456789`, 2023-11-14 22:13 UTC
        - gate `script/test` ended with 0
        - cost: $1.25

        2 files, +13 -1
        - `src/door.rs` +3 -1
        - `tests/door.rs` +10 -0
        ");
    }
}
