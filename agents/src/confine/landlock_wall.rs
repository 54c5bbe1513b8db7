//! The wall where bubblewrap does not work, as in a container of Docker: Landlock renders the same [`View`] as access rules, without
//! privileges. Nothing can be shown at another place, so programs are told by their environment where their private folders are.
//!
//! `docs/security.md` lists its gaps: files keep their names, and other processes can be seen.

use std::{
    ffi::OsString,
    fmt, fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use landlock::{ABI, Access as _, AccessNet, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _};

use super::{
    host_folders::HostFolders,
    inside,
    kernel::KernelMeans,
    paths::{LFS, WorktreePaths, write_new},
    scratch::ScratchFolders,
    step::{OwnProgram, PORT, PORTS_ONLY, READ, RULES, WRITE},
    toolchains,
    view::{Shown, Tenant, View, real_or_named},
};

/// Devices that are no way to anything. Not the terminals of others in `/dev/pts`, and not `/dev/shm`, which all programs share.
const DEVICES: [&str; 6] = ["/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero"];

/// A wall by Landlock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LandlockWall {
    /// How this program is called to apply the rules to itself, and then to become the command.
    pub own: OwnProgram,
    /// Whose machine it is.
    pub host: HostFolders,
    pub reach: PortReach,
}

/// The part of the network that is reached.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum PortReach {
    /// All that the machine has.
    #[default]
    Everything,
    /// Connections by TCP to these ports. Landlock knows no addresses, so this is any machine's port of that number.
    Ports { open: Vec<u16>, proxy: Option<LoopbackProxy> },
}

/// Where a program finds a proxy that only it may use.
#[derive(Clone, PartialEq, Eq)]
pub struct LoopbackProxy {
    pub port: u16,
    /// The password of [`PROXY_USER`].
    pub password: String,
}

/// The name by which programs log in to such a proxy.
pub(super) const PROXY_USER: &str = "storkit";

impl LoopbackProxy {
    fn address(&self) -> String {
        format!("http://{PROXY_USER}:{}@127.0.0.1:{}", self.password, self.port)
    }
}

/// Without the password.
impl fmt::Debug for LoopbackProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoopbackProxy").field("port", &self.port).finish_non_exhaustive()
    }
}

/// The words before the command, and the environment that it needs.
pub(super) type LandlockPrefix = (Vec<OsString>, Vec<(OsString, OsString)>);

impl LandlockWall {
    /// `None` in a program that cannot be called again: see [`OwnProgram::register`].
    pub fn for_host(host: HostFolders) -> Option<Self> {
        OwnProgram::registered().map(|own| Self { own, host, reach: PortReach::Everything })
    }

    /// Whether the kernel limits connections by TCP (Linux 6.7).
    pub(super) fn limits_ports() -> bool {
        let rules = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
        rules.handle_access(AccessNet::from_all(ABI::V4)).and_then(Ruleset::create).is_ok()
    }

    /// Tries whether the kernel enforces such rules; the error is a sentence.
    pub fn try_out(&self) -> Result<(), String> {
        if KernelMeans::of_this_machine().landlock.is_none() {
            return Err("The kernel does not have Landlock, or it is switched off.".into());
        }
        let hidden =
            tempfile::NamedTempFile::new().map_err(|error| format!("Landlock cannot be tried: {error}."))?;
        let paths: Vec<PathBuf> = super::system::paths();
        let mut words = self.words(&paths, &[]);
        // Fails where the shell cannot start, and where it can read what no rule allows.
        words.extend(["/bin/sh", "-c", r#"if (: < "$0") 2> /dev/null; then exit 3; fi"#].map(OsString::from));
        words.push(hidden.path().into());
        let output = Command::new(&words[0]).args(&words[1..]).stdin(Stdio::null()).output();
        match output {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
                let said = said.trim_end_matches('.');
                let said = if said.is_empty() { "its rules are not enforced" } else { said };
                Err(format!("Landlock does not work on this machine: {said}."))
            }
            Err(error) => Err(format!("Landlock cannot be tried: {error}.")),
        }
    }

    /// Everything up to the `--` before the command. `scratch` has to live as long as the process.
    pub(super) fn prefix(
        &self,
        place: &WorktreePaths,
        scratch: &ScratchFolders,
        tenant: Tenant<'_>,
    ) -> io::Result<LandlockPrefix> {
        let view = View::new(&self.host, place, scratch, tenant);
        view.layers.iter().try_for_each(super::caches::CacheLayer::make_folders)?;
        let moved = MovedFolders::of(&self.host, scratch);
        moved.link(&view, place)?;
        link_git(place, scratch)?;
        let (mut read, mut write) = (vec![PathBuf::from("/proc")], DEVICES.map(PathBuf::from).to_vec());
        for shown in view.entries.values() {
            match shown {
                Shown::ReadOnly(source) => read.push(source.clone()),
                Shown::Writable(source) => write.push(source.clone()),
                Shown::Empty | Shown::Link(_) => {}
            }
        }
        // Where the worktree's own settings name the real repository: what git ignores there.
        read.extend([place.common.join("objects"), place.admin.clone()]);
        let mut environment = moved.environment();
        if let PortReach::Ports { proxy: Some(proxy), .. } = &self.reach {
            environment.extend(inside::proxy_environment(&proxy.address()));
        }
        Ok((self.words(&read, &write), environment))
    }

    fn words(&self, read: &[PathBuf], write: &[PathBuf]) -> Vec<OsString> {
        let mut words = vec![self.own.file.clone().into()];
        words.extend(self.own.arguments.iter().cloned());
        words.push(RULES.into());
        for (option, paths) in [(READ, read), (WRITE, write)] {
            for path in paths {
                words.extend([option.into(), path.clone().into()]);
            }
        }
        if let PortReach::Ports { open, .. } = &self.reach {
            words.push(PORTS_ONLY.into());
            words.extend(open.iter().flat_map(|port| [PORT.into(), port.to_string().into()]));
        }
        words.push("--".into());
        words
    }
}

/// Folders that a program finds by a variable, because nothing can be shown at another place.
struct MovedFolders(Vec<(&'static str, PathBuf, PathBuf)>);

impl MovedFolders {
    fn of(host: &HostFolders, scratch: &ScratchFolders) -> Self {
        let home = real_or_named(host.inner_home());
        let cargo = real_or_named(&toolchains::cargo_home(host.cargo_home.as_deref(), &home));
        let mut moved = vec![
            ("HOME", home.clone(), scratch.home()),
            ("CLAUDE_CONFIG_DIR", real_or_named(&host.claude), scratch.claude()),
            ("TMPDIR", PathBuf::from("/tmp"), scratch.tmp()),
        ];
        if !cargo.starts_with(&home) {
            moved.push(("CARGO_HOME", cargo, scratch.cargo()));
        }
        Self(moved)
    }

    fn environment(&self) -> Vec<(OsString, OsString)> {
        self.0.iter().map(|(name, _, to)| ((*name).into(), to.into())).collect()
    }

    /// Puts links into the private folders, to the files that the view shows in their places.
    fn link(&self, view: &View, place: &WorktreePaths) -> io::Result<()> {
        let is_projects =
            |at: &Path| [&place.root, &place.common].iter().any(|folder| at.starts_with(folder));
        for (at, shown) in view.entries.iter().filter(|(at, _)| !is_projects(at)) {
            let (Shown::ReadOnly(source) | Shown::Writable(source)) = shown else { continue };
            // The innermost: the CLI's folder is in the home.
            let within = self.0.iter().filter(|(_, from, _)| at.starts_with(from));
            let Some((_, from, to)) = within.max_by_key(|(_, from, _)| from.components().count()) else {
                continue;
            };
            let Some(rest) = at.strip_prefix(from).ok().filter(|rest| rest.components().next().is_some())
            else {
                continue;
            };
            let link = to.join(rest);
            // A folder in which something else is shown has links of its own.
            if let (Some(above), false) = (link.parent(), link.exists()) {
                fs::create_dir_all(above)?;
                symlink(source, &link)?;
            }
        }
        Ok(())
    }
}

/// Lets the worktree's git use private data: its `.git` names the private notes, and these name a repository in the scratch folders that
/// borrows the true objects.
fn link_git(place: &WorktreePaths, scratch: &ScratchFolders) -> io::Result<()> {
    let (git, private) = (scratch.git(), &place.private);
    for name in ["HEAD", "packed-refs", "shallow"] {
        let from = place.common.join(name);
        if from.is_file() {
            fs::copy(from, git.join(name))?;
        }
    }
    fs::copy(private.join("config-shown"), git.join("config"))?;
    copy_refs(&place.common.join("refs"), &git.join("refs"), Path::new("refs"), &place.ref_folders)?;
    for folder in &place.ref_folders {
        let link = git.join(folder);
        fs::create_dir_all(link.parent().unwrap_or(&git))?;
        symlink(private.join(folder), link)?;
    }
    symlink(private.join("objects"), git.join("objects"))?;
    if place.common.join("info").is_dir() {
        symlink(place.common.join("info"), git.join("info"))?;
    }
    symlink(private.join(LFS), git.join(LFS))?;
    let info = private.join("objects/info");
    // Code inside can write next to it, and must not choose where this is written.
    if !fs::symlink_metadata(&info).is_ok_and(|found| found.is_dir()) {
        return Err(io::Error::other("a part of the private repository is not a folder"));
    }
    write_new(&info.join("alternates"), &format!("{}\n", place.common.join("objects").display()))?;
    write_new(&private.join("admin/commondir"), &format!("{}\n", git.display()))?;
    write_new(&place.folder.join(".git"), &format!("gitdir: {}\n", private.join("admin").display()))
}

/// Copies refs, which are small files, except for the folders in `own`.
fn copy_refs(from: &Path, to: &Path, name: &Path, own: &[PathBuf]) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)?.flatten() {
        let (path, name) = (entry.path(), name.join(entry.file_name()));
        let kind = entry.file_type()?;
        if kind.is_dir() && !own.contains(&name) {
            copy_refs(&path, &to.join(entry.file_name()), &name, own)?;
        } else if kind.is_file() && path.extension().is_none_or(|end| end != "lock") {
            fs::copy(&path, to.join(entry.file_name()))?;
        }
    }
    Ok(())
}
