//! The proxy's counterpart in the sandbox, which has only a loopback interface: a process that accepts connections on
//! 127.0.0.1 and passes them to the Unix sockets of [`super::egress`].
//!
//! It is storkit itself. [`enter`] starts that process and then replaces itself with the command (`exec`), so that terminal,
//! signals, exit code and children are the command's own.

use std::{
    ffi::OsString,
    fs,
    io::{self, BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, Shutdown, TcpListener, TcpStream},
    os::unix::{net::UnixStream, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
};

use super::{step, watch};

/// The program's subcommand that calls [`enter`].
pub(super) const SUBCOMMAND: &str = "sandbox-net";

/// The socket of the proxy; every other one is named by its port.
pub(super) const PROXY: &str = "proxy";

/// Variables that name the proxy. Upper and lower case: curl reads only `http_proxy`.
const PROXIES: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

/// Reached without the proxy.
const DIRECT: &str = "127.0.0.1,localhost";

/// Runs `FOLDER -- COMMAND..` with access to the sockets in the folder. `own` is the command line by which this program gets
/// here. Returns only if it fails, with a sentence.
pub(super) fn enter(own: &[OsString], arguments: &[OsString]) -> String {
    let done = match arguments {
        [folder] => serve(Path::new(folder)),
        [folder, dashes, command @ ..] if dashes == "--" && !command.is_empty() => {
            let begun = start(own, folder);
            begun.and_then(|port| {
                watch::hand_over(Path::new(folder))?;
                become_command(port, command)
            })
        }
        _ => Err(io::Error::other("usage: FOLDER -- COMMAND; only storkit itself calls this")),
    };
    match done {
        Ok(never) => match never {},
        Err(error) => format!("the sandbox's network access cannot be set up: {error}"),
    }
}

/// A process that became another program never returns.
type Never = std::convert::Infallible;

/// Starts the forwarding process, detached, and waits until it listens.
fn start(own: &[OsString], folder: &OsString) -> io::Result<u16> {
    // The shell exits at once, so that the forwarder is not a child of the command, which may wait for all its children.
    let mut shell = Command::new("/bin/sh")
        .args(["-c", r#""$@" &"#, "sh"])
        .args(own)
        .arg(folder)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let said = shell.stdout.take().ok_or_else(|| io::Error::other("no pipe"))?;
    shell.wait()?;
    for line in BufReader::new(said).lines() {
        let line = line?;
        if let Some(port) = line.strip_prefix("port ") {
            return port.trim().parse().map_err(io::Error::other);
        }
        if let Some(why) = line.strip_prefix("error ") {
            return Err(io::Error::other(why.to_owned()));
        }
    }
    Err(io::Error::other("the forwarding process ended"))
}

fn become_command(port: u16, command: &[OsString]) -> io::Result<Never> {
    let mut line = Command::new(&command[0]);
    line.args(&command[1..]).envs(proxy_environment(&format!("http://127.0.0.1:{port}")));
    line.envs(jvm_environment(port, |name| std::env::var_os(name)));
    step::close_other_mounts();
    Err(line.exec())
}

/// The variables by which programs find a proxy.
pub(super) fn proxy_environment(proxy: &str) -> impl Iterator<Item = (OsString, OsString)> {
    // Node reads the proxy's variables only with the last one.
    let direct = [("NO_PROXY", DIRECT), ("no_proxy", DIRECT), ("NODE_USE_ENV_PROXY", "1")];
    let all = PROXIES.map(|name| (name, proxy)).into_iter().chain(direct);
    all.map(|(name, value)| (name.into(), value.into())).collect::<Vec<_>>().into_iter()
}

/// The options by which Maven and Gradle, and their wrappers, find the proxy: a JVM reads none of the variables above. Not by
/// `JAVA_TOOL_OPTIONS`, which every JVM reports on its standard error.
fn jvm_environment(
    port: u16,
    set: impl Fn(&str) -> Option<OsString>,
) -> impl Iterator<Item = (&'static str, OsString)> {
    let proxy =
        ["http", "https"].map(|scheme| format!("-D{scheme}.proxyHost=127.0.0.1 -D{scheme}.proxyPort={port}"));
    // Maven's own client only looks at these properties if it is told to (since 3.9, and under the second name since 4.0).
    let options = format!(
        " {} -Daether.connector.http.useSystemProperties=true \
         -Daether.transport.http.useSystemProperties=true",
        proxy.join(" ")
    );
    ["MAVEN_OPTS", "GRADLE_OPTS"].into_iter().map(move |name| {
        let mut all = set(name).unwrap_or_default();
        all.push(&options);
        (name, all)
    })
}

/// Listens, prints the port, and forwards as long as the sandbox lives.
fn serve(folder: &Path) -> io::Result<Never> {
    // Signals from the command's terminal are not for this process.
    let _ = rustix::process::setsid();
    let said = |text: &str| {
        let mut out = io::stdout();
        writeln!(out, "{text}").and_then(|()| out.flush())
    };
    match listen(folder) {
        Ok(port) => said(&format!("port {port}"))?,
        Err(error) => {
            said(&format!("error {error}"))?;
            return Err(error);
        }
    }
    loop {
        // The sandbox has its own pid namespace: this process dies with it.
        thread::park();
    }
}

/// Listens for every socket in the folder; returns the proxy's port.
fn listen(folder: &Path) -> io::Result<u16> {
    let names: Vec<OsString> =
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<_, _>>()?;
    for (name, port) in names.iter().filter_map(|name| Some((name, name.to_str()?.parse::<u16>().ok()?))) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .map_err(|error| io::Error::new(error.kind(), format!("port {port}: {error}")))?;
        accept(listener, folder.join(name))?;
    }
    // Last: the system chooses this port, and must not choose one of those above.
    let proxy = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = proxy.local_addr()?.port();
    accept(proxy, folder.join(PROXY))?;
    Ok(port)
}

fn accept(listener: TcpListener, socket: PathBuf) -> io::Result<()> {
    thread::Builder::new().spawn(move || {
        for stream in listener.incoming().flatten() {
            let joined = UnixStream::connect(&socket).and_then(|door| copy_both_ways(stream, door));
            // The connection is closed, which the client sees.
            drop(joined);
        }
    })?;
    Ok(())
}

/// Passes bytes both ways, in two threads.
fn copy_both_ways(stream: TcpStream, door: UnixStream) -> io::Result<()> {
    let (mut from, mut to) = (stream.try_clone()?, door.try_clone()?);
    let (mut back_from, mut back_to) = (door, stream);
    // Small stacks, since each connection takes two threads.
    let small = || thread::Builder::new().stack_size(128 * 1024);
    small().spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        // One direction may close before the other: some clients do that and wait for the answer.
        let _ = to.shutdown(Shutdown::Write);
    })?;
    small().spawn(move || {
        let _ = io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(Shutdown::Write);
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maven_and_gradle_are_told_the_proxy_in_words_that_a_jvm_reads_after_the_operators_own() {
        let set = |name: &str| (name == "MAVEN_OPTS").then(|| OsString::from("-Xmx1g"));
        let found: Vec<String> = jvm_environment(4711, set)
            .map(|(name, options)| format!("{name}={}", options.to_string_lossy()))
            .collect();
        assert!(found[0].starts_with("MAVEN_OPTS=-Xmx1g -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=4711 "));
        assert!(found[1].starts_with("GRADLE_OPTS= -Dhttp.proxyHost=127.0.0.1 "), "{found:?}");
        assert!(found.iter().all(|line| line.contains("-Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=4711")));
    }
}
