//! Hooks that limit an agent's git to its own branch, in its worktree and in the main checkout alike. They look at
//! who asks: a person's git, and that of any other repository, passes.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
};

/// The repository that is guarded, in an agent's environment.
pub(super) const REPOSITORY: &str = "STORKIT_GUARD_REPOSITORY";

/// The administrative folder of the agent's worktree.
pub(super) const WORKTREE: &str = "STORKIT_GUARD_WORKTREE";

/// The one ref it may move.
pub(super) const REF: &str = "STORKIT_GUARD_REF";

// The same fact in a file next to the worktree's HEAD, for an agent that cleans its environment.
pub(super) const NOTE: &str = "storkit-ref";

/// The agent's part of the environment: the hooks know its processes by it, also in the main checkout.
/// `hooks` is set where no sandbox protects the main checkout; then every git uses them.
pub(super) fn environment(
    common: &Path,
    folder: &Path,
    admin: &Path,
    reference: &str,
    hooks: Option<&std::path::PathBuf>,
) -> Vec<(String, String)> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut environment = vec![
        ("GIT_TERMINAL_PROMPT".into(), "0".into()),
        // Without its `.git` the folder would be taken for a part of the main checkout.
        ("GIT_CEILING_DIRECTORIES".into(), text(folder.parent().unwrap_or(folder))),
        (REPOSITORY.into(), text(common)),
        (WORKTREE.into(), text(admin)),
        (REF.into(), reference.into()),
    ];
    // Configuration in the environment outranks every file (git-config(1)), so it holds in the main checkout,
    // too.
    if let Some(hooks) = hooks {
        let told = [("GIT_CONFIG_COUNT", "1"), ("GIT_CONFIG_KEY_0", "core.hooksPath")];
        environment.extend(told.map(|(name, value)| (name.into(), value.into())));
        environment.push(("GIT_CONFIG_VALUE_0".into(), text(hooks)));
    }
    environment
}

/// Finds out who asks. Sets `own` to the ref that may move and `home` to 1 in the agent's own worktree; exits
/// with 0 for a person and for other repositories.
const WHO: &str = r#"#!/bin/sh
# Written by storkit: agents commit on their own branch only. A person's git passes.
# What is no repository yet (`git init` calls hooks, too) is none of ours.
git_dir=$(git rev-parse --absolute-git-dir 2>/dev/null) || exit 0
common=$(cd "$(git rev-parse --git-common-dir)" && pwd -P) || exit 1
home=0
if [ -f "$git_dir/storkit-ref" ]; then
    read -r own < "$git_dir/storkit-ref"
    home=1
elif [ -n "$STORKIT_GUARD_REPOSITORY" ] && [ "$common" = "$STORKIT_GUARD_REPOSITORY" ]; then
    own=$STORKIT_GUARD_REF
else
    exit 0
fi
if [ -n "$STORKIT_GUARD_WORKTREE" ] && [ "$git_dir" != "$STORKIT_GUARD_WORKTREE" ]; then
    home=0
fi
refuse() {
    echo "storkit: $1. This run may commit only on ${own#refs/heads/}, in its own worktree." >&2
    exit 1
}
"#;

/// `reference-transaction` (githooks(5)): lines `OLD NEW REF`; in state `prepared` a failure refuses them all.
const REFERENCE_TRANSACTION: &str = r#"
while read -r old new ref; do
    case $ref in
    "$own")
        [ "$home" = 1 ] || refuse "$ref moves only from its worktree"
        case $new in *[!0]*) ;; *) refuse "$ref cannot be deleted" ;; esac ;;
    refs/worktree/* | refs/bisect/* | refs/rewritten/*)
        [ "$home" = 1 ] || refuse "$ref cannot be changed here" ;;
    refs/*) refuse "$ref cannot be changed" ;;
    *) [ "$home" = 1 ] || refuse "$ref cannot be changed in this checkout" ;;
    esac
done
exit 0
"#;

/// `pre-commit` refuses before the message is asked for. A detached HEAD is a rebase's.
const PRE_COMMIT: &str = r#"
[ "$home" = 1 ] || refuse "no commits in this checkout"
branch=$(git symbolic-ref --quiet HEAD) || exit 0
[ "$branch" = "$own" ] || refuse "no commits on ${branch#refs/heads/}"
exit 0
"#;

/// Writes the hooks where they are missing or changed.
pub(super) fn write(folder: &Path) -> io::Result<()> {
    // Git calls this hook several times for each transaction; only `prepared` can refuse it, so the
    // other calls exit first.
    let only_prepared = WHO.replacen("# What", "[ \"$1\" = prepared ] || exit 0\n# What", 1);
    let texts = [
        ("reference-transaction", format!("{only_prepared}{REFERENCE_TRANSACTION}")),
        ("pre-commit", format!("{WHO}{PRE_COMMIT}")),
    ];
    for (name, text) in texts {
        let path = folder.join(name);
        let stands = fs::symlink_metadata(&path)
            .is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o777 == 0o755);
        if !stands || fs::read(&path)? != text.as_bytes() {
            // Renamed into place: a git that runs meanwhile never sees half a hook.
            let mut file = tempfile::NamedTempFile::new_in(folder)?;
            file.write_all(text.as_bytes())?;
            file.as_file().set_permissions(fs::Permissions::from_mode(0o755))?;
            file.persist(&path)?;
        }
    }
    Ok(())
}
