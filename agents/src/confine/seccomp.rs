//! Filters of system calls, as BPF: inside a wall nobody debugs or mounts, makes namespaces, talks to the kernel's
//! keyring, or types into a terminal.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Seek as _, Write as _},
};

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

/// Denied, whatever their arguments.
const DENIED: [libc::c_long; 51] = [
    libc::SYS_acct,
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_chroot,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_fanotify_init,
    libc::SYS_finit_module,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_init_module,
    libc::SYS_kcmp,
    libc::SYS_kexec_file_load,
    libc::SYS_kexec_load,
    libc::SYS_keyctl,
    libc::SYS_lookup_dcookie,
    libc::SYS_migrate_pages,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_move_pages,
    libc::SYS_name_to_handle_at,
    libc::SYS_nfsservctl,
    libc::SYS_open_by_handle_at,
    libc::SYS_open_tree,
    libc::SYS_perf_event_open,
    libc::SYS_pidfd_getfd,
    libc::SYS_pivot_root,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_request_key,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_setns,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_umount2,
    libc::SYS_userfaultfd,
    libc::SYS_vhangup,
    // Further ways to mount, newer than the `libc` crate's names; the same number on all machines (syscall(2)).
    467, // open_tree_attr
    // A list of the mounts shows the operator's folders.
    457, // statmount
    458, // listmount
];

/// Answered as by a kernel that does not have them. The arguments of `clone3` are in memory, where a filter cannot read them; a C library
/// then uses `clone`. Calls of an `io_uring` pass no filter at all.
const MISSING: [libc::c_long; 4] =
    [libc::SYS_clone3, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register];

/// Memory, semaphores and queues that programs of one user find by a number or a name.
const SHARED: [libc::c_long; 12] = [
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    libc::SYS_msgctl,
    libc::SYS_msgget,
    libc::SYS_msgrcv,
    libc::SYS_msgsnd,
    libc::SYS_semctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_shmget,
];

/// Flags that make a namespace (clone(2)). `CLONE_NEWTIME` is one for `unshare` only.
const NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];
const CLONE_NEWTIME: libc::c_int = 0x80;

/// Put a character into a terminal's input, or into the console's.
const TIOCSTI: u64 = 0x5412;
const TIOCLINUX: u64 = 0x541c;

/// The number of a system call of the x32 ABI, which has the same architecture as others have on x86-64.
#[cfg(target_arch = "x86_64")]
const X32_BIT: u32 = 0x4000_0000;

/// The filters as bubblewrap reads them, by file name.
///
/// # Errors
/// On a machine whose system calls are not known here.
pub(super) fn filters() -> io::Result<Vec<(&'static str, Vec<u8>)>> {
    programs().map(|programs| programs.into_iter().map(|(name, program)| (name, bytes(&program))).collect())
}

/// A filter in a file, to try bubblewrap out with.
pub(super) fn sample() -> io::Result<fs::File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(&bytes(&filter(denied()?, libc::EPERM)?))?;
    file.rewind()?;
    Ok(file)
}

/// Each filter's name in [`filters`], in the order of their file descriptors.
pub(super) const NAMES: [&str; 3] = ["denied", "missing", "foreign"];

pub(super) fn programs() -> io::Result<Vec<(&'static str, BpfProgram)>> {
    let programs = [filter(denied()?, libc::EPERM)?, filter(missing(), libc::ENOSYS)?, foreign()];
    Ok(NAMES.into_iter().zip(programs).collect())
}

/// The filters for a process that shares the machine's namespaces: [`programs`], and no way to other processes of the user. Landlock limits
/// neither connections to Unix sockets by their path (before Linux 7.1) nor the shared memory and queues of System V.
/// With `tcp_only`, also no network but TCP, whose connections Landlock limits.
pub(super) fn programs_without_namespaces(tcp_only: bool) -> io::Result<Vec<BpfProgram>> {
    let mut rules: SyscallRules = SHARED.iter().map(|call| (*call, Vec::new())).collect();
    rules.insert(libc::SYS_socket, vec![when(0, SeccompCmpOp::Eq, bits(libc::AF_UNIX))?]);
    if tcp_only {
        rules.insert(libc::SYS_socket, other_than_tcp()?);
        // Connects without the call that Landlock looks at (tcp(7)).
        for (call, flags) in [(libc::SYS_sendto, 3), (libc::SYS_sendmsg, 2), (libc::SYS_sendmmsg, 3)] {
            let fast_open = bits(libc::MSG_FASTOPEN);
            rules.insert(call, vec![when(flags, SeccompCmpOp::MaskedEq(fast_open), fast_open)?]);
        }
    }
    let shared = filter(rules, libc::EACCES)?;
    Ok([shared].into_iter().chain(programs()?.into_iter().map(|(_, program)| program)).collect())
}

type SyscallRules = BTreeMap<libc::c_long, Vec<SeccompRule>>;

fn denied() -> io::Result<SyscallRules> {
    // No rule: whatever the arguments are.
    let mut rules: SyscallRules = DENIED.iter().map(|call| (*call, Vec::new())).collect();
    let any_of = |argument, flags: &[libc::c_int]| {
        let has = |flag: &libc::c_int| when(argument, SeccompCmpOp::MaskedEq(bits(*flag)), bits(*flag));
        flags.iter().map(has).collect::<io::Result<Vec<_>>>()
    };
    rules.insert(libc::SYS_unshare, any_of(0, &[&NAMESPACES[..], &[CLONE_NEWTIME]].concat())?);
    rules.insert(libc::SYS_clone, any_of(0, &NAMESPACES)?);
    let typing = [TIOCSTI, TIOCLINUX].map(|request| when(1, SeccompCmpOp::Eq, request));
    rules.insert(libc::SYS_ioctl, typing.into_iter().collect::<io::Result<_>>()?);
    // To the machine that runs this one as a guest: no namespace separates these sockets.
    rules.insert(libc::SYS_socket, vec![when(0, SeccompCmpOp::Eq, bits(libc::AF_VSOCK))?]);
    Ok(rules)
}

/// All sockets but those of TCP, and of the kernel's own list of interfaces, which programs read before they connect. Datagrams, raw
/// sockets, MPTCP, SCTP and SMC pass Landlock's rules for ports.
fn other_than_tcp() -> io::Result<Vec<SeccompRule>> {
    // Of `type`, the flags are in the upper bits (socket(2)).
    const TYPE_MASK: u64 = 0xf;
    let ip = [bits(libc::AF_INET), bits(libc::AF_INET6)];
    let netlink = bits(libc::AF_NETLINK);
    let is = |argument, value| condition(argument, SeccompCmpOp::Eq, value);
    let is_not = |argument, value| condition(argument, SeccompCmpOp::Ne, value);
    let rule = |conditions: Vec<SeccompCondition>| SeccompRule::new(conditions).map_err(io::Error::other);
    let mut rules = vec![
        rule(vec![is_not(0, ip[0])?, is_not(0, ip[1])?, is_not(0, netlink)?])?,
        rule(vec![is(0, netlink)?, is_not(2, bits(libc::NETLINK_ROUTE))?])?,
    ];
    for family in ip {
        rules.push(rule(vec![
            is(0, family)?,
            is_not(2, bits(libc::IPPROTO_IP))?,
            is_not(2, bits(libc::IPPROTO_TCP))?,
        ])?);
        for kind in (0..=TYPE_MASK).filter(|kind| *kind != bits(libc::SOCK_STREAM)) {
            rules.push(rule(vec![is(0, family)?, condition(1, SeccompCmpOp::MaskedEq(TYPE_MASK), kind)?])?);
        }
    }
    Ok(rules)
}

fn missing() -> SyscallRules {
    MISSING.iter().map(|call| (*call, Vec::new())).collect()
}

fn bits(value: libc::c_int) -> u64 {
    u64::from(value.cast_unsigned())
}

fn when(argument: u8, operator: SeccompCmpOp, value: u64) -> io::Result<SeccompRule> {
    SeccompRule::new(vec![condition(argument, operator, value)?]).map_err(io::Error::other)
}

/// A condition on an argument. The kernel reads 32 bits of all of these, so the upper ones must not count.
fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> io::Result<SeccompCondition> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value).map_err(io::Error::other)
}

fn filter(rules: SyscallRules, errno: libc::c_int) -> io::Result<BpfProgram> {
    let machine = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let errno = SeccompAction::Errno(errno.cast_unsigned());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, errno, machine);
    filter.and_then(TryInto::try_into).map_err(io::Error::other)
}

/// Denies the system calls of x32, which the other filters know by other numbers.
fn foreign() -> BpfProgram {
    // struct seccomp_data begins with the number (seccomp(2)); codes are of linux/bpf_common.h.
    const LOAD: u16 = 0x20;
    #[cfg(target_arch = "x86_64")]
    const JUMP_IF_AT_LEAST: u16 = 0x35;
    const RETURN: u16 = 0x06;
    let line = |code, jt, jf, k| sock_filter { code, jt, jf, k };
    let allow = line(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW);
    #[cfg(target_arch = "x86_64")]
    return vec![
        line(LOAD, 0, 0, 0),
        line(JUMP_IF_AT_LEAST, 0, 1, X32_BIT),
        line(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EPERM.cast_unsigned()),
        allow,
    ];
    #[cfg(not(target_arch = "x86_64"))]
    vec![line(LOAD, 0, 0, 0), allow]
}

/// `struct sock_filter`s one after the other, in the machine's byte order.
fn bytes(program: &BpfProgram) -> Vec<u8> {
    let line = |line: &sock_filter| {
        let [a, b] = line.code.to_ne_bytes();
        let [k0, k1, k2, k3] = line.k.to_ne_bytes();
        [a, b, line.jt, line.jf, k0, k1, k2, k3]
    };
    program.iter().flat_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_filter_is_small_enough_for_the_kernel() {
        for (name, bytes) in filters().expect("filters") {
            assert!(bytes.len() % 8 == 0 && bytes.len() / 8 < 4096, "{name}: {}", bytes.len());
        }
    }
}
