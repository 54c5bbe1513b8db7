//! `storkit migrate` and `storkit doctor --audit`, as an operator runs them.

use std::{fs, process::Command};

use e2e::Program;

fn git(program: &Program, arguments: &[&str]) {
    let identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"];
    let run = Command::new("git").arg("-C").arg(program.project()).args(identity).args(arguments).output();
    let run = run.expect("git runs");
    assert!(run.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&run.stderr));
}

/// Exit code and standard output.
fn said(program: &Program, arguments: &[&str]) -> (Option<i32>, String) {
    let run = program.run(arguments, "");
    (run.status.code(), String::from_utf8_lossy(&run.stdout).into_owned())
}

#[test]
fn an_older_folder_is_migrated_and_a_story_done_without_a_merge_is_found() {
    let program = Program::with_stand_in();
    let story = "---\nname: A\n---\n\nText.\n";
    for path in [".story_kit/work/1_upcoming/1_story_a.md", ".story_kit/work/5_done/2_bug_b.md"] {
        let path = program.file(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
        fs::write(path, story).expect("it is written");
    }
    git(&program, &["add", ".story_kit"]);
    git(&program, &["commit", "-q", "-m", "stories"]);
    let (code, text) = said(&program, &["migrate"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("Moved 2 files"), "{text}");
    assert!(text.contains("Moved 2 stories from `main` to the branch `storkit/board`"), "{text}");
    git(&program, &["diff", "--quiet", "HEAD"]);
    assert_eq!(
        fs::read_to_string(program.file(".storkit/work/1_backlog/1_story_a.md")).expect("moved"),
        story
    );
    assert_eq!(said(&program, &["migrate"]), (Some(0), "There is nothing to migrate.\n".into()));

    let (code, text) = said(&program, &["doctor", "--audit"]);
    assert_eq!((code, text.lines().count()), (Some(1), 1), "{text}");
    assert!(text.contains("Story `2` is in done, but no commit on base merged it"), "{text}");
    fs::remove_file(program.file(".storkit/work/5_done/2_bug_b.md")).expect("removed");
    let (code, text) = said(&program, &["doctor", "--audit"]);
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn the_audit_finds_a_forged_proof_a_story_in_two_stages_and_an_orphan_worktree() {
    let program = Program::with_stand_in();
    let write = |path: &str, text: &str| {
        let path = program.file(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("it is made");
        fs::write(path, text).expect("it is written");
    };
    let nothing = "0".repeat(40);
    let proof = serde_json::json!({
        "story": 1, "file": "1_story_a.md", "base": "main", "before": nothing, "commit": "1".repeat(40),
        "tree": nothing, "diff": { "files": 1, "insertions": 1, "deletions": 0 }, "gates": [], "at": 0,
    });
    let story = "---\nname: A\n---\n\nText.\n";
    write(".storkit/work/5_done/1_story_a.md", story);
    write(".storkit/proofs/1.json", &proof.to_string());
    write(".storkit/work/1_backlog/2_story_b.md", story);
    write(".storkit/work/3_qa/2_story_b.md", story);
    fs::create_dir_all(program.file(".storkit/worktrees/9_gone")).expect("it is made");
    let (code, text) = said(&program, &["doctor", "--audit"]);
    assert_eq!((code, text.lines().count()), (Some(1), 3), "{text}");
    for found in [
        "The proof of story `1` is wrong: the repository has no commit",
        "Story `2` is in two places: `.storkit/work/1_backlog/2_story_b.md`, `.storkit/work/3_qa/2_story_b.md`",
        "The worktree `.storkit/worktrees/9_gone` belongs to no story in work",
    ] {
        assert!(text.contains(found), "{found}: {text}");
    }
}
