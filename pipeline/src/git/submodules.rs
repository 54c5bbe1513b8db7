//! A project's submodules: which a commit has, where the main checkout keeps them, and whether a commit of one is on its remote.

use std::{
    collections::BTreeMap,
    fs,
    path::{Component, Path, PathBuf},
    time::Duration,
};

use git2::{ObjectType, Oid, Repository, TreeWalkMode, TreeWalkResult};

use super::program::{GitProgram, GitProgramError};

/// The mode of a submodule's entry in a tree (gitformat-index(5)).
pub(crate) const GITLINK: u32 = 0o160_000;

/// Where the remote's branches and tags are noted, out of sight of a person's `git branch --all`.
const PUBLISHED: &str = "refs/storkit/published";

/// The remote's name in the one call that asks it.
const REMOTE: &str = "storkit-published";

/// How long a remote may take.
const TIMEOUT: Duration = Duration::from_secs(120);

/// Why nobody knows whether a commit is on its remote.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemoteError {
    #[error(transparent)]
    Git(#[from] GitProgramError),
    #[error("`{folder}` cannot be written: {source}")]
    Scratch { folder: PathBuf, source: std::io::Error },
}

/// An entry of `.gitmodules`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Submodule {
    pub name: String,
    /// As it is written: it may be relative to the remote of the repository around it.
    pub url: String,
}

/// The entries of `.gitmodules` in a tree, by path.
pub(crate) fn listed(
    repository: &Repository,
    tree: Oid,
) -> Result<BTreeMap<PathBuf, Submodule>, GitProgramError> {
    let tree = repository.find_tree(tree);
    let file =
        tree.ok().and_then(|tree| tree.get_name(".gitmodules").map(|entry| (entry.id(), entry.kind())));
    let Some((blob, Some(ObjectType::Blob))) = file else { return Ok(BTreeMap::new()) };
    let git = GitProgram::explicit(repository.commondir(), repository.commondir());
    let args = ["config", "--blob", &blob.to_string(), "--list", "-z"];
    let answer = git.answer(args, &[])?;
    if answer.code != Some(0) {
        return Err(answer.refusal(&args));
    }
    Ok(entries(&String::from_utf8_lossy(&answer.stdout)))
}

/// `key LF value NUL`, again and again; the last value of a key counts.
fn entries(list: &str) -> BTreeMap<PathBuf, Submodule> {
    let mut found: BTreeMap<&str, (Option<&str>, Option<&str>)> = BTreeMap::new();
    for setting in list.split('\0') {
        let Some((key, value)) = setting.split_once('\n') else { continue };
        let Some((name, variable)) = key.strip_prefix("submodule.").and_then(|rest| rest.rsplit_once('.'))
        else {
            continue;
        };
        let entry = found.entry(name).or_default();
        match variable {
            "path" => entry.0 = Some(value),
            "url" => entry.1 = Some(value),
            _ => {}
        }
    }
    let whole = |(name, (path, url)): (&str, (Option<&str>, Option<&str>))| {
        let path = path?.trim_end_matches('/');
        (is_inside(name) && is_inside(path))
            .then(|| (path.into(), Submodule { name: name.into(), url: url.unwrap_or_default().into() }))
    };
    found.into_iter().filter_map(whole).collect()
}

// A name is a folder below `.git/modules`, and a `.gitmodules` may have been written by anybody.
fn is_inside(name: &str) -> bool {
    let mut parts = Path::new(name).components().peekable();
    parts.peek().is_some() && parts.all(|part| matches!(part, Component::Normal(_)))
}

/// The submodules' commits in a tree, by path.
pub(crate) fn links(repository: &Repository, tree: Oid) -> Result<BTreeMap<PathBuf, Oid>, git2::Error> {
    let mut found = BTreeMap::new();
    repository.find_tree(tree)?.walk(TreeWalkMode::PreOrder, |folder, entry| {
        if entry.kind() == Some(ObjectType::Commit) {
            let name = String::from_utf8_lossy(entry.name_bytes()).into_owned();
            found.insert(Path::new(folder).join(name), entry.id());
        }
        TreeWalkResult::Ok
    })?;
    Ok(found)
}

/// The git folder of a submodule in the main checkout, if it was initialised there.
pub(crate) fn store(root: &Path, common: &Path, path: &Path, module: &Submodule) -> Option<PathBuf> {
    let absorbed = common.join("modules").join(&module.name);
    if absorbed.join("HEAD").is_file() {
        return Some(absorbed);
    }
    // As git made them before 1.7.8, and as `git clone` into the folder still does.
    let embedded = root.join(path).join(".git");
    embedded.join("HEAD").is_file().then_some(embedded)
}

/// Whether a commit of a submodule is on a branch or tag of its remote, which is asked unless the store knows. Without a store one is made
/// in `scratch` for the question.
pub(crate) fn is_published(
    store: Option<&Path>,
    address: &str,
    scratch: &Path,
    commit: Oid,
) -> Result<bool, RemoteError> {
    let made = tempfile::Builder::new().prefix(".tmp-submodule-").tempdir_in(scratch);
    let made = made.map_err(|source| RemoteError::Scratch { folder: scratch.to_owned(), source })?;
    let folder = store.unwrap_or(made.path());
    let git = GitProgram::explicit(folder, folder).timeout(TIMEOUT);
    if store.is_none() {
        // A name's length says which hash the commits have.
        let format = if commit.to_string().len() > 40 { "sha256" } else { "sha1" };
        GitProgram::at(folder).run([
            "init",
            "--quiet",
            "--bare",
            "--template=",
            "--object-format",
            format,
            ".",
        ])?;
    }
    if contains(&git, commit, &["refs/remotes/origin", PUBLISHED])? {
        return Ok(true);
    }
    // By a name: git prints the arguments of a failed call, and an address may hold a password.
    let named = git
        .clone()
        .env("GIT_CONFIG_COUNT", "2")
        .env("GIT_CONFIG_KEY_0", format!("remote.{REMOTE}.url"))
        .env("GIT_CONFIG_VALUE_0", address)
        .env("GIT_CONFIG_KEY_1", "protocol.ext.allow")
        .env("GIT_CONFIG_VALUE_1", "never");
    let (heads, tags) =
        (format!("+refs/heads/*:{PUBLISHED}/heads/*"), format!("+refs/tags/*:{PUBLISHED}/tags/*"));
    named.run([
        "fetch",
        "--quiet",
        "--no-tags",
        "--prune",
        "--no-write-fetch-head",
        "--no-recurse-submodules",
        "--refmap=",
        REMOTE,
        &heads,
        &tags,
    ])?;
    Ok(contains(&git, commit, &[PUBLISHED])?)
}

fn contains(git: &GitProgram, commit: Oid, below: &[&str]) -> Result<bool, GitProgramError> {
    if !git.asks(["cat-file", "-e", &format!("{commit}^{{commit}}")]).unwrap_or(false) {
        return Ok(false);
    }
    let wanted = format!("--contains={commit}");
    let found = git.run(["for-each-ref", "--count=1", "--format=%(refname)", &wanted].iter().chain(below))?;
    Ok(!found.is_empty())
}

/// The address that a person's git uses for a submodule: the one in the repository's configuration, else that of `.gitmodules`.
pub(crate) fn address(common: &Path, module: &Submodule) -> Result<String, GitProgramError> {
    let git = GitProgram::explicit(common, common);
    let setting = |key: &str| {
        let answer = git.answer(["config", "--get", key], &[])?;
        let text = String::from_utf8_lossy(&answer.stdout).trim_end().to_owned();
        Ok::<_, GitProgramError>((answer.code == Some(0) && !text.is_empty()).then_some(text))
    };
    if let Some(address) = setting(&format!("submodule.{}.url", module.name))? {
        return Ok(address);
    }
    if !(module.url.starts_with("./") || module.url.starts_with("../")) {
        return Ok(module.url.clone());
    }
    let around = setting("remote.origin.url")?;
    let around = around.unwrap_or_else(|| common.parent().unwrap_or(common).to_string_lossy().into_owned());
    Ok(beside(&around, &module.url))
}

/// A relative address resolved as `git submodule init` does it (git-submodule(1)).
fn beside(around: &str, relative: &str) -> String {
    let (mut around, mut rest) = (around.trim_end_matches('/').to_owned(), relative);
    loop {
        if let Some(next) = rest.strip_prefix("./") {
            rest = next;
        } else if let Some(next) = rest.strip_prefix("../") {
            rest = next;
            let cut = around.rfind(['/', ':']).unwrap_or(0);
            // The colon of `host:path` stays.
            let keep = if around[cut..].starts_with(':') { cut + 1 } else { cut };
            around.truncate(keep);
        } else {
            let slash = if around.is_empty() || around.ends_with(':') { "" } else { "/" };
            return format!("{around}{slash}{rest}");
        }
    }
}

/// An address without the user and password in it: `https://ann:secret@host/x` is `https://host/x`.
pub(crate) fn without_user(address: &str) -> String {
    let Some((scheme, rest)) = address.split_once("://") else { return address.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    format!("{scheme}://{host}{path}")
}

/// Takes a checkout's submodules from one commit of the project to another, where nobody has moved them: a submodule that stands at its old commit, without
/// uncommitted changes, gets the new one. Others are a person's, and stay.
pub(crate) fn follow(
    (root, common): (&Path, &Path),
    work_tree: &Path,
    (old, new): (Oid, Oid),
) -> Result<(), GitProgramError> {
    let Ok(repository) = Repository::open(common) else { return Ok(()) };
    let tree = |commit| repository.find_commit(commit).map(|commit| commit.tree_id());
    let (Ok(old), Ok(new)) = (tree(old), tree(new)) else { return Ok(()) };
    let modules = listed(&repository, new)?;
    if modules.is_empty() {
        return Ok(());
    }
    let (Ok(before), Ok(after)) = (links(&repository, old), links(&repository, new)) else { return Ok(()) };
    for (path, commit) in after {
        let Some(stood) = before.get(&path).filter(|stood| **stood != commit) else { continue };
        let folder = work_tree.join(&path);
        let Some(module) = modules.get(&path).filter(|_| folder.join(".git").symlink_metadata().is_ok())
        else {
            continue;
        };
        let Ok(checkout) = Repository::open(&folder) else { continue };
        let place = checkout.workdir().and_then(|place| fs::canonicalize(place).ok());
        // A `.git` that leads elsewhere is none of ours.
        if place.is_none() || place != fs::canonicalize(&folder).ok() {
            continue;
        }
        let git = GitProgram::explicit(checkout.path(), &folder);
        let is_clean =
            git.run(["status", "--porcelain", "--untracked-files=no", "--ignore-submodules=all"])?.is_empty();
        if checkout.head().ok().and_then(|head| head.target()) != Some(*stood) || !is_clean {
            continue;
        }
        if checkout.find_commit(commit).is_err()
            && let Some(store) = store(root, common, &path, module)
        {
            let fetch = [
                "fetch",
                "--quiet",
                "--no-tags",
                "--no-write-fetch-head",
                "--no-recurse-submodules",
                "--refmap=",
                "--",
            ];
            let from = [store.as_os_str().to_owned(), commit.to_string().into()];
            git.run(fetch.iter().map(|arg| (*arg).into()).chain(from))?;
        }
        // Without `--force`: git refuses where a file of a person's would be overwritten.
        git.run(["checkout", "--quiet", "--detach", "--no-recurse-submodules", &commit.to_string()])?;
    }
    Ok(())
}
