//! A day with pulls: main moves in Ann's checkout and in Bob's, and stories land in between.

use needs::needs;

use super::day::TeamDay;

#[tokio::test(flavor = "multi_thread")]
async fn a_day_with_pulls_stashes_amendments_and_cherry_picks() {
    needs!(Claude);
    let mut day = TeamDay::begin();
    day.coders_stand(1..=2).await;
    day.bob.commits("bob1.txt");
    day.bob.git(&["push", "-q"]);
    day.ann.git(&["pull", "-q"]);
    day.ann.commits("ann1.txt");
    day.bob.commits("bob2.txt");
    day.bob.git(&["push", "-q"]);
    day.ann.git(&["pull", "-q", "--rebase"]);
    day.reviewer_stands(1).await;
    day.ann.writes("ann1.txt", "ann1.txt, amended\n");
    day.ann.git(&["commit", "-q", "--amend", "--no-edit", "ann1.txt"]);
    day.approve(1);
    day.has_landed(1);
    // From here on Ann has a landed story that nobody else has.
    day.coders_stand(3..=3).await;
    day.bob.commits("bob3.txt");
    day.bob.git(&["push", "-q"]);
    day.ann.writes("shared.txt", "in the middle of something\n");
    day.ann.git(&["stash", "-q"]);
    day.ann.git(&["pull", "-q", "--rebase"]);
    day.ann.git(&["stash", "pop", "-q"]);
    assert_eq!(day.ann.status(), " M shared.txt");
    day.reviewer_stands(2).await;
    day.close_the_door();
    day.approve(2);
    let gates = day.merge_stands();
    day.bob.commits("bob4.txt");
    day.bob.git(&["push", "-q"]);
    day.ann.git(&["pull", "-q", "--rebase", "--autostash"]);
    day.open_the_door();
    drop(gates);
    day.has_landed(2);
    assert_eq!(day.ann.status(), " M shared.txt");
    day.ann.git(&["commit", "-q", "-am", "change shared.txt"]);
    day.ann.git(&["push", "-q"]);
    day.bob.git(&["pull", "-q"]);
    // What storkit landed goes to a release, and from there back to main.
    day.bob.git(&["switch", "-q", "-c", "release", "origin/old"]);
    let landed = day.bob.git(&["log", "--reverse", "--format=%H", "--grep=^Storkit-Story:", "main"]);
    for commit in landed.lines() {
        day.bob.git(&["cherry-pick", "-x", commit]);
    }
    day.bob.commits("release.txt");
    day.bob.git(&["push", "-q", "-u", "origin", "release"]);
    day.bob.git(&["switch", "-q", "main"]);
    day.ann.git(&["fetch", "-q"]);
    day.ann.git(&["cherry-pick", "origin/release"]);
    day.ann.git(&["merge", "-q", "--no-edit", "origin/release"]);
    day.lands(3).await;
    day.coders_stand(4..=4).await;
    day.bob.commits("bob5.txt");
    day.bob.git(&["push", "-q"]);
    day.ann.git(&["pull", "-q", "--no-rebase", "--no-edit"]);
    day.lands(4).await;
    day.ann.git(&["push", "-q"]);
    day.bob.git(&["pull", "-q"]);
    for subject in ["add ann1.txt", "change shared.txt", "add bob1.txt", "add bob5.txt"] {
        day.keeps(true, "main", subject);
    }
    day.keeps(false, "release", "add release.txt");
    day.end(1..=4);
}
