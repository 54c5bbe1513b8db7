//! Attacks by system calls.

use super::targets::AttackTargets;

/// A call, with arguments that do nothing: where no filter stops it, it succeeds or fails for another reason than missing permission.
#[derive(Clone, Copy, Debug)]
pub struct KernelCall {
    pub name: &'static str,
    pub number: libc::c_long,
    pub arguments: [libc::c_long; 5],
    group: CallGroup,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CallGroup {
    Debugging,
    Namespaces,
    Interfaces,
}

use CallGroup::{Debugging, Interfaces, Namespaces};

const fn call(
    group: CallGroup,
    name: &'static str,
    number: libc::c_long,
    arguments: [libc::c_long; 5],
) -> KernelCall {
    KernelCall { name, number, arguments, group }
}

const PTRACE_ATTACH: libc::c_long = 16;
const KEY_SPEC_USER_KEYRING: libc::c_long = -4;
const NEW_USER: libc::c_long = libc::CLONE_NEWUSER as libc::c_long;
const NEW_MOUNTS: libc::c_long = libc::CLONE_NEWNS as libc::c_long;

/// Calls that no confined process may make.
pub static SYSTEM_CALLS: [KernelCall; 20] = [
    call(Debugging, "ptrace", libc::SYS_ptrace, [PTRACE_ATTACH, 0, 0, 0, 0]),
    call(Debugging, "process_vm_readv", libc::SYS_process_vm_readv, [1, 0, 0, 0, 0]),
    call(Debugging, "pidfd_getfd", libc::SYS_pidfd_getfd, [-1, 0, 0, 0, 0]),
    call(Debugging, "kcmp", libc::SYS_kcmp, [-1, -1, 99, 0, 0]),
    call(Debugging, "perf_event_open", libc::SYS_perf_event_open, [0, 0, -1, -1, 0]),
    call(Debugging, "userfaultfd", libc::SYS_userfaultfd, [-1, 0, 0, 0, 0]),
    call(Namespaces, "mount", libc::SYS_mount, [0, 0, 0, 0, 0]),
    call(Namespaces, "umount2", libc::SYS_umount2, [0, 0, 0, 0, 0]),
    call(Namespaces, "open_tree", libc::SYS_open_tree, [-1, 0, -1, 0, 0]),
    call(Namespaces, "pivot_root", libc::SYS_pivot_root, [0, 0, 0, 0, 0]),
    call(Namespaces, "setns", libc::SYS_setns, [-1, 0, 0, 0, 0]),
    call(Namespaces, "unshare (user)", libc::SYS_unshare, [NEW_USER, 0, 0, 0, 0]),
    call(Namespaces, "unshare (mounts)", libc::SYS_unshare, [NEW_MOUNTS, 0, 0, 0, 0]),
    call(Namespaces, "clone3", libc::SYS_clone3, [0, 0, 0, 0, 0]),
    call(Namespaces, "open_by_handle_at", libc::SYS_open_by_handle_at, [-1, 0, 0, 0, 0]),
    call(Interfaces, "keyctl", libc::SYS_keyctl, [0, KEY_SPEC_USER_KEYRING, 0, 0, 0]),
    call(Interfaces, "add_key", libc::SYS_add_key, [0, 0, 0, 0, KEY_SPEC_USER_KEYRING]),
    call(Interfaces, "request_key", libc::SYS_request_key, [0, 0, 0, 0, 0]),
    call(Interfaces, "bpf", libc::SYS_bpf, [-1, 0, 0, 0, 0]),
    call(Interfaces, "io_uring_setup", libc::SYS_io_uring_setup, [0, 0, 0, 0, 0]),
];

/// A socket family and type.
const RAW_SOCKETS: [(&str, libc::c_int, libc::c_int); 3] = [
    ("AF_VSOCK", libc::AF_VSOCK, libc::SOCK_STREAM),
    ("AF_PACKET", libc::AF_PACKET, libc::SOCK_RAW),
    ("raw AF_INET", libc::AF_INET, libc::SOCK_RAW),
];

impl KernelCall {
    /// Makes the call. Whether it is denied, be it by a filter or for lack of a privilege.
    #[allow(unsafe_code)]
    pub fn is_denied(&self) -> bool {
        let [a, b, c, d, e] = self.arguments;
        // SAFETY: the arguments are numbers, invalid descriptors and null pointers, which the kernel checks.
        let returned = unsafe { libc::syscall(self.number, a, b, c, d, e) };
        returned < 0
            && matches!(
                std::io::Error::last_os_error().raw_os_error(),
                Some(libc::EPERM | libc::EACCES | libc::ENOSYS)
            )
    }
}

fn made(group: CallGroup) -> Vec<String> {
    let of_group = SYSTEM_CALLS.iter().filter(|call| call.group == group);
    of_group.filter(|call| !call.is_denied()).map(|call| call.name.to_owned()).collect()
}

pub(super) fn debugs(_: &AttackTargets) -> Vec<String> {
    made(Debugging)
}

pub(super) fn makes_namespaces(_: &AttackTargets) -> Vec<String> {
    made(Namespaces)
}

pub(super) fn uses_interfaces(_: &AttackTargets) -> Vec<String> {
    made(Interfaces)
}

#[allow(unsafe_code)]
pub(super) fn opens_raw_sockets(_: &AttackTargets) -> Vec<String> {
    // SAFETY: numbers only. The process ends soon, and the descriptor with it.
    let opens = |(_, family, kind): &&(&str, libc::c_int, libc::c_int)| unsafe { libc::socket(*family, *kind, 0) } >= 0;
    RAW_SOCKETS.iter().filter(opens).map(|(name, ..)| (*name).to_owned()).collect()
}
