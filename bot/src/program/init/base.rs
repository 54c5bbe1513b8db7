//! Which branch is base: asked, and confirmed in `project.toml`, because people often work on another branch than `main`.

use std::collections::BTreeMap;

use pipeline::{
    Project,
    git::program::{GitProgram, GitProgramError},
};

/// Branches that are usually base.
const USUAL: [&str; 2] = ["main", "master"];

/// Branches on which teams work that use `main` for releases only.
const WORKED_ON: [&str; 6] = ["develop", "development", "dev", "trunk", "next", "integration"];

/// The branch where the remote says so, without a network.
const REMOTE_HEAD: &str = "refs/remotes/origin/HEAD";

/// The branches that stories could merge to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BaseBranches {
    /// Used where nobody chooses.
    pub suggested: String,
    /// Local branches that have a commit.
    pub branches: Vec<String>,
    /// The branch that is checked out, even if it has no commit yet; `None` with a detached HEAD.
    pub checked_out: Option<String>,
    /// A usual base branch that the suggested one has left behind.
    pub old: Option<String>,
}

impl BaseBranches {
    /// Reads them. Nothing is fetched.
    ///
    /// Fails where git is missing or refuses.
    pub fn read(project: &Project) -> Result<Self, GitProgramError> {
        let git = GitProgram::at(project.root());
        let format = "--format=%(committerdate:unix) %(refname)";
        let listed = git.run(["for-each-ref", format, "refs/heads/"])?;
        let mut tips: BTreeMap<String, i64> = BTreeMap::new();
        for line in listed.lines() {
            if let Some((time, name)) = line.split_once(' ')
                && let Some(name) = name.strip_prefix("refs/heads/").filter(|name| is_a_persons(name))
            {
                tips.insert(name.to_owned(), time.parse().unwrap_or_default());
            }
        }
        let head = git.answer(["symbolic-ref", "--quiet", "HEAD"], &[])?;
        let head = String::from_utf8_lossy(&head.stdout).trim_end().to_owned();
        let checked_out = head.strip_prefix("refs/heads/").map(str::to_owned);
        let remote = git.answer(["symbolic-ref", "--quiet", "--short", REMOTE_HEAD], &[])?;
        let remote = String::from_utf8_lossy(&remote.stdout).trim_end().to_owned();
        let remote = remote.split_once('/').map(|(_, branch)| branch.to_owned());
        let is_ancestor = |older: &str, newer: &str| {
            let full = |name: &str| format!("refs/heads/{name}");
            git.asks(["merge-base", "--is-ancestor", &full(older), &full(newer)]).unwrap_or(false)
        };
        let (suggested, old) = suggest(&tips, checked_out.as_deref(), remote.as_deref(), is_ancestor);
        Ok(Self { suggested, branches: tips.into_keys().collect(), checked_out, old })
    }

    /// Whether a person should be asked: there is more than one answer.
    pub fn is_open(&self) -> bool {
        self.branches.len() > 1
    }

    /// Whether stories can merge to this branch: it exists, or is the one that the first commit will make.
    pub fn can_be(&self, branch: &str) -> bool {
        self.branches.iter().any(|known| known == branch)
            || (self.branches.is_empty() && self.checked_out.as_deref() == Some(branch))
    }
}

/// storkit's own branches are none of the choices.
fn is_a_persons(branch: &str) -> bool {
    let own = ["storkit/", "room/", pipeline::worktree::BRANCH_PREFIX];
    !own.iter().any(|prefix| branch.starts_with(prefix))
}

/// The branch that people work on, and the usual one that is old.
fn suggest(
    tips: &BTreeMap<String, i64>,
    checked_out: Option<&str>,
    remote: Option<&str>,
    is_ancestor: impl Fn(&str, &str) -> bool,
) -> (String, Option<String>) {
    let exists = |name: &&str| tips.contains_key(*name);
    let here = checked_out.filter(|name| tips.contains_key(*name) || tips.is_empty());
    let usual = USUAL.into_iter().filter(exists).collect::<Vec<_>>();
    let usual = usual.iter().find(|name| checked_out == Some(**name)).or(usual.first()).copied();
    let worked_on = WORKED_ON.into_iter().filter(exists).max_by_key(|name| tips[*name]);
    if let (Some(usual), Some(worked_on)) = (usual, worked_on)
        && (is_ancestor(usual, worked_on) && !is_ancestor(worked_on, usual)
            || tips[worked_on] - tips[usual] > WEEKS)
    {
        return (worked_on.to_owned(), Some(usual.to_owned()));
    }
    let remote = remote.filter(|name| tips.contains_key(*name));
    let newest = tips.iter().max_by_key(|(_, time)| **time).map(|(name, _)| name.as_str());
    let chosen = remote.or(usual).or(worked_on).or(here).or(newest).unwrap_or(USUAL[0]);
    (chosen.to_owned(), None)
}

/// With merge commits of releases, `main` is never an ancestor of `develop`; two weeks apart, in seconds, it is old all the same.
const WEEKS: i64 = 14 * 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    fn suggested(
        tips: &[(&str, i64)],
        here: Option<&str>,
        remote: Option<&str>,
        is_behind: bool,
    ) -> (String, Option<String>) {
        let tips = tips.iter().map(|(name, time)| ((*name).to_owned(), *time)).collect();
        suggest(&tips, here, remote, |older, _| is_behind && older == "main")
    }

    #[test]
    fn a_feature_branch_is_not_taken_for_base() {
        let tips = [("main", 10), ("feature/x", 20)];
        assert_eq!(suggested(&tips, Some("feature/x"), None, true), ("main".into(), None));
        assert_eq!(suggested(&[("master", 1)], Some("master"), None, false), ("master".into(), None));
    }

    #[test]
    fn where_main_is_old_the_branch_that_people_work_on_is_suggested() {
        let tips = [("main", 10), ("develop", 20)];
        let old = ("develop".into(), Some("main".into()));
        assert_eq!(suggested(&tips, Some("develop"), None, true), old);
        assert_eq!(suggested(&tips, Some("main"), Some("main"), true), old);
        assert_eq!(suggested(&tips, Some("develop"), None, false), ("main".into(), None), "both are in use");
        let months = [("main", 10), ("develop", 90 * 24 * 3600)];
        assert_eq!(suggested(&months, Some("develop"), None, false), old, "releases are merge commits");
        let newer = [("main", 30), ("develop", 20)];
        assert_eq!(suggested(&newer, Some("develop"), None, false), ("main".into(), None));
    }

    #[test]
    fn where_main_is_missing_the_remotes_choice_counts_then_the_branch_that_is_checked_out() {
        let tips = [("trunk", 10), ("v2", 20), ("x", 30)];
        assert_eq!(suggested(&tips, Some("x"), Some("v2"), false).0, "v2");
        assert_eq!(suggested(&tips, Some("x"), Some("gone"), false).0, "trunk");
        assert_eq!(suggested(&tips[1..], Some("v2"), None, false).0, "v2");
        assert_eq!(suggested(&tips[1..], None, None, false).0, "x", "with a detached HEAD the newest");
    }

    #[test]
    fn a_repository_without_a_commit_has_the_branch_that_its_first_commit_makes() {
        assert_eq!(suggested(&[], Some("trunk"), None, false), ("trunk".into(), None));
        assert_eq!(suggested(&[], None, None, false), ("main".into(), None));
        let branches = BaseBranches { checked_out: Some("trunk".into()), ..BaseBranches::default() };
        assert!(branches.can_be("trunk") && !branches.can_be("main") && !branches.is_open());
    }
}
