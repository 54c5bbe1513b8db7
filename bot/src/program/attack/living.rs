//! The parts of the attacked machine that live: sockets, listeners, an open folder, a neighbour's process.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr as UnixAddr, UnixListener},
    },
    process::{Child, Command, Stdio},
};

use agents::attacks::{AttackTargets, canary};

use super::machine::AttackedMachine;

/// Parts of the machine that live as long as the attacks.
pub struct LivingTargets {
    _sockets: Vec<UnixListener>,
    listeners: Vec<SocketAddr>,
    greeting: String,
    abstract_socket: String,
    /// Inherited by whatever is started without care.
    _open_folder: OwnedFd,
    /// With a secret in its environment.
    neighbour: Child,
}

impl LivingTargets {
    pub fn start(machine: &AttackedMachine) -> io::Result<Self> {
        let gpg_agent = machine.home().join(".gnupg/S.gpg-agent");
        let abstract_socket = format!("storkit-attack-{}", std::process::id());
        let sockets = vec![
            UnixListener::bind(machine.ssh_agent())?,
            UnixListener::bind(gpg_agent)?,
            UnixListener::bind_addr(&UnixAddr::from_abstract_name(&abstract_socket)?)?,
        ];
        let addresses = [Some(Ipv4Addr::LOCALHOST.into()), own_address()].into_iter().flatten();
        let greeting = canary();
        let listeners = addresses.map(|address| greet(address, &greeting)).collect::<io::Result<Vec<_>>>()?;
        // A duplicate has no `CLOEXEC`.
        let open_folder = rustix::io::dup(File::open(machine.home())?)?;
        let mut neighbour = Command::new("sleep");
        neighbour.arg("600").env("OPERATORS_TOKEN", canary()).stdin(Stdio::null()).stdout(Stdio::null());
        let neighbour = neighbour.spawn()?;
        Ok(Self {
            _sockets: sockets,
            listeners,
            greeting,
            abstract_socket,
            _open_folder: open_folder,
            neighbour,
        })
    }

    pub fn add_to(&self, targets: &mut AttackTargets, machine: &AttackedMachine) {
        targets.abstract_socket.clone_from(&self.abstract_socket);
        targets.listeners.clone_from(&self.listeners);
        targets.greeting.clone_from(&self.greeting);
        targets.open_folder = machine.home();
        let terminal = fs::read_link("/proc/self/fd/0")
            .ok()
            .filter(|path| path.starts_with("/dev/") && !path.ends_with("null"));
        targets.terminal = terminal;
        targets.types = true;
    }
}

impl Drop for LivingTargets {
    fn drop(&mut self) {
        let _ = self.neighbour.kill();
        let _ = self.neighbour.wait();
    }
}

/// Listens on a free port and greets everybody who connects, until this program ends.
fn greet(address: IpAddr, greeting: &str) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((address, 0))?;
    let (at, greeting) = (listener.local_addr()?, greeting.to_owned());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // Who is gone already was not there for long enough to read it.
            let _ = stream.write_all(greeting.as_bytes());
        }
    });
    Ok(at)
}

/// An address of this machine in its network, if it has one. Nothing is sent: a connected UDP socket only asks the kernel for a way.
fn own_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(SocketAddr::from(([192, 0, 2, 1], 9))).ok()?;
    socket.local_addr().ok().map(|address| address.ip()).filter(|address| !address.is_loopback())
}
