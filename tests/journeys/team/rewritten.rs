//! A day with a rewritten main: interactive rebases with landed stories among the commits, and a force push.

use needs::needs;

use super::day::TeamDay;

#[tokio::test(flavor = "multi_thread")]
async fn a_day_with_interactive_rebases_and_a_force_push() {
    needs!(Claude);
    let mut day = TeamDay::begin();
    day.coders_stand(1..=2).await;
    day.ann.commits("ann1.txt");
    day.lands(1).await;
    day.ann.commits("ann2.txt");
    day.ann.commits("dropped.txt");
    day.lands(2).await;
    day.ann.commits("ann3.txt");
    // Their branches have a commit that Ann drops.
    day.coders_stand(3..=4).await;
    let list = [
        ("pick", "storkit: merge 2 Number 2"),
        ("pick", "add ann1.txt"),
        ("fixup", "add ann3.txt"),
        ("pick", "storkit: merge 1 Number 1"),
        ("break", ""),
        ("pick", "add ann2.txt"),
    ];
    day.reviewer_stands(3).await;
    let (is_stopped, said) = day.ann.rebases("origin/main", &list);
    assert!(is_stopped, "{said}");
    // A story comes to its landing in the middle of the rebase.
    day.approve(3);
    day.waits_for_base(3);
    day.ann.git(&["rebase", "--continue"]);
    day.has_landed(3);
    assert_eq!(day.ann.status(), "");
    day.ann.commits("ann4.txt");
    let (is_stopped, said) = day.ann.rebases("HEAD~2", &[("pick", "add ann4.txt"), ("break", "")]);
    assert!(is_stopped, "{said}");
    day.reviewer_stands(4).await;
    day.approve(4);
    day.waits_for_base(4);
    day.ann.git(&["rebase", "--abort"]);
    day.has_landed(4);
    day.ann.git(&["push", "-q"]);
    day.bob.git(&["pull", "-q"]);
    day.bob.commits("bob1.txt");
    let list = [
        ("pick", "add bob1.txt"),
        ("pick", "storkit: merge 4 Number 4"),
        ("pick", "add ann4.txt"),
        ("pick", "storkit: merge 3 Number 3"),
        ("pick", "storkit: merge 1 Number 1"),
        ("reword", "storkit: merge 2 Number 2"),
        ("pick", "add ann1.txt"),
        ("pick", "add ann2.txt"),
    ];
    let (is_done, said) = day.bob.rebases("origin/main~7", &list);
    assert!(is_done, "{said}");
    day.bob.git(&["push", "-q", "--force"]);
    day.ann.commits("ann5.txt");
    day.ann.git(&["pull", "-q", "--rebase"]);
    day.ann.git(&["push", "-q"]);
    day.bob.git(&["commit", "-q", "--amend", "-m", "add ann2.txt, reworded"]);
    day.bob.git(&["fetch", "-q"]);
    day.bob.git(&["cherry-pick", "origin/main"]);
    day.bob.git(&["push", "-q", "--force"]);
    day.ann.git(&["fetch", "-q"]);
    day.ann.git(&["reset", "-q", "--hard", "origin/main"]);
    assert_eq!(day.ann.git(&["log", "--format=%s", "--", "dropped.txt"]), "");
    assert_eq!(day.ann.reads("ann3.txt"), "ann3.txt of Ann\n", "it is in the commit of ann1.txt");
    for subject in ["add ann1.txt", "add ann2.txt, reworded", "add ann4.txt", "add ann5.txt", "add bob1.txt"]
    {
        day.keeps(true, "main", subject);
    }
    day.end(1..=4);
}
