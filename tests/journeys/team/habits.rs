//! A day with what people do in git now and then: a detached HEAD, a bisect, another worktree, a clean-up, a wrong branch deleted.

use std::fs;

use needs::needs;

use super::day::TeamDay;

#[tokio::test(flavor = "multi_thread")]
async fn a_day_with_a_file_in_the_way_a_detached_head_a_bisect_and_a_clean_up() {
    needs!(Claude);
    let mut day = TeamDay::begin();
    day.coders_stand(1..=3).await;
    day.ann.writes("story1.txt", "of Ann\n");
    day.reviewer_stands(1).await;
    day.approve(1);
    day.terminal.see("files are in the way of its merge: story1.txt");
    assert_eq!(day.ann.reads("story1.txt"), "of Ann\n");
    fs::rename(day.ann.folder.join("story1.txt"), day.ann.folder.join("mine.txt")).expect("it moves");
    day.terminal.say("retry 1");
    day.has_landed(1);
    day.ann.git(&["add", "mine.txt"]);
    day.ann.git(&["commit", "-q", "-m", "add mine.txt"]);
    day.ann.git(&["switch", "-q", "--detach", "HEAD~1"]);
    day.ann.commits("detached.txt");
    day.lands(2).await;
    assert_eq!(day.ann.status(), "");
    day.ann.git(&["branch", "aside"]);
    day.ann.git(&["bisect", "start", "main", "old"]);
    day.reviewer_stands(3).await;
    day.close_the_door();
    day.approve(3);
    let gates = day.merge_stands();
    day.ann.git(&["bisect", "good"]);
    // What no branch has goes at once: the merge that is being gated must not be among it.
    day.ann.git(&["gc", "-q", "--prune=now"]);
    day.open_the_door();
    drop(gates);
    day.has_landed(3);
    day.ann.git(&["bisect", "reset"]);
    day.ann.git(&["switch", "-q", "main"]);
    assert_eq!((day.ann.status().as_str(), day.ann.reads("story3.txt").as_str()), ("", "story 3\n"));
    day.keeps(true, "main", "add mine.txt");
    day.keeps(true, "aside", "add detached.txt");
    day.end(1..=3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_with_another_worktree_a_renamed_main_and_a_lost_board() {
    needs!(Claude);
    let mut day = TeamDay::begin();
    day.coders_stand(1..=3).await;
    day.until_board_is(&[]);
    day.ann.git(&["push", "-q", "origin", "storkit/board"]);
    day.bob.git(&["fetch", "-q", "origin", "storkit/board:storkit/board"]);
    day.ann.git(&["switch", "-q", "-c", "topic"]);
    day.ann.commits("topic.txt");
    let review = day.ann.folder.with_file_name("review");
    day.ann.git(&["worktree", "add", "-q", review.to_str().expect("text"), "main"]);
    day.lands(1).await;
    let in_review =
        |day: &TeamDay, args: &[&str]| day.ann.git(&[&["-C", review.to_str().expect("text")], args].concat());
    assert_eq!(in_review(&day, &["status", "--porcelain"]), "");
    assert_eq!(fs::read_to_string(review.join("story1.txt")).expect("it follows"), "story 1\n");
    day.ann.git(&["worktree", "remove", review.to_str().expect("text")]);
    day.ann.git(&["branch", "-q", "-D", "storkit/board"]);
    day.lands(2).await;
    day.ann.git(&["push", "-q", "origin", "storkit/board"]);
    day.bob.git(&["push", "-q", "--force", "origin", "storkit/board"]);
    day.ann.git(&["fetch", "-q", "--prune"]);
    day.ann.git(&["push", "-q", "origin", "storkit/board"]);
    day.reviewer_stands(3).await;
    day.ann.git(&["branch", "-m", "main", "trunk"]);
    day.approve(3);
    day.terminal.see("There is no branch `main` to merge to");
    day.ann.git(&["branch", "-m", "trunk", "main"]);
    day.terminal.say("retry 3");
    day.has_landed(3);
    day.ann.git(&["switch", "-q", "main"]);
    day.keeps(true, "topic", "add topic.txt");
    day.end(1..=3);
}
