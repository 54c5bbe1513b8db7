//! Attacks that read what belongs to the operator or to other runs.

use std::{
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixListener},
    },
    path::PathBuf,
};

use agents::{
    attacks::{OPERATORS_FILES, SYSTEM_SECRETS},
    confine::HostFolders,
};
use needs::needs;
use tokio_util::sync::CancellationToken;

use super::AttackedWorktree;
use crate::gates::GateRunner;

/// Connects to the Unix socket in its argument; a name that begins with `@` is an abstract one.
const CONNECT: &str = "perl -MSocket -e 'socket(my $s, AF_UNIX, SOCK_STREAM, 0) or die; my $n = $ARGV[0]; $n =~ s/^@/\\0/; \
     connect($s, pack(\"S a*\", AF_UNIX, $n)) or exit 1'";

#[test]
fn code_reads_the_ignored_files_of_the_main_checkout() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    for name in [".env", "secrets/key.pem", "a.txt.bak"] {
        let path = machine.secret(&machine.root().join(name));
        machine.stops(&format!("cat '{}'", path.display()));
        machine.stops(&format!("cat ../../../{name}"));
    }
}

#[test]
fn code_reads_another_project() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    for path in ["other/.env", "home/src/other/.env", "home/work/main.rs"] {
        let path = machine.secret(&machine.root().with_file_name(path));
        machine.stops(&format!("cat '{}'", path.display()));
    }
}

#[test]
fn code_reads_the_operators_keys_and_tokens() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    for name in OPERATORS_FILES {
        let path = machine.secret(&machine.home().join(name));
        machine.stops(&format!("cat '{}'", path.display()));
    }
    let settings = machine.secret(&machine.home().join(".gitconfig"));
    machine.stops(&format!("grep operator '{}'", settings.display()));
}

#[test]
fn code_reads_storkits_own_state() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    for name in [
        "bot.toml",
        "specs/00_CONTEXT.md",
        "logs/storkit.log",
        "matrix/session.json",
        "run/operator-mcp.json",
        "state/state.db",
        "worktrees/.private/7_x/tip",
    ] {
        let path = machine.secret(&machine.root().join(".storkit").join(name));
        machine.stops(&format!("cat '{}'", path.display()));
    }
}

#[test]
fn code_reads_another_runs_worktree() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    let other = machine.fixture.prepare("8_y");
    machine.secret(&other.path().join("plan.txt"));
    machine.stops("cat ../slot-2/plan.txt");
    machine.stops("cat \"$ROOT/.git/worktrees/slot-2/HEAD\"");
    machine.stops("ls ../.private/8_y");
}

#[test]
fn code_reads_credentials_from_gits_configuration() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    let secret = super::SECRET;
    let address = format!("https://ann:{secret}@example.org/x.git");
    machine.fixture.git(&["remote", "add", "origin", &address]);
    machine.fixture.git(&[
        "config",
        "http.https://example.org/.extraheader",
        &format!("Authorization: {secret}"),
    ]);
    machine.fixture.git(&["config", "credential.helper", &format!("!echo {secret}")]);
    machine.fixture.git(&["config", "core.pager", &format!("sh -c {secret}")]);
    machine.worktree.enclose().expect("a place");
    machine.stops(&format!("grep -q {secret} \"$ROOT/.git/config\""));
    machine.stops("git config --get http.https://example.org/.extraheader");
    machine.stops("git config --get credential.helper");
    machine.allows("test \"$(git remote get-url origin)\" = https://example.org/x.git");
    machine.allows("git config --get-all remote.origin.fetch");
}

#[test]
fn code_connects_to_the_operators_agents_and_services() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    let beside = machine.root().with_file_name("run");
    std::fs::create_dir_all(machine.home().join(".gnupg")).expect("a folder");
    std::fs::create_dir_all(&beside).expect("a folder");
    let names = ["docker.sock", "bus", "ssh-agent", "console.sock"].map(|name| beside.join(name));
    let below_tmp = tempfile::tempdir_in("/tmp").expect("a folder");
    let more = [machine.home().join(".gnupg/S.gpg-agent"), below_tmp.path().join("agent.1")];
    for path in names.into_iter().chain(more) {
        let _listener = UnixListener::bind(&path).expect("a socket");
        machine.stops(&format!("{CONNECT} '{}'", path.display()));
    }
}

#[test]
fn code_connects_to_an_abstract_socket() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    let name = format!("storkit-test-{}", std::process::id());
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _listener = UnixListener::bind_addr(&address).expect("a socket");
    machine.stops(&format!("{CONNECT} '@{name}'"));
}

#[test]
fn code_reads_the_environment_of_storkit_and_kills_it() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    machine.stops("cat /proc/$STORKIT_PID/environ > /dev/null");
    machine.stops("kill -0 $STORKIT_PID");
    machine.stops("ls /proc/$STORKIT_PID/root/");
    // Of the processes outside there is none: these are the wall's and the script's.
    AttackedWorktree::with_namespaces().stops("test $(ls -d /proc/[0-9]* | wc -l) -ge 9");
}

#[test]
fn code_reads_what_only_root_or_a_service_may() {
    needs!(Bubblewrap);
    let (machine, with_namespaces) = (AttackedWorktree::new(), AttackedWorktree::with_namespaces());
    for path in
        SYSTEM_SECRETS.into_iter().filter(|path| !path.starts_with("/dev") && !path.starts_with("/proc"))
    {
        machine.stops_inside(&format!("ls {path}/ 2> /dev/null || cat {path}"));
        with_namespaces.stops_inside(&format!("test -e {path}"));
    }
    with_namespaces.stops_inside("ls /dev | grep -E '^(vd|sd|nvme|kvm|mem|kmsg|fuse|loop)'");
    machine.stops_inside("head -c 1 /dev/vda /dev/sda /dev/mem /dev/kmsg 2> /dev/null | grep -q .");
    machine.stops_inside("head -c 1 /proc/kcore | grep -q .");
}

#[tokio::test]
async fn a_gate_uses_an_open_file_of_storkits() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    let folder = std::fs::File::open("/").expect("a folder");
    // Without `CLOEXEC`, as one that storkit's own parent left open.
    let leaked = rustix::io::dup(&folder).expect("a descriptor");
    let number = std::os::fd::AsRawFd::as_raw_fd(&leaked);
    let attack = format!("ls /proc/self/fd/{number}/");
    assert!(machine.outside(&attack).status.success(), "it is passed on otherwise");
    for wall in [None, Some(machine.confined.clone()), machine.landlock.clone()] {
        let gate = GateRunner { commands: vec![attack.clone()], wall, ..GateRunner::default() };
        let report = gate.run(machine.worktree.path(), "", &CancellationToken::new()).await.expect("it runs");
        assert!(!report.passed(), "{report:?}");
    }
}

#[test]
fn code_reaches_a_file_through_a_link_that_it_left_in_its_worktree() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    let secret = machine.secret(&machine.home().join(".ssh/id"));
    let secret = secret.display().to_string();
    machine.stops(&format!("ln -sf '{secret}' link && cat link"));
    // As a run without a wall could have left it: no wall may show what the link names.
    let link = machine.worktree.path().join(".git");
    let swap = || {
        std::fs::remove_file(&link).expect("a file");
        std::os::unix::fs::symlink(&secret, &link).expect("a link");
    };
    for (whom, output) in machine.everywhere_after(swap, "cat .git") {
        assert!(!String::from_utf8_lossy(&output.stdout).contains(super::SECRET), "{whom}: {output:?}");
    }
    assert!(!link.is_symlink(), "it is put right");
}

#[test]
fn a_home_folder_that_is_the_project_shows_nothing_else_of_it() {
    needs!(Bubblewrap);
    let mut machine = AttackedWorktree::new();
    let root = machine.root();
    machine.change_host(|host| {
        *host = HostFolders { programs: host.programs.clone(), ..HostFolders::of_home(&root) };
    });
    let secret: PathBuf = machine.secret(&machine.root().join(".ssh/id"));
    machine.stops(&format!("cat '{}'", secret.display()));
    machine.allows("git log -1 && touch ~/mine");
    assert!(!machine.root().join("mine").exists());
}
