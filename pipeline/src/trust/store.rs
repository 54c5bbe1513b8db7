//! The settings that the operator confirmed, which stories were started on this machine, and which are in quarantine: stored for each
//! project's real path, outside of every repository.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, OpenOptions},
    io::{self, Read as _},
    os::unix::{
        ffi::OsStrExt as _,
        fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    },
    path::PathBuf,
    sync::Arc,
};

use rustix::fs::OFlags;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::DeserializeOwned};
use settings::atomic;
use sha2::Digest as _;

use super::{error::TrustError, text::TrustedText};
use crate::{Project, story::StoryId, strangers::Quarantine};

/// The folder of the confirmations of one user. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustStore {
    folder: PathBuf,
}

/// One record. The path is for people; the file's name is what counts.
#[derive(Serialize, Deserialize)]
struct TrustRecord<T> {
    project: String,
    #[serde(flatten)]
    about: T,
}

/// Where stories come from, by the names of their files without `.md`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StoryOrigins {
    /// Started on this machine, and still in work.
    pub started: BTreeSet<String>,
    /// Came in work with the repository, and nobody has started them.
    pub brought: BTreeSet<String>,
    /// In the backlog, and looked at; absent in a record of a version that did not look there.
    pub known: Option<BTreeSet<String>>,
    /// From strangers, and no person has released them. By number: a file that gets another name stays what it is. Shared with each
    /// snapshot: in a fresh clone all stories can be in it.
    #[serde(serialize_with = "as_list", deserialize_with = "from_list")]
    pub quarantine: Arc<BTreeMap<StoryId, Quarantine>>,
}

// As a list: serde cannot read numbers back from the names of an object's keys where records are flattened.
fn as_list<S: Serializer>(
    quarantine: &Arc<BTreeMap<StoryId, Quarantine>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    quarantine.iter().collect::<Vec<_>>().serialize(serializer)
}

fn from_list<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Arc<BTreeMap<StoryId, Quarantine>>, D::Error> {
    Ok(Arc::new(Vec::deserialize(deserializer)?.into_iter().collect()))
}

#[derive(Serialize, Deserialize)]
struct ConfirmedText {
    confirmed: TrustedText,
}

impl TrustStore {
    /// `$XDG_STATE_HOME/storkit/trust`, by default below `~/.local/state`. `lookup` reads the environment.
    pub fn of_user(lookup: impl Fn(&str) -> Option<OsString>) -> Result<Self, TrustError> {
        // The XDG base directory specification: a relative path is to be ignored.
        let absolute = |name: &str| lookup(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")));
        Ok(Self::at(state.ok_or(TrustError::NoFolder)?.join("storkit/trust")))
    }

    /// In this folder, which need not exist yet.
    pub fn at(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The text that the operator confirmed last for this project.
    pub fn confirmed(&self, project: &Project) -> Result<Option<TrustedText>, TrustError> {
        Ok(self.read::<ConfirmedText>(project, "json")?.map(|record| record.confirmed))
    }

    /// Records that the operator has seen exactly this text and wants it in force.
    pub fn confirm(&self, project: &Project, text: &TrustedText) -> Result<(), TrustError> {
        self.write(project, "json", ConfirmedText { confirmed: text.clone() })
    }

    /// Where the stories in work come from; `None` where storkit has never served the project at this path.
    pub fn origins(&self, project: &Project) -> Result<Option<StoryOrigins>, TrustError> {
        self.read(project, "stories.json")
    }

    pub fn set_origins(&self, project: &Project, origins: &StoryOrigins) -> Result<(), TrustError> {
        self.write(project, "stories.json", origins)
    }

    /// Removes the records of a project that is gone.
    pub fn forget(&self, project: &Project) {
        for extension in ["json", "stories.json", "state.json"] {
            // One that is not there is forgotten already.
            let _ = fs::remove_file(self.path(project, extension));
        }
    }

    /// When the confirmation was written, in nanoseconds since 1970; 0 where there is none.
    pub fn changed_at(&self, project: &Project) -> i128 {
        let found = fs::symlink_metadata(self.path(project, "json"));
        found.map_or(0, |found| i128::from(found.mtime()) * 1_000_000_000 + i128::from(found.mtime_nsec()))
    }

    /// A hash, since a path may be longer than a file's name can be.
    fn path(&self, project: &Project, extension: &str) -> PathBuf {
        let name = hex::encode(sha2::Sha256::digest(project.root().as_os_str().as_bytes()));
        self.folder.join(format!("{name}.{extension}"))
    }

    pub(super) fn read<T: DeserializeOwned>(
        &self,
        project: &Project,
        extension: &str,
    ) -> Result<Option<T>, TrustError> {
        let path = self.path(project, extension);
        let damaged = |why: String| TrustError::Damaged { path: path.clone(), why };
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let mut file = match options.open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(damaged(error.to_string())),
        };
        self.check_place(project)?;
        let found = file.metadata().map_err(|error| damaged(error.to_string()))?;
        if !found.is_file() || !is_private(&found) {
            return Err(TrustError::NotPrivate(path));
        }
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(|error| damaged(error.to_string()))?;
        let record: TrustRecord<T> =
            serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
        Ok(Some(record.about))
    }

    /// Whether this machine has left that stamp in the state of a project.
    pub(super) fn knows_stamp(&self, stamp: &str) -> bool {
        let records = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let is_it = |path: PathBuf| {
            let is_record = path.to_str().is_some_and(|path| path.ends_with(".state.json"));
            let found = fs::symlink_metadata(&path).ok().filter(|found| found.is_file() && is_private(found));
            let text = found.filter(|_| is_record).and_then(|_| fs::read(&path).ok()).unwrap_or_default();
            let record: Option<serde_json::Value> = serde_json::from_slice(&text).ok();
            record.is_some_and(|record| record["stamp"].as_str() == Some(stamp))
        };
        records.map(|entry| entry.path()).any(is_it)
    }

    pub(super) fn write<T: Serialize>(
        &self,
        project: &Project,
        extension: &str,
        about: T,
    ) -> Result<(), TrustError> {
        let path = self.path(project, extension);
        let failed = |error: io::Error| TrustError::Damaged { path: path.clone(), why: error.to_string() };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder).map_err(failed)?;
        self.check_place(project)?;
        let record = TrustRecord { project: project.root().display().to_string(), about };
        let mut bytes = serde_json::to_vec_pretty(&record).map_err(|error| failed(error.into()))?;
        bytes.push(b'\n');
        match fs::symlink_metadata(&path) {
            // Its mode would be kept.
            Ok(found) if !is_private(&found) => Err(TrustError::NotPrivate(path)),
            _ => atomic::write(&path, &bytes).map_err(failed),
        }
    }

    /// The folder must not be one that the repository brings.
    fn check_place(&self, project: &Project) -> Result<(), TrustError> {
        let failed =
            |error: io::Error| TrustError::Damaged { path: self.folder.clone(), why: error.to_string() };
        let real = fs::canonicalize(&self.folder).map_err(failed)?;
        if real.starts_with(project.root()) {
            return Err(TrustError::InsideProject(self.folder.clone()));
        }
        match fs::metadata(&real).map_err(failed)? {
            found if is_private(&found) => Ok(()),
            _ => Err(TrustError::NotPrivate(real)),
        }
    }
}

/// Ours, and nobody else can write it.
pub(super) fn is_private(found: &fs::Metadata) -> bool {
    let own = found.uid() == rustix::process::geteuid().as_raw() || found.uid() == 0;
    own && found.mode() & 0o022 == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::worktree::fixture::WorktreeFixture;

    fn text(gate: &str) -> TrustedText {
        TrustedText { project_toml: Some(format!("gates = [\"{gate}\"]\n")), ..TrustedText::default() }
    }

    fn store(folder: &tempfile::TempDir) -> TrustStore {
        TrustStore::at(folder.path().canonicalize().unwrap().join("state/storkit/trust"))
    }

    #[test]
    fn a_confirmation_counts_for_its_path_alone_and_only_its_owner_can_write_it() {
        let (one, other) = (WorktreeFixture::new(), WorktreeFixture::new());
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        assert_eq!(store.confirmed(&one.project).unwrap(), None);
        store.confirm(&one.project, &text("make")).unwrap();
        assert_eq!(store.confirmed(&one.project).unwrap(), Some(text("make")));
        assert_eq!(
            store.confirmed(&other.project).unwrap(),
            None,
            "the same content at another path is not confirmed"
        );
        let path = store.path(&one.project, "json");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o700);
    }

    #[test]
    fn a_record_that_others_could_have_written_does_not_count() {
        let git = WorktreeFixture::new();
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        store.confirm(&git.project, &text("make")).unwrap();
        let path = store.path(&git.project, "json");
        for (place, open, private) in [(path.clone(), 0o620, 0o600), (store.folder.clone(), 0o777, 0o700)] {
            fs::set_permissions(&place, fs::Permissions::from_mode(open)).unwrap();
            assert!(matches!(store.confirmed(&git.project), Err(TrustError::NotPrivate(_))), "{place:?}");
            fs::set_permissions(&place, fs::Permissions::from_mode(private)).unwrap();
        }
        let elsewhere = folder.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(
            matches!(store.confirmed(&git.project), Err(TrustError::Damaged { .. })),
            "links are not followed"
        );
        fs::remove_file(&path).unwrap();
        fs::write(&path, "{}").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(matches!(store.confirmed(&git.project), Err(TrustError::Damaged { .. })));
    }

    #[test]
    fn a_repository_cannot_bring_its_own_confirmation() {
        let git = WorktreeFixture::new();
        let inside = git.root().join(".state");
        let folder = tempfile::tempdir().unwrap();
        symlink(&inside, folder.path().join("link")).unwrap();
        fs::create_dir(&inside).unwrap();
        for place in [inside, folder.path().join("link")] {
            let store = TrustStore::at(place.join("storkit/trust"));
            assert!(matches!(store.confirm(&git.project, &text("x")), Err(TrustError::InsideProject(_))));
            let path = store.path(&git.project, "json");
            fs::write(path, r#"{"project":"","confirmed":{"project_toml":null,"git_programs":[]}}"#).unwrap();
            assert!(matches!(store.confirmed(&git.project), Err(TrustError::InsideProject(_))));
        }
    }

    #[test]
    fn the_folder_is_the_users_and_never_relative() {
        let of = |xdg: Option<&str>, home: Option<&str>| {
            let lookup = |name: &str| if name == "HOME" { home } else { xdg }.map(OsString::from);
            TrustStore::of_user(lookup).ok().map(|store| store.folder)
        };
        assert_eq!(of(Some("/state"), Some("/home/a")), Some("/state/storkit/trust".into()));
        assert_eq!(of(Some("state"), Some("/home/a")), Some("/home/a/.local/state/storkit/trust".into()));
        assert_eq!(of(None, None), None);
    }

    #[test]
    fn what_was_started_here_is_remembered() {
        let git = WorktreeFixture::new();
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder);
        let origins = StoryOrigins { started: ["7_story_x".to_owned()].into(), ..StoryOrigins::default() };
        assert_eq!(store.origins(&git.project).unwrap(), None);
        store.set_origins(&git.project, &origins).unwrap();
        assert_eq!(store.origins(&git.project).unwrap(), Some(origins));
    }
}
