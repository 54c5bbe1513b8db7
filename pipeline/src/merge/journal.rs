//! The journal: one file that names the merge in progress, written before its first visible
//! step and removed after its last.

use git2::Oid;
use serde::{Deserialize, Serialize};
use settings::atomic;

use super::paths::remove_durably;
use crate::{
    merge::{outcome::MergeError, paths::MergePaths, proof::MergeProof},
    story::FileName,
};

/// The merge that is on its way, as the proof it will leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MergeJournal {
    pub proof: MergeProof,
    /// The story's text as it lands.
    pub story_blob: String,
    /// The board's move, in the same transaction as that of base. An earlier version had the board on base: its merges have none.
    #[serde(default)]
    pub board: Option<BoardMove>,
}

/// The board's branch before, and the commit in which the story is done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct BoardMove {
    pub before: Option<String>,
    pub commit: String,
}

impl BoardMove {
    pub(crate) fn old_tip(&self) -> Result<Option<Oid>, MergeError> {
        Ok(self.before.as_deref().map(Oid::from_str).transpose()?)
    }

    pub(crate) fn new_tip(&self) -> Result<Oid, MergeError> {
        Ok(Oid::from_str(&self.commit)?)
    }
}

impl MergeJournal {
    pub(crate) fn read(place: &MergePaths) -> Result<Option<Self>, MergeError> {
        let path = place.journal();
        let bytes = match std::fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes.map_err(MergeError::io(&path))?,
        };
        let unreadable = |error: serde_json::Error| {
            MergeError::Unfinished(format!(
                "`{}` describes an interrupted merge, but cannot be read: {error}. It is written whole or not at all, \
                 so somebody changed it. See with `git log` whether base has the merge, then remove the file.",
                path.display()
            ))
        };
        serde_json::from_slice(&bytes).map(Some).map_err(unreadable)
    }

    pub(crate) fn write(&self, place: &MergePaths) -> Result<(), MergeError> {
        let path = place.journal();
        let bytes = serde_json::to_vec_pretty(self).map_err(std::io::Error::from);
        bytes.and_then(|bytes| atomic::write(&path, &bytes)).map_err(MergeError::io(path))
    }

    pub(crate) fn remove(place: &MergePaths) -> Result<(), MergeError> {
        remove_durably(&place.journal()).map_err(MergeError::io(place.journal()))
    }

    pub(crate) fn before(&self) -> Result<Oid, MergeError> {
        Ok(Oid::from_str(&self.proof.before)?)
    }

    pub(crate) fn commit(&self) -> Result<Oid, MergeError> {
        Ok(Oid::from_str(&self.proof.commit)?)
    }

    pub(crate) fn blob(&self) -> Result<Oid, MergeError> {
        Ok(Oid::from_str(&self.story_blob)?)
    }

    pub(crate) fn file(&self) -> Result<FileName, MergeError> {
        let named = |error| {
            MergeError::Unfinished(format!("The merge journal names `{}`: {error}.", self.proof.file))
        };
        self.proof.file.parse().map_err(named)
    }
}
