//! Where a room's agent works, and what becomes of the changes that it lands.

use std::{fmt::Write as _, path::Path};

use adapters::markdown::{code_span, inert};
use pipeline::{
    event::LandingNews,
    rooms::{DiscardedChanges, LandedStory, RoomChanges, RoomStatus},
    story::StoryId,
    worktree::RoomStanding,
};

use super::text::{count, sentence};

/// `land` while a turn runs.
pub const LAND_WHILE_BUSY: &str = "A turn runs here. Wait for its end, or `stop` it; then `land`.";
/// `land` without a title, and without a request to take it from.
pub const LAND_NEEDS_TITLE: &str = "The story needs a title.";
/// `land` where the room works in the main checkout.
pub const LAND_IN_CHECKOUT: &str = "This room works in the main checkout, where you commit yourself. With `[relay] workspace = \"worktree\"` \
     in bot.toml, each room has a worktree of its own, and `land` makes a story of its changes.";
/// `discard` while a turn runs.
pub const DISCARD_WHILE_BUSY: &str = "A turn runs here. Wait for its end, or `stop` it; then `discard`.";
/// `discard` where the room works in the main checkout.
pub const DISCARD_IN_CHECKOUT: &str =
    "This room works in the main checkout, whose files are yours. Use git there.";
/// `discard` in a room that is level with the base branch.
pub const NOTHING_TO_DISCARD: &str = "This room has no changes to discard.";
/// A terminal whose agent would work in the main checkout, on a machine whose wall cannot protect it.
pub const CHECKOUT_IS_UNPROTECTED: &str = "The wall on this machine cannot protect `.git` and `.storkit` in the main checkout, so this room \
     works in a worktree of its own: it does not see uncommitted files of yours, and `land` makes a story of its changes.";
/// Its worktree is used by somebody else at this moment.
pub const WORKTREE_IN_USE: &str = "This room's worktree is being changed right now. Try again.";

/// Files that `discard` lists.
const DISCARDED_FILES: usize = 20;

/// Where a room works, as of its last turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoomPlace {
    /// From the main checkout, and the branch; `None` for the main checkout itself.
    pub worktree: Option<(String, String)>,
    pub own: Option<RoomStanding>,
    /// MCP servers of the operator's that its session lacks.
    pub missing_servers: Vec<String>,
}

/// The lines of `status`; `worktree` if the room works in one of its own, made or not.
pub fn room_place(place: &RoomPlace, worktree: bool) -> String {
    let mut text = where_it_works(place, worktree);
    if !place.missing_servers.is_empty() {
        let names: Vec<String> = place.missing_servers.iter().map(|name| code_span(name)).collect();
        text.push_str(&format!("MCP servers that do not load: {}; `doctor` says why.\n", names.join(", ")));
    }
    text
}

fn where_it_works(place: &RoomPlace, worktree: bool) -> String {
    match &place.worktree {
        None if worktree => "Works in a worktree of its own, which the next prompt makes ready.\n".into(),
        None => "Works in the main checkout.\n".into(),
        Some((folder, branch)) => {
            let own = place.own.map(|own| format!(": {}", changes(&own))).unwrap_or_default();
            format!("Works in {} on {}{own}\n", code_span(folder), code_span(branch))
        }
    }
}

/// A worktree's own changes and its distance from base, as a clause.
fn changes(own: &RoomStanding) -> String {
    let commits = (own.ahead > 0).then(|| format!("{} of its own", count(own.ahead, "commit", "commits")));
    let files =
        (own.uncommitted > 0).then(|| format!("{} uncommitted", count(own.uncommitted, "file", "files")));
    let behind = (own.behind > 0)
        .then(|| format!("{} behind the base branch", count(own.behind, "commit", "commits")));
    let parts: Vec<String> = [commits, files, behind].into_iter().flatten().collect();
    if parts.is_empty() { "level with the base branch".into() } else { parts.join(", ") }
}

/// Base has moved on while the room has changes of its own; said once.
pub fn base_moved_on(own: &RoomStanding) -> String {
    format!(
        "The base branch has moved on by {}. This room has changes of its own, so its worktree stays where it is until they are landed.",
        count(own.behind, "commit", "commits")
    )
}

/// There is no branch for a worktree; said once.
pub fn works_in_checkout(why: &str) -> String {
    format!("This room cannot have a worktree of its own yet, so I work in the main checkout. {why}")
}

/// The room's workspace cannot be made ready.
pub fn no_workspace(why: &str) -> String {
    format!("I cannot work here now. {why}")
}

/// A note on the room's worktree.
pub fn workspace_note(why: &str) -> String {
    sentence(why)
}

/// The session began in another folder, where the CLI keeps it.
pub fn session_left_behind(session: &str, worktree: Option<&str>) -> String {
    let place = match worktree {
        Some(folder) => format!("its own worktree, {}", code_span(folder)),
        None => "the main checkout".into(),
    };
    format!(
        "This room now works in {place}. Its session `{session}` began elsewhere and cannot continue here: I start a new one."
    )
}

/// The agent's commits were not accepted after a turn.
pub fn commits_refused(why: &str) -> String {
    format!("The agent's last commits are not accepted yet: {}", sentence(why))
}

/// The answer to `land`.
pub fn landed(landed: &LandedStory) -> String {
    let (id, title) = (landed.story.id(), inert(&landed.story.front.name));
    let diff = landed.diff.as_ref().map(|diff| format!(" ({diff})")).unwrap_or_default();
    let mut text = format!(
        "Story `{id}` **{title}** has this room's changes{diff}. Gates, review and the merge queue follow; I say here when it is merged."
    );
    if let Some(after) = landed.after {
        let _ = write!(text, " It waits for story `{after}`, on which it builds.");
    }
    text
}

/// `land` while another command has the room.
pub const LAND_LATER: &str = "Another command works on this room. Try `land` again when it has answered.";

/// News of a story for the room that landed it.
pub fn landing_news(story: StoryId, title: &str, news: &LandingNews) -> String {
    let what = format!("story `{story}` **{}**", inert(title));
    match news {
        LandingNews::Begun => {
            format!("I was restarted while this room's changes were landed. They are {what} now.")
        }
        LandingNews::Merged { commit } => {
            format!(
                "This room's changes are merged: {what}, commit `{commit:.10}`. The room follows the base branch again."
            )
        }
        LandingNews::SentBack { why } => format!(
            "{} A coder works on the branch of {what} now. This room's worktree stays as it is.",
            sentence(&format!("This room's changes did not pass: {}", inert(why)))
        ),
        LandingNews::Deleted => format!("{what} is deleted. Its changes are still in this room's worktree.")
            .replacen("story", "Story", 1),
    }
}

/// `discard`, before the second word.
pub fn confirm_discard(changes: &RoomChanges) -> String {
    let mut text = String::from("This room's worktree has changes that the base branch does not have:\n\n");
    let commits = changes.commits.iter().map(|commit| format!("- commit {}\n", code_span(commit)));
    let shown = changes.files.iter().take(DISCARDED_FILES);
    let files = shown.map(|file| format!("- not committed: {}\n", code_span(file)));
    text.extend(commits.chain(files));
    if let Some(more) = changes.files.len().checked_sub(DISCARDED_FILES).filter(|more| *more > 0) {
        let _ = writeln!(text, "- and {}", count(more, "further file", "further files"));
    }
    match &changes.refused {
        None => text.push_str(
            "\n`discard yes` throws them away. A branch keeps a copy for two weeks; files that git ignores stay.",
        ),
        Some(why) => {
            let _ = write!(
                text,
                "\nA copy cannot be kept: {} `discard yes without copy` removes the whole worktree.",
                sentence(&inert(why))
            );
        }
    }
    text
}

/// The room's changes are gone.
pub fn discarded(done: &DiscardedChanges) -> String {
    let commits = count(done.changes.commits.len(), "commit", "commits");
    let files = count(done.changes.files.len(), "uncommitted file", "uncommitted files");
    let what = format!("Discarded {commits} and {files}.");
    match &done.copy {
        Some(branch) => format!(
            "{what} The room follows the base branch again. The branch {} keeps a copy for two weeks; `git branch NAME {branch}` keeps it \
             longer. `reset` lets the agent forget what it did.",
            code_span(branch)
        ),
        None => {
            format!("{what} There is no copy. The next prompt makes a new worktree from the base branch.")
        }
    }
}

/// The heading of `git` in a room.
pub fn git_of_room(status: Option<&RoomStatus>, root: &Path) -> String {
    let Some(status) = status else { return "**The main checkout**\n\n".into() };
    let folder = status.folder.strip_prefix(root).unwrap_or(&status.folder);
    let mut text = format!(
        "**This room's worktree** {}: {}\n",
        code_span(&folder.display().to_string()),
        changes(&status.standing)
    );
    if !status.landed.is_empty() {
        let ids: Vec<String> = status.landed.iter().map(|id| format!("`{id}`")).collect();
        let _ = writeln!(text, "Landed and not merged yet: story {}", ids.join(", "));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_says_where_it_works_and_how_it_stands() {
        let worktree = Some((".storkit/worktrees/room-a".to_owned(), "room/a/work".to_owned()));
        let own = Some(RoomStanding { ahead: 1, behind: 2, uncommitted: 3 });
        insta::assert_snapshot!(room_place(&RoomPlace { worktree: worktree.clone(), own, ..RoomPlace::default() }, true), @"Works in `.storkit/worktrees/room-a` on `room/a/work`: 1 commit of its own, 3 files uncommitted, 2 commits behind the base branch");
        insta::assert_snapshot!(room_place(&RoomPlace { worktree, ..RoomPlace::default() }, true), @"Works in `.storkit/worktrees/room-a` on `room/a/work`");
        insta::assert_snapshot!(room_place(&RoomPlace::default(), false), @"Works in the main checkout.");
        let lacking = RoomPlace { missing_servers: vec!["db".into(), "docs".into()], ..RoomPlace::default() };
        insta::assert_snapshot!(room_place(&lacking, false), @r"
        Works in the main checkout.
        MCP servers that do not load: `db`, `docs`; `doctor` says why.
        ");
        insta::assert_snapshot!(room_place(&RoomPlace::default(), true), @"Works in a worktree of its own, which the next prompt makes ready.");
    }

    #[test]
    fn each_news_of_a_landed_story_has_its_sentence() {
        let news = |news| landing_news(StoryId(5), "Fix @it", &news).replace('\u{200b}', "");
        insta::assert_snapshot!(news(LandingNews::Begun), @"I was restarted while this room's changes were landed. They are story `5` **Fix @it** now.");
        insta::assert_snapshot!(news(LandingNews::Merged { commit: "0123456789abcdef".into() }), @"This room's changes are merged: story `5` **Fix @it**, commit `0123456789`. The room follows the base branch again.");
        insta::assert_snapshot!(news(LandingNews::SentBack { why: "a gate failed".into() }), @"This room's changes did not pass: a gate failed. A coder works on the branch of story `5` **Fix @it** now. This room's worktree stays as it is.");
        insta::assert_snapshot!(news(LandingNews::Deleted), @"Story `5` **Fix @it** is deleted. Its changes are still in this room's worktree.");
    }

    #[test]
    fn what_is_discarded_is_shown_before_and_where_it_is_kept_after() {
        let changes = RoomChanges {
            commits: vec!["0123abc Fix it".into()],
            files: vec!["new.txt".into()],
            refused: None,
        };
        insta::assert_snapshot!(confirm_discard(&changes), @r"
        This room's worktree has changes that the base branch does not have:

        - commit `0123abc Fix it`
        - not committed: `new.txt`

        `discard yes` throws them away. A branch keeps a copy for two weeks; files that git ignores stay.
        ");
        let many = RoomChanges {
            files: (0..22).map(|number| number.to_string()).collect(),
            refused: Some("A file is too large.".into()),
            ..RoomChanges::default()
        };
        let text = confirm_discard(&many);
        assert!(text.contains("- and 2 further files") && !text.contains("`20`"), "{text}");
        assert!(text.ends_with("A copy cannot be kept: A file is too large. `discard yes without copy` removes the whole worktree."), "{text}");
        let copy = Some("storkit/discarded/a-1".to_owned());
        insta::assert_snapshot!(discarded(&DiscardedChanges { changes: changes.clone(), copy }), @"Discarded 1 commit and 1 uncommitted file. The room follows the base branch again. The branch `storkit/discarded/a-1` keeps a copy for two weeks; `git branch NAME storkit/discarded/a-1` keeps it longer. `reset` lets the agent forget what it did.");
        insta::assert_snapshot!(discarded(&DiscardedChanges { changes, copy: None }), @"Discarded 1 commit and 1 uncommitted file. There is no copy. The next prompt makes a new worktree from the base branch.");
    }

    #[test]
    fn git_names_the_checkout_that_it_shows() {
        let status = RoomStatus {
            folder: "/p/.storkit/worktrees/room-a".into(),
            branch: "room/a/work".into(),
            base: "main".into(),
            standing: RoomStanding::default(),
            landed: vec![StoryId(3)],
        };
        insta::assert_snapshot!(git_of_room(Some(&status), Path::new("/p")), @r"
        **This room's worktree** `.storkit/worktrees/room-a`: level with the base branch
        Landed and not merged yet: story `3`
        ");
        insta::assert_snapshot!(git_of_room(None, Path::new("/p")), @"**The main checkout**");
    }
}
