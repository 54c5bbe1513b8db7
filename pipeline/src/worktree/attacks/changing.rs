//! Attacks that leave something for the operator, or for another run, to run later.

use std::fs;

use agents::attacks::{CACHED_PACKAGES, HOME_PROGRAMS};
use needs::needs;

use super::AttackedWorktree;

#[test]
fn code_edits_a_cached_package_that_the_operator_runs_later() {
    needs!(Bubblewrap);
    // Behind Landlock caches cannot be joined, so they start empty.
    let landlock = AttackedWorktree::new();
    let machine = AttackedWorktree::with_namespaces();
    for name in CACHED_PACKAGES {
        let path = machine.home().join(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, "good\n").expect("a file");
        // Warm: what is there outside is there inside.
        machine.allows(&format!(
            "grep -q good '{0}' && echo evil >> '{0}' && echo new > '{0}.new'",
            path.display()
        ));
        // And stays as it was changed, for this worktree alone.
        machine.allows(&format!("grep -q evil '{}'", path.display()));
        assert_eq!(fs::read_to_string(&path).expect("a file"), "good\n", "{name}");
        assert!(!path.with_extension("new").exists(), "{name}");
        let other = landlock.secret(&landlock.home().join(name));
        landlock.everywhere(&format!(
            "echo evil >> '{0}'; mkdir -p $(dirname ~/{name}) && echo evil > ~/{name}",
            other.display()
        ));
        assert!(!fs::read_to_string(&other).expect("a file").contains("evil"), "{name}");
        let below = fs::read_dir(path.parent().expect("a folder")).expect("a folder").count();
        assert_eq!(below, 1, "{name}");
    }
    let mut other = AttackedWorktree::new();
    other.confined.place = machine.fixture.prepare("8_y").enclose().expect("a place");
    assert!(!other.as_gate("grep -rq evil ~/.npm ~/.cargo").status.success());
}

#[test]
fn code_writes_what_the_operators_next_session_executes() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    let claude = machine.home().join(".claude");
    fs::create_dir_all(claude.join("shell-snapshots")).expect("a folder");
    fs::write(claude.join("shell-snapshots/snapshot.sh"), "good\n").expect("a file");
    fs::write(claude.join("settings.json"), "{}").expect("a file");
    let plant = "cd ~ && mkdir -p .claude/shell-snapshots .claude/plugins && echo evil >> .claude/shell-snapshots/snapshot.sh && \
         echo evil > .claude/plugins/x; for f in .bashrc .profile .gitconfig .npmrc .cargo/config.toml .config/go/env \
         .config/autostart/x.desktop .ssh/authorized_keys .local/bin/ls .cargo/bin/cargo; do mkdir -p $(dirname $f); \
         echo evil >> $f; done; exit 0";
    machine.allows(plant);
    machine.stops_inside(
        "echo '{\"hooks\": 1}' > ~/.claude/settings.json && test -s ~/.claude/settings.json && exit 1",
    );
    let mut found = Vec::new();
    files_below(&machine.home(), &mut found);
    let evil = |path: &std::path::PathBuf| fs::read_to_string(path).unwrap_or_default().contains("evil");
    assert_eq!(found.iter().filter(|path| evil(path)).collect::<Vec<_>>(), Vec::<&std::path::PathBuf>::new());
    assert_eq!(fs::read_to_string(claude.join("settings.json")).expect("a file"), "{}");
}

fn files_below(folder: &std::path::Path, found: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        match entry.file_type().expect("a kind").is_dir() {
            true => files_below(&entry.path(), found),
            false => found.push(entry.path()),
        }
    }
}

#[test]
fn a_gate_finds_state_of_the_agent() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    let said = machine
        .as_agent("echo left > ~/left; echo left > /tmp/left; echo left > ~/.claude/left; ls -a ~/.claude");
    assert!(String::from_utf8_lossy(&said.stdout).contains("projects"), "{said:?}");
    for path in ["~/left", "/tmp/left", "/var/tmp/left", "~/.claude"] {
        assert!(!machine.as_gate(&format!("ls {path}")).status.success(), "{path}");
    }
    assert!(!machine.as_agent("ls ~/.claude/left").status.success());
}

#[test]
fn a_sessions_transcript_is_lost_for_the_storys_next_run() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    let script = "slug=$(pwd | sed 's/[^A-Za-z0-9]/-/g'); cd ~/.claude/projects/$slug";
    assert!(machine.as_agent(&format!("{script} && echo said > session.jsonl")).status.success());
    assert!(machine.as_agent(&format!("{script} && grep -q said session.jsonl")).status.success());
    assert!(machine.worktree.layout().private.join("sessions/session.jsonl").is_file());
}

#[test]
fn code_replaces_a_toolchain_or_the_cli() {
    needs!(Bubblewrap);
    let mut machine = AttackedWorktree::new();
    let cli = machine.root().with_file_name("cli");
    for path in HOME_PROGRAMS.map(|name| machine.home().join(name)).into_iter().chain([cli.clone()]) {
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(&path, "good\n").expect("a file");
        if path == cli {
            machine.change_host(|host| host.programs.push(cli.clone()));
        }
        let shown = path.display();
        machine.allows(&format!("grep -q good '{shown}'"));
        machine.stops_inside(&format!("echo evil >> '{shown}'"));
        machine.stops_inside(&format!("rm -f '{shown}' && test ! -e '{shown}'"));
        // Landlock has no rule for modes.
        let landlock = machine.landlock.take();
        machine.stops_inside(&format!("chmod 777 '{shown}'"));
        machine.landlock = landlock;
        assert_eq!(fs::read_to_string(&path).expect("a file"), "good\n");
    }
}

#[test]
fn code_changes_the_repository_that_the_operators_git_reads() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    let with_namespaces = AttackedWorktree::with_namespaces();
    let config = fs::read(machine.root().join(".git/config")).expect("a file");
    for script in [
        "echo evil > \"$ROOT/.git/hooks/post-merge\"",
        "git -C \"$ROOT\" config core.pager evil",
        "git config --local credential.helper evil",
        "echo evil >> \"$ROOT/.git/config\"",
        "echo evil > \"$ROOT/.git/info/attributes\"",
        "echo evil > \"$ROOT/.git/refs/heads/evil\"",
        "echo evil > ../.hooks/pre-commit",
        "echo evil > \"$ROOT/.gitmodules\"",
        "echo 'gates = []' > \"$ROOT/.storkit/project.toml\"",
    ] {
        with_namespaces.stops_inside(script);
        // Behind Landlock some change a private copy, which is gone with the process.
        machine.everywhere(script);
    }
    assert_eq!(fs::read(machine.root().join(".git/config")).expect("a file"), config);
    for name in [".git/hooks/post-merge", ".git/info/attributes", ".git/refs/heads/evil", ".gitmodules"] {
        assert!(!machine.root().join(name).exists(), "{name}");
    }
}

#[test]
fn code_prepares_a_link_for_the_next_mount() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    let victim = machine.root().with_file_name("victim");
    fs::create_dir_all(&victim).expect("a folder");
    // Where the next process's mounts are made, to the machine's own files as bubblewrap sees them, and as a path.
    for target in
        [format!("/oldroot{}", victim.display()), format!("../../../../../oldroot{}", victim.display())]
    {
        let swap = format!(
            "cd ~; mv .cargo .moved; mv .npm .moved-too; ln -s '{target}' .cargo; ln -s '{target}' .npm; cd /tmp; ln -s '{target}' x; \
             cd \"$ROOT\"; cd ..; mv project moved; ln -s '{target}' project; exit 0"
        );
        machine.allows(&swap);
        machine.allows("git log -1 && touch ~/.cargo/mine ~/.npm/mine");
        assert_eq!(fs::read_dir(&victim).expect("a folder").count(), 0, "{target}");
    }
}

#[test]
fn code_reaches_a_file_by_a_hard_link_in_its_worktree() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    let secret = machine.secret(&machine.root().join(".env"));
    // A hard link to a file outside, made while the worktree is on the same file system.
    machine.stops(&format!("ln -f '{}' linked && cat linked", secret.display()));
    // Nor to what is shown read-only: another mount.
    machine.stops_inside("ln -f /bin/sh ./sh && test -e ./sh");
    machine.stops_inside("ln -f \"$ROOT/.storkit/project.toml\" ./settings && echo evil >> ./settings");
}
