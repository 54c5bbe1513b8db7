//! Whether the process at the other end of a local connection can be a person's program. Whoever attaches to the console, or
//! shows the operator's token, is the operator, and agents run as the same user.
//!
//! An agent's process is known by what it cannot change: it descends from a storkit, also after its parents have ended
//! ([`crate::adopted`]), or it lives in namespaces of its own. The marks in the environment, which it can remove, come in
//! addition. What cannot be found out counts against the peer.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, SocketAddr},
    os::fd::AsFd,
    path::PathBuf,
};

use nix::{
    errno::Errno,
    sys::socket::{getsockopt, sockopt},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::retry_on_intr,
    process::{Pid, PidfdFlags, getuid, pidfd_open},
};

use crate::tree::{self, GATE_MARK, ProcessEnvironment, ProcessRow, RUN_MARK};

/// The name of a storkit's process, as `/proc/PID/comm` shows it; see [`name_process`].
const STORKIT: &str = "storkit";

/// By their names in `/proc/PID/ns`: those of a sandbox differ from ours.
const NAMESPACES: [&str; 3] = ["pid", "mnt", "user"];

/// How often the line of ancestors is read until it holds still: processes end while it is read.
const READS: usize = 16;

/// Longer lines of ancestors are no person's.
const LONGEST_LINE: usize = 256;

/// Why a process may not act as the operator.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerRefusal {
    #[error("its process cannot be identified")]
    Unknown,
    #[error("process {0} was started by a storkit")]
    Descendant(i32),
    #[error("process {0} carries the mark of an agent's run or of a gate")]
    Marked(i32),
    #[error("process {0} is in a sandbox or a container of its own")]
    Sandboxed(i32),
    #[error("process {0} belongs to another user")]
    OtherUser(i32),
}

/// Gives this process the name by which others know a storkit, whatever its file is called. For the main thread.
pub fn name_process() {
    let _ = rustix::thread::set_name(c"storkit");
}

/// Checks the process that connected to a Unix socket of ours. Blocks for a moment.
pub fn check_unix_peer(socket: impl AsFd) -> Result<(), PeerRefusal> {
    let credentials = getsockopt(&socket, sockopt::PeerCredentials).map_err(|_| PeerRefusal::Unknown)?;
    // 0: a process that this PID namespace does not show, of the host or of another container.
    let pid = Pid::from_raw(credentials.pid()).ok_or(PeerRefusal::Unknown)?;
    let handle = match getsockopt(&socket, sockopt::PeerPidfd) {
        Ok(handle) => Some(handle),
        // Before Linux 6.5. The process may have ended, and its id be another's by now, but only since it connected.
        Err(Errno::ENOPROTOOPT) => match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(handle) => Some(handle),
            // gVisor has neither.
            Err(rustix::io::Errno::NOSYS) => None,
            Err(_) => return Err(PeerRefusal::Unknown),
        },
        Err(_) => return Err(PeerRefusal::Unknown),
    };
    let Some(handle) = handle else {
        return match pid.as_raw_nonzero().get() == std::process::id().cast_signed() {
            // gVisor names whoever asks.
            true => check_every_process(&socket),
            false => check_process(pid.as_raw_nonzero().get(), &NAMESPACES),
        };
    };
    check_process(pid.as_raw_nonzero().get(), &NAMESPACES)?;
    // Last: all of the above was about this process only if it has not ended meanwhile.
    let mut ended = [PollFd::new(&handle, PollFlags::IN)];
    match retry_on_intr(|| poll(&mut ended, Some(&Timespec::default()))) {
        Ok(0) => Ok(()),
        _ => Err(PeerRefusal::Unknown),
    }
}

/// Checks all processes there are, where the kernel does not tell which of them is the peer: none of them may be an agent's.
fn check_every_process(socket: impl AsFd) -> Result<(), PeerRefusal> {
    // Twice: a process could start another one and end while they are listed.
    for row in tree::rows().into_iter().chain(tree::rows()).filter(|row| !row.zombie) {
        // gVisor gives the same processes different user namespaces.
        match check_process(row.seen.pid(), &NAMESPACES[..2]) {
            // It has ended meanwhile.
            Err(_) if !row.seen.is_alive() => {}
            checked => checked?,
        }
    }
    check_still_open(socket)
}

/// Whoever sent something and ended at once could not be looked at.
fn check_still_open(socket: impl AsFd) -> Result<(), PeerRefusal> {
    let mut closed = [PollFd::new(&socket, PollFlags::RDHUP)];
    match retry_on_intr(|| poll(&mut closed, Some(&Timespec::default()))) {
        Ok(0) => Ok(()),
        _ => Err(PeerRefusal::Unknown),
    }
}

/// Checks the processes that hold the other end of a TCP connection on this machine; `local` is our end. Blocks for some
/// milliseconds: it looks at every process.
///
/// This process itself is refused: it connects to its own listener only on behalf of sandboxes.
pub fn check_tcp_peer(peer: SocketAddr, local: SocketAddr) -> Result<(), PeerRefusal> {
    let socket = peer_socket(peer, local).ok_or(PeerRefusal::Unknown)?;
    let own = std::process::id().cast_signed();
    let (mut found, mut hidden) = (false, Vec::new());
    for pid in tree::rows().into_iter().map(|row| row.seen.pid()) {
        match holds_socket(pid, socket.inode) {
            Some(true) if pid == own => return Err(PeerRefusal::Descendant(own)),
            Some(true) => match check_process(pid, &NAMESPACES) {
                Ok(()) => found = true,
                // A program that starts another one shares its descriptors with it for a moment.
                Err(_) if holds_socket(pid, socket.inode) == Some(false) => {}
                Err(why) => return Err(why),
            },
            Some(false) => {}
            None => hidden.push(pid),
        }
    }
    match found {
        true => {}
        // It ended, or hands the connection from one process to another while we look.
        false if socket.user == getuid().as_raw() => return Err(PeerRefusal::Unknown),
        // The descriptors of other users are hidden. The token decides about those, but an agent must not get through as
        // another user.
        false => hidden.into_iter().try_for_each(|pid| check_ancestors(pid).map(drop))?,
    }
    // Whoever sent something and ended at once could not be looked at.
    match peer_socket(peer, local) {
        Some(still) if still.inode == socket.inode => Ok(()),
        _ => Err(PeerRefusal::Unknown),
    }
}

fn check_process(pid: i32, namespaces: &[&str]) -> Result<(), PeerRefusal> {
    let before = tree::row(pid).ok_or(PeerRefusal::Unknown)?;
    if pid == std::process::id().cast_signed() {
        return Ok(());
    }
    let user = user_of(pid).ok_or(PeerRefusal::Unknown)?;
    let above = check_ancestors(pid)?;
    match user {
        user if user == getuid().as_raw() => {
            check_marks(pid, true)?;
            check_namespaces(pid, namespaces)?;
        }
        // root may do all that we may, and hides what only its own processes may see.
        0 => {}
        _ => return Err(PeerRefusal::OtherUser(pid)),
    }
    for ancestor in above {
        check_marks(ancestor, false)?;
    }
    match tree::row(pid) {
        Some(row) if row.seen == before.seen && !row.zombie => Ok(()),
        _ => Err(PeerRefusal::Unknown),
    }
}

/// The ancestors that this process does not share with us; fails if one of them is a storkit.
fn check_ancestors(pid: i32) -> Result<Vec<i32>, PeerRefusal> {
    let own = std::process::id().cast_signed();
    // Storkit may itself run in an agent's shell. What started us, started our operator as well.
    let shared: BTreeSet<i32> = line_above(own).ok_or(PeerRefusal::Unknown)?.into_iter().collect();
    let line = line_above(pid).ok_or(PeerRefusal::Unknown)?;
    let apart: Vec<i32> = line.into_iter().take_while(|ancestor| !shared.contains(ancestor)).collect();
    match apart.iter().any(|ancestor| *ancestor == own || is_storkit(*ancestor)) {
        true => Err(PeerRefusal::Descendant(pid)),
        false => Ok(apart),
    }
}

/// The ancestors of a process, nearest first. `None` if it is gone or they do not hold still.
fn line_above(pid: i32) -> Option<Vec<i32>> {
    for _ in 0..READS {
        let line = read_line_above(pid)?;
        // A parent that ends hands its children over, so a line that is the same twice was whole in between.
        if line.iter().all(|row| tree::row(row.seen.pid()).as_ref() == Some(row)) {
            return Some(line.into_iter().skip(1).map(|row| row.seen.pid()).collect());
        }
    }
    None
}

fn read_line_above(pid: i32) -> Option<Vec<ProcessRow>> {
    let mut line = vec![tree::row(pid)?];
    while let Some(above) = line.last().map(|row| row.parent).filter(|parent| *parent > 0) {
        // A parent that ended just now shows when the line is read again.
        let Some(row) = tree::row(above) else { break };
        line.push(row);
        if line.len() > LONGEST_LINE {
            return None;
        }
    }
    Some(line)
}

/// Whether a process is a storkit, and no script of that name that starts one.
fn is_storkit(pid: i32) -> bool {
    let named = fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim_end() == STORKIT);
    // A storkit hides its file (`PR_SET_DUMPABLE`), a script shows that of its shell.
    named
        && fs::read_link(format!("/proc/{pid}/exe")).map_or(true, |program| {
            let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
            !["sh", "bash", "dash", "zsh", "busybox"].contains(&name.as_str())
        })
}

/// Fails if the process carries a mark that we do not carry ourselves, or, with `must_show`, if it hides its environment.
fn check_marks(pid: i32, must_show: bool) -> Result<(), PeerRefusal> {
    let Some(environment) = ProcessEnvironment::of(pid) else {
        return if must_show { Err(PeerRefusal::Unknown) } else { Ok(()) };
    };
    let ours = |mark: &str| std::env::var_os(mark).map(std::ffi::OsString::into_encoded_bytes);
    let foreign =
        |mark: &&str| environment.get(mark).is_some_and(|value| ours(mark).as_deref() != Some(value));
    match [RUN_MARK, GATE_MARK].iter().any(foreign) {
        true => Err(PeerRefusal::Marked(pid)),
        false => Ok(()),
    }
}

fn check_namespaces(pid: i32, kinds: &[&str]) -> Result<(), PeerRefusal> {
    // systemd gives a service mounts of its own, and its operator has others.
    let mounts_differ = std::env::var_os("INVOCATION_ID").is_some();
    let same = |kind: &&str| {
        let of = |process: &str| fs::read_link(format!("/proc/{process}/ns/{kind}")).ok();
        // A kernel without this namespace cannot make a sandbox with it.
        of("self").is_none_or(|ours: PathBuf| of(&pid.to_string()) == Some(ours))
    };
    match kinds.iter().filter(|kind| **kind != "mnt" || !mounts_differ).all(same) {
        true => Ok(()),
        false => Err(PeerRefusal::Sandboxed(pid)),
    }
}

/// The effective user, from a file that all may read.
fn user_of(pid: i32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    line.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// Whether a process holds this socket; `None` if it does not show its descriptors.
fn holds_socket(pid: i32, inode: u64) -> Option<bool> {
    let wanted = PathBuf::from(format!("socket:[{inode}]"));
    match fs::read_dir(format!("/proc/{pid}/fd")) {
        Ok(entries) => Some(
            entries.flatten().any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target == wanted)),
        ),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Some(false),
        Err(_) => None,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PeerSocket {
    inode: u64,
    user: u32,
}

/// The socket whose own address is `peer` and whose other end is `local`.
fn peer_socket(peer: SocketAddr, local: SocketAddr) -> Option<PeerSocket> {
    ["tcp", "tcp6"].iter().find_map(|table| {
        let table_text = fs::read_to_string(format!("/proc/self/net/{table}")).ok()?;
        socket_in(&table_text, &shown(peer, *table == "tcp6")?, &shown(local, *table == "tcp6")?)
    })
}

/// Columns of `/proc/net/tcp` (Linux, Documentation/networking/proc_net_tcp.rst): slot, own address, the other's,
/// …, user (7), …, inode (9).
fn socket_in(table: &str, own: &str, other: &str) -> Option<PeerSocket> {
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if fields.get(1) != Some(&own) || fields.get(2) != Some(&other) {
            return None;
        }
        let socket = PeerSocket { user: fields.get(7)?.parse().ok()?, inode: fields.get(9)?.parse().ok()? };
        // A socket that no process holds any more (TIME_WAIT) has no inode.
        Some(socket).filter(|socket| socket.inode != 0)
    })
}

/// An address as these tables show it: words of 32 bits in the machine's byte order.
fn shown(address: SocketAddr, wide: bool) -> Option<String> {
    let bytes = match (address.ip(), wide) {
        (IpAddr::V4(ip), false) => ip.octets().to_vec(),
        (IpAddr::V4(ip), true) => ip.to_ipv6_mapped().octets().to_vec(),
        (IpAddr::V6(ip), true) => ip.octets().to_vec(),
        (IpAddr::V6(_), false) => return None,
    };
    let words = bytes.chunks_exact(4).filter_map(|word| Some(u32::from_ne_bytes(word.try_into().ok()?)));
    let ip: String = words.map(|word| format!("{word:08X}")).collect();
    Some(format!("{ip}:{:04X}", address.port()))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead as _, BufReader},
        net::{TcpListener, TcpStream},
        os::unix::net::{UnixListener, UnixStream},
        process::{Child, Command, Stdio},
    };

    use super::*;

    /// A Python program that connects to the Unix socket or port of its first argument, says so, and stays.
    const CONNECTS: &str = "import socket,sys,time\n\
        at = sys.argv[1]\n\
        peer = socket.create_connection(('127.0.0.1', int(at))) if at.isdigit() else socket.socket(socket.AF_UNIX)\n\
        if not at.isdigit(): peer.connect(at)\n\
        print('connected', flush=True)\n\
        time.sleep(600)\n";

    fn connecting(at: &str, wrapper: &[&str]) -> Child {
        let words: Vec<&str> = wrapper.iter().copied().chain(["python3", "-c", CONNECTS, at]).collect();
        let mut command = Command::new(words[0]);
        let mut child = command.args(&words[1..]).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line).expect("it speaks");
        assert_eq!(line, "connected\n", "{words:?}");
        child
    }

    fn end(mut child: Child) {
        child.kill().and_then(|()| child.wait().map(drop)).expect("it ends");
    }

    #[test]
    fn this_process_may_use_its_console_and_a_child_of_it_may_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).expect("a socket");
        let _own = UnixStream::connect(&path).expect("connected");
        assert_eq!(check_unix_peer(&listener.accept().expect("it comes").0), Ok(()));
        let child = connecting(path.to_str().expect("a name"), &["env", "-i"]);
        let (stream, _) = listener.accept().expect("it comes");
        assert_eq!(check_unix_peer(&stream), Err(PeerRefusal::Descendant(child.id().cast_signed())));
        end(child);
        assert_eq!(check_unix_peer(&stream), Err(PeerRefusal::Unknown), "its id may be another's now");
    }

    #[test]
    fn where_the_kernel_does_not_name_the_peer_an_agents_process_may_neither_live_nor_have_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).expect("a socket");
        let child = connecting(path.to_str().expect("a name"), &["env", "-i"]);
        let (stream, _) = listener.accept().expect("it comes");
        assert!(check_every_process(&stream).is_err());
        assert_eq!(check_still_open(&stream), Ok(()));
        end(child);
        // By itself: other processes of this machine may be agents', too.
        assert_eq!(check_still_open(&stream), Err(PeerRefusal::Unknown));
        assert!(check_every_process(&stream).is_err());
    }

    #[test]
    fn the_holder_of_a_tcp_connection_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let local = listener.local_addr().expect("an address");
        let _own = TcpStream::connect(local).expect("connected");
        let (_stream, peer) = listener.accept().expect("it comes");
        let own = std::process::id().cast_signed();
        assert_eq!(check_tcp_peer(peer, local), Err(PeerRefusal::Descendant(own)));
        let child = connecting(&local.port().to_string(), &["env", "-i"]);
        let (_stream, peer) = listener.accept().expect("it comes");
        assert_eq!(check_tcp_peer(peer, local), Err(PeerRefusal::Descendant(child.id().cast_signed())));
        end(child);
        assert_eq!(check_tcp_peer("127.0.0.1:1".parse().expect("one"), local), Err(PeerRefusal::Unknown));
    }

    #[test]
    fn a_line_of_a_socket_table_is_read_by_its_columns() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
                     0: 0100007F:D431 0100007F:0BB9 06 00000000:00000000 03:00000000 00000000     0        0 0 3 x\n   \
                     1: 0100007F:D431 0100007F:0BB9 01 00000000:00000000 00:00000000 00000000  1000        0 4711 1 x\n";
        let own = shown("127.0.0.1:54321".parse().expect("one"), false).expect("narrow");
        assert_eq!(socket_in(table, &own, "0100007F:0BB9"), Some(PeerSocket { inode: 4711, user: 1000 }));
        assert_eq!(socket_in(table, &own, "0100007F:0BBA"), None);
        let wide = shown("127.0.0.1:3001".parse().expect("one"), true).expect("wide");
        assert_eq!(wide, "0000000000000000FFFF00000100007F:0BB9");
    }

    #[test]
    fn a_sandbox_is_known_by_its_namespaces_and_a_mark_by_its_value() {
        let mut child = Command::new("/bin/sleep").arg("600").env(RUN_MARK, "a/b").spawn().expect("sleep");
        let pid = child.id().cast_signed();
        assert_eq!(check_marks(pid, true), Err(PeerRefusal::Marked(pid)));
        assert_eq!(check_namespaces(pid, &NAMESPACES), Ok(()));
        child.kill().and_then(|()| child.wait().map(drop)).expect("it ends");
        assert_eq!(check_marks(pid, true), Err(PeerRefusal::Unknown));
        assert_eq!(
            check_namespaces(pid, &NAMESPACES),
            Err(PeerRefusal::Sandboxed(pid)),
            "what cannot be read differs"
        );
    }

    #[test]
    fn the_line_above_a_process_ends_at_the_top() {
        let line = line_above(std::process::id().cast_signed()).expect("a line");
        assert_eq!(line.last(), Some(&1), "{line:?}");
        assert_eq!(line_above(i32::MAX), None);
    }
}
