//! A trial's changes outside of the agent's folder, where the wall lets it: in its private home, in git's data, in
//! folders that the operator made writable.

use std::{fs, os::unix::fs::FileTypeExt as _, path::Path};

use super::{OutsideChange, OutsideKind, moved};
use crate::confine::{LayerFiles, LayeredCommand, LayeredFolder, WorktreePaths};

/// Changes that are named. The others are counted.
const NAMED: usize = 20;

#[derive(Default)]
pub(super) struct OutsideChanges {
    pub changes: Vec<OutsideChange>,
    pub count: usize,
    pub has_git_data: bool,
}

pub(super) fn changes(
    layers: &LayerFiles,
    layered: &LayeredCommand,
    place: &WorktreePaths,
) -> OutsideChanges {
    let mut found = OutsideChanges::default();
    for (number, folder) in layered.folders.iter().enumerate() {
        if folder.at != place.folder {
            let walk = Walk { layered, folder, kind: kind_of(folder, place) };
            walk.visit(&layers.changed(number), Path::new(""), &mut found);
        }
    }
    // Folders that the operator shares go before the process's own.
    found.changes.sort_by_key(|change| match change.kind {
        OutsideKind::Shared => 0,
        OutsideKind::Git => 1,
        OutsideKind::Private => 2,
    });
    found
}

fn kind_of(folder: &LayeredFolder, place: &WorktreePaths) -> OutsideKind {
    if folder.at.starts_with(&place.common) {
        return OutsideKind::Git;
    }
    match folder.lower.iter().any(|lower| lower.starts_with(&place.private)) {
        true => OutsideKind::Private,
        false => OutsideKind::Shared,
    }
}

struct Walk<'a> {
    layered: &'a LayeredCommand,
    folder: &'a LayeredFolder,
    kind: OutsideKind,
}

impl Walk<'_> {
    fn visit(&self, layer: &Path, path: &Path, found: &mut OutsideChanges) {
        let Ok(entries) = fs::read_dir(moved(path, layer)) else { return };
        for entry in entries.flatten() {
            let path = path.join(entry.file_name());
            let inside = self.folder.at.join(&path);
            let Ok(kind) = entry.file_type() else { continue };
            // Made as a place for a mount.
            if self.layered.shown.contains_key(&inside) {
                continue;
            }
            if kind.is_dir() {
                self.visit(layer, &path, found);
                continue;
            }
            found.count += 1;
            found.has_git_data |= self.kind == OutsideKind::Git;
            if found.changes.len() < NAMED || self.kind == OutsideKind::Shared {
                let is_deleted = kind.is_char_device();
                found.changes.push(OutsideChange { path: inside, kind: self.kind, is_deleted });
            }
        }
    }
}
