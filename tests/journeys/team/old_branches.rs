//! A day on other branches than main: a feature branch, and one that is older than storkit.

use needs::needs;

use super::day::TeamDay;

#[tokio::test(flavor = "multi_thread")]
async fn a_day_on_a_feature_branch_and_on_one_that_is_older_than_storkit() {
    needs!(Claude);
    let mut day = TeamDay::begin();
    day.coders_stand(1..=3).await;
    day.ann.git(&["switch", "-q", "-c", "search"]);
    day.ann.commits("feature1.txt");
    day.lands(1).await;
    day.ann.writes("feature2.txt", "feature2.txt of Ann\n");
    day.ann.git(&["add", "-A"]);
    day.ann.git(&["commit", "-q", "-m", "add feature2.txt"]);
    assert_eq!(day.ann.git(&["show", "--format=", "--name-only", "search"]), "feature2.txt");
    day.ann.git(&["switch", "-q", "main"]);
    assert_eq!((day.ann.status().as_str(), day.ann.reads("story1.txt").as_str()), ("", "story 1\n"));
    day.ann.git(&["switch", "-q", "old"]);
    assert_eq!(day.ann.status(), "", "git shows nothing of storkit's on a branch without it");
    day.lands(2).await;
    day.ann.writes("old.txt", "old.txt of Ann\n");
    day.ann.git(&["add", "-A"]);
    day.ann.git(&["commit", "-q", "-m", "add old.txt"]);
    assert_eq!(day.ann.git(&["show", "--format=", "--name-only", "old"]), "old.txt");
    day.terminal.say("new story Number 4");
    day.terminal.see("Story `4` **Number 4** is in the backlog");
    day.ann.git(&["switch", "-q", "main"]);
    assert_eq!((day.ann.status().as_str(), day.ann.reads("story2.txt").as_str()), ("", "story 2\n"));
    day.ann.git(&["merge", "-q", "--no-edit", "search"]);
    day.ann.writes("draft.txt", "a draft\n");
    day.ann.git(&["stash", "-q", "--include-untracked"]);
    day.ann.git(&["clean", "-q", "-f", "-d"]);
    day.lands(3).await;
    day.ann.git(&["stash", "pop", "-q"]);
    assert_eq!(
        (day.ann.status().as_str(), day.ann.reads("draft.txt").as_str()),
        ("?? draft.txt", "a draft\n")
    );
    day.ann.git(&["clean", "-q", "-f", "-d"]);
    day.ann.git(&["push", "-q", "origin", "main", "search", "old"]);
    day.bob.git(&["pull", "-q"]);
    day.terminal.say("start 4");
    day.lands(4).await;
    for (branch, subject) in [
        ("main", "add feature1.txt"),
        ("search", "add feature2.txt"),
        ("old", "add old.txt"),
        ("main", "storkit: merge 1 Number 1"),
    ] {
        day.keeps(true, branch, subject);
    }
    day.end(1..=4);
}
