//! The files of a project that git has: in the checkout, or at the tip of a branch.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use pipeline::{
    Project,
    git::program::{GitProgram, GitProgramError},
};

/// Larger files are not read.
const MAX_BYTES: u64 = 1 << 20;

/// Paths are relative to the project's root, with `/`.
pub struct ProjectFiles {
    names: BTreeSet<String>,
    source: FileSource,
}

enum FileSource {
    Checkout(PathBuf),
    Branch {
        root: PathBuf,
        branch: String,
    },
    #[cfg(test)]
    Memory(std::collections::BTreeMap<String, String>),
}

impl ProjectFiles {
    /// For a repository in which git must not be used.
    pub fn none() -> Self {
        Self { names: BTreeSet::new(), source: FileSource::Checkout(PathBuf::new()) }
    }

    /// Those of the checkout, also what was never committed; nothing that git ignores.
    ///
    /// Fails where git is missing or refuses.
    pub fn of_checkout(project: &Project) -> Result<Self, GitProgramError> {
        let args = ["ls-files", "-z", "--cached", "--others", "--exclude-standard"];
        let names = names(&GitProgram::at(project.root()).run(args)?);
        Ok(Self { names, source: FileSource::Checkout(project.root().to_owned()) })
    }

    /// Those at the tip of a branch.
    ///
    /// Fails where git is missing or refuses.
    pub fn of_branch(project: &Project, branch: &str) -> Result<Self, GitProgramError> {
        let reference = format!("refs/heads/{branch}");
        let listed =
            GitProgram::at(project.root()).run(["ls-tree", "-r", "-z", "--name-only", &reference])?;
        let source = FileSource::Branch { root: project.root().to_owned(), branch: branch.to_owned() };
        Ok(Self { names: names(&listed), source })
    }

    #[cfg(test)]
    pub fn in_memory(files: &[(&str, &str)]) -> Self {
        let files: std::collections::BTreeMap<String, String> =
            files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        Self { names: files.keys().cloned().collect(), source: FileSource::Memory(files) }
    }

    pub fn has(&self, folder: &str, name: &str) -> bool {
        self.names.contains(&join(folder, name))
    }

    /// Whether anything is in this folder, or in one of its folders.
    pub fn has_folder(&self, folder: &str, name: &str) -> bool {
        let folder = format!("{}/", join(folder, name));
        self.names.range(folder.clone()..).next().is_some_and(|name| name.starts_with(&folder))
    }

    /// Files of this folder itself.
    pub fn in_folder<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a str> {
        let prefix = if folder.is_empty() { String::new() } else { format!("{folder}/") };
        let names = self.names.range(prefix.clone()..).map(String::as_str);
        names.map_while(move |name| name.strip_prefix(prefix.as_str())).filter(|name| !name.contains('/'))
    }

    /// Paths of all files that are called like one of these.
    pub fn named<'a>(&'a self, names: &'a [&str]) -> impl Iterator<Item = &'a str> {
        let called = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        self.names.iter().map(String::as_str).filter(move |path| names.contains(&called(path).as_str()))
    }

    /// The file's text; empty where it is missing, too large or no text. Links are not followed.
    pub fn text(&self, folder: &str, name: &str) -> String {
        if !self.has(folder, name) {
            return String::new();
        }
        self.read(&join(folder, name)).unwrap_or_default()
    }

    fn read(&self, path: &str) -> Option<String> {
        match &self.source {
            FileSource::Checkout(root) => {
                let path = root.join(path);
                let found = path.symlink_metadata().ok()?;
                (found.is_file() && found.len() <= MAX_BYTES)
                    .then(|| fs::read_to_string(&path).ok())
                    .flatten()
            }
            FileSource::Branch { root, branch } => on_branch(root, branch, path),
            #[cfg(test)]
            FileSource::Memory(files) => files.get(path).cloned(),
        }
    }
}

fn on_branch(root: &Path, branch: &str, path: &str) -> Option<String> {
    let git = GitProgram::at(root);
    let blob = format!("refs/heads/{branch}:{path}");
    let size: u64 = git.run(["cat-file", "-s", &blob]).ok()?.trim().parse().ok()?;
    (size <= MAX_BYTES).then(|| git.run(["cat-file", "blob", &blob]).ok()).flatten()
}

fn names(listed: &str) -> BTreeSet<String> {
    listed.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_its_own_files_and_not_those_of_its_neighbours() {
        let files = ProjectFiles::in_memory(&[("a/x", ""), ("a/b/y", ""), ("a-b/z", ""), ("w", "text")]);
        assert_eq!(files.in_folder("a").collect::<Vec<_>>(), ["x"]);
        assert_eq!(files.in_folder("").collect::<Vec<_>>(), ["w"]);
        assert!(files.has_folder("a", "b") && !files.has_folder("a", "x") && !files.has_folder("", "w"));
        assert_eq!((files.text("", "w"), files.text("", "none")), ("text".into(), String::new()));
    }

    #[test]
    fn the_checkout_counts_without_what_git_ignores_and_a_branch_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let git = |args: &[&str]| GitProgram::at(&root).with_identity().unwrap().run(args).unwrap();
        git(&["init", "-q", "-b", "main"]);
        fs::write(root.join("go.mod"), "module old\n").unwrap();
        fs::write(root.join(".gitignore"), "node_modules/\n").unwrap();
        git(&["add", "."]);
        git(&["commit", "-q", "-m", "first"]);
        fs::write(root.join("go.mod"), "module new\n").unwrap();
        fs::create_dir(root.join("node_modules")).unwrap();
        fs::write(root.join("node_modules/package.json"), "{}").unwrap();
        fs::write(root.join("package.json"), "{}").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", root.join("setup.py")).unwrap();
        let project = Project::open(&root).unwrap();
        let here = ProjectFiles::of_checkout(&project).unwrap();
        assert_eq!(here.named(&["package.json"]).collect::<Vec<_>>(), ["package.json"]);
        assert_eq!(
            (here.text("", "go.mod").trim_end().to_owned(), here.text("", "setup.py")),
            ("module new".to_owned(), String::new())
        );
        let main = ProjectFiles::of_branch(&project, "main").unwrap();
        assert!(!main.has("", "package.json"));
        assert_eq!(main.text("", "go.mod"), "module old");
    }
}
