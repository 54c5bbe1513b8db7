//! Attacks on the wall itself: namespaces, mounts, system calls, terminals.

use std::process::Command;

use agents::attacks::SYSTEM_CALLS;
use needs::needs;
use tokio_util::sync::CancellationToken;

use super::AttackedWorktree;
use crate::gates::GateRunner;

/// Makes the system call in its arguments; fails with its error's number where that is denied or missing.
const CALL: &str = "perl -e 'exit 0 if syscall($ARGV[0] + 0, map { $_ + 0 } @ARGV[1 .. 5]) >= 0; exit($! == 1 ? 101 : $! == 38 ? 138 : 0)'";

#[test]
fn code_debugs_mounts_or_makes_a_namespace() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    for call in &SYSTEM_CALLS {
        let name = call.name;
        let arguments = call.arguments.map(|argument| argument.to_string()).join(" ");
        let expected = if matches!(name, "clone3" | "io_uring_setup") { 138 } else { 101 };
        for (whom, output) in machine.everywhere(&format!("{CALL} {} {arguments}", call.number)) {
            assert_eq!(output.status.code(), Some(expected), "{whom}: {name}: {output:?}");
        }
    }
    // The same calls by x32's numbers.
    if cfg!(target_arch = "x86_64") {
        assert_eq!(
            machine.as_gate(&format!("{CALL} {} 0 0 0 0 0", 0x4000_0000_u32 + 521)).status.code(),
            Some(101)
        );
    }
    machine.stops("unshare --user --map-root-user true");
    machine.stops("unshare --user --mount --map-root-user mount -t tmpfs none /mnt");
    machine.stops("bwrap --ro-bind / / true");
    machine.stops_inside("mount -o remount,rw /usr");
    machine.stops_inside("umount -l /tmp");
}

#[test]
fn code_gains_privileges() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    machine.allows(
        "grep -q 'NoNewPrivs:.1' /proc/self/status && grep -q 'CapEff:.0000000000000000' /proc/self/status",
    );
    // A program that the kernel runs as root outside of every namespace.
    // Opened and not written: this is the kernel of the machine that runs the tests.
    machine.stops_inside("exec 3>> /proc/sys/kernel/core_pattern");
    machine.stops_inside("exec 3>> /proc/sysrq-trigger");
    machine.stops_inside("echo evil > /usr/bin/evil");
    machine.stops_inside("echo evil > /evil");
    machine.stops_inside("mknod disk b 254 0");
}

#[test]
fn code_calls_the_host_of_this_machine() {
    needs!(Bubblewrap);
    let machine = AttackedWorktree::new();
    // AF_VSOCK, which belongs to no network namespace.
    machine.stops_inside("perl -MSocket -e 'socket(my $s, 40, SOCK_STREAM, 0) or exit 1'");
    machine.allows("perl -MSocket -e 'socket(my $s, AF_INET, SOCK_STREAM, 0) or exit 1'");
}

/// Puts a line feed into the input of the terminal that this process was started in.
const TYPE: &str = "perl -e 'open(my $tty, \"+<\", \"/dev/tty\") or exit 2; my $key = \"\\n\"; ioctl($tty, 0x5412, $key) or exit 3'";

/// Set for the test below when it runs in a terminal.
const IN_TERMINAL: &str = "STORKIT_TEST_IN_TERMINAL";

#[tokio::test]
async fn a_gate_types_into_the_operators_terminal() {
    needs!(Bubblewrap);
    if std::env::var_os(IN_TERMINAL).is_none() {
        // Again, in a terminal of its own: script(1) is a part of util-linux.
        let tests = std::env::current_exe().expect("this program");
        let line = format!(
            "{} --exact worktree::attacks::system::a_gate_types_into_the_operators_terminal --nocapture",
            tests.display()
        );
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env(IN_TERMINAL, "1");
        let output = command.stdin(std::process::Stdio::null()).output().expect("script runs");
        assert!(output.status.success(), "{output:?}");
        return;
    }
    let machine = AttackedWorktree::new();
    assert_eq!(machine.outside(TYPE).status.code(), Some(0), "this process has a terminal");
    for wall in [None, Some(machine.confined.clone()), machine.landlock.clone()] {
        let gate = GateRunner { commands: vec![TYPE.into()], wall, ..GateRunner::default() };
        let report = gate.run(machine.worktree.path(), "", &CancellationToken::new()).await.expect("it runs");
        assert_eq!(report.results[0].code, Some(2), "there is no terminal: {report:?}");
    }
    // Nor is there a way to open it by its name.
    let device = std::fs::read_link("/proc/self/fd/1").unwrap_or_default();
    machine.stops_inside(&format!("echo evil > '{}'", device.display()));
}
