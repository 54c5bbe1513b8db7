//! Secrets on their way past an `exec`: in a sealed file in memory, not in the environment, which `/proc/PID/environ` shows and
//! every child inherits.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsRawFd as _, OwnedFd},
    process::Command,
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use settings::environment;

/// Names the open file to the program that follows.
const VARIABLE: &str = "STORKIT_SECRETS_FD";

const SEALS: SealFlags =
    SealFlags::SEAL.union(SealFlags::SHRINK).union(SealFlags::GROW).union(SealFlags::WRITE);

/// Takes the secrets that the predecessor of this process left. Called once, before anything else is started.
pub fn take_over() {
    let number = std::env::var(VARIABLE).ok().and_then(|number| number.parse::<i32>().ok());
    if let Some(secrets) = number.and_then(|number| read(number).ok()) {
        environment::hold(secrets);
    }
}

/// Whether the environment holds one of these secrets, or an empty variable: git, for example, takes an empty name for a name.
pub fn needs_clean_start(secrets: &[String]) -> bool {
    std::env::vars_os().any(|(name, value)| value.is_empty() || is_secret(&name, secrets))
}

/// Makes the command take the place of this process with its secrets. The file has to stay open until then.
pub(super) fn hand_over(command: &mut Command, secrets: &[String]) -> io::Result<OwnedFd> {
    let mut all = environment::held();
    for (name, value) in std::env::vars_os() {
        let secret = is_secret(&name, secrets);
        if secret || value.is_empty() {
            command.env_remove(&name);
        }
        if let (true, Ok(name), Ok(value)) = (secret, name.into_string(), value.into_string()) {
            all.insert(name, value);
        }
    }
    // Not closed by `exec`: that is its purpose. Everything else that storkit opens is.
    let file = memfd_create("storkit-secrets", MemfdFlags::ALLOW_SEALING)?;
    let mut file = File::from(file);
    file.write_all(serde_json::to_string(&all)?.as_bytes())?;
    fcntl_add_seals(&file, SEALS)?;
    command.env(VARIABLE, file.as_raw_fd().to_string());
    Ok(file.into())
}

fn is_secret(name: &OsStr, secrets: &[String]) -> bool {
    secrets.iter().any(|secret| name == secret.as_str())
}

fn read(number: i32) -> io::Result<BTreeMap<String, String>> {
    let mut file = File::open(format!("/proc/self/fd/{number}"))?;
    // Whoever inherits the variable by accident has another file under this number, or none.
    if fcntl_get_seals(&file)? != SEALS {
        return Err(io::ErrorKind::InvalidData.into());
    }
    // No child may inherit it.
    nix::unistd::close(number)?;
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

#[cfg(test)]
mod tests {
    use std::os::fd::IntoRawFd as _;

    use super::*;

    #[test]
    fn secrets_pass_in_a_file_that_nobody_can_change_and_not_in_the_environment() {
        let mut command = Command::new("true");
        // PATH is the one variable that is surely set.
        let file = hand_over(&mut command, &["PATH".to_owned()]).unwrap();
        let removed = command.get_envs().find(|(name, _)| *name == "PATH");
        assert_eq!(removed, Some((OsStr::new("PATH"), None)));
        assert!(rustix::io::write(&file, b"x").is_err() && rustix::fs::ftruncate(&file, 0).is_err());
        let number = file.into_raw_fd();
        let read_back = read(number).unwrap();
        assert_eq!(read_back["PATH"], std::env::var("PATH").unwrap());
        assert!(read(number).is_err(), "it is closed");
    }

    #[test]
    fn a_file_that_is_not_ours_is_not_taken() {
        let file = tempfile::tempfile().unwrap();
        (&file).write_all(br#"{"ANTHROPIC_API_KEY":"theirs"}"#).unwrap();
        assert!(read(file.as_raw_fd()).is_err());
        assert!(file.metadata().is_ok(), "and not closed");
    }
}
