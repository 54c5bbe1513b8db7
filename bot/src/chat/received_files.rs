//! Files that people sent: fetched when a prompt needs them, checked, and put where the room's agent can read them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use adapters::{Adapter, SentFile, private_files};
use agents::prompt::PromptImage;
use sha2::{Digest as _, Sha256};

use crate::{
    replies,
    sent_files::{self, FILE_MAX, FILES_MAX, FileDelivery, FileLoss},
};

/// In bytes; a larger image is a file like any other. The model's service takes 5 MB of base64 per image.
/// <https://docs.claude.com/en/docs/build-with-claude/vision>
const IMAGE_MAX: usize = 3_700_000;

/// Long enough for the session that works on a file; then people's files are removed from the disk.
const KEPT_FOR: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The longest name on disk, in bytes.
const NAME_MAX: usize = 80;

/// A file that a person sent, after the attempt to get it.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedFile {
    /// As its sender named it.
    pub name: String,
    pub kept: Result<KeptFile, FileLoss>,
}

/// A file in the folder that the agent reads.
#[derive(Clone, Debug, PartialEq)]
pub struct KeptFile {
    pub path: PathBuf,
    /// By its content, not by its name.
    pub media_type: &'static str,
    pub size: usize,
    /// What the model sees of it, if it is an image of a kind and size that models take.
    pub image: Option<PromptImage>,
}

impl FileDelivery {
    /// Fetches the files into a folder that only this user reads. The folder exists afterwards, also without files.
    pub async fn receive(self, folder: PathBuf) -> Vec<ReceivedFile> {
        let mut received = Vec::new();
        let prepared = in_background(move || prepare(&folder).map(|()| folder)).await;
        for (number, file) in self.files.into_iter().enumerate() {
            let kept = match &prepared {
                Ok(_) if number >= FILES_MAX => Err(FileLoss::Refused(replies::too_many_files(FILES_MAX))),
                Ok(folder) => fetch(&*self.adapter, &file, folder).await,
                Err(error) => Err(FileLoss::Failed(replies::file_not_written(error))),
            };
            if let Err(loss) = &kept {
                tracing::warn!(why = loss.why(), "a file that a person sent was not received");
            }
            received.push(ReceivedFile { name: file.name, kept });
        }
        received
    }
}

async fn fetch(adapter: &dyn Adapter, file: &SentFile, folder: &Path) -> Result<KeptFile, FileLoss> {
    let bytes = sent_files::fetch(adapter, file, FILE_MAX).await?;
    let media_type = media_type(&bytes);
    let (path, size) = (folder.join(name_on_disk(&file.name, media_type, &bytes)), bytes.len());
    let bytes: Arc<[u8]> = bytes.into();
    let (place, content) = (path.clone(), bytes.clone());
    let written = in_background(move || private_files::write(&place, &content)).await;
    written.map_err(|error| FileLoss::Failed(replies::file_not_written(&error)))?;
    let image = as_image(media_type, bytes);
    Ok(KeptFile { path, media_type, size, image })
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

fn prepare(folder: &Path) -> io::Result<()> {
    private_files::create_folder(folder)?;
    remove_old(folder, SystemTime::now());
    Ok(())
}

fn remove_old(folder: &Path, now: SystemTime) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|found| found.modified());
        let is_old = modified.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > KEPT_FOR));
        if is_old && let Err(error) = fs::remove_file(entry.path()) {
            tracing::warn!(%error, "an old file could not be removed");
        }
    }
}

fn media_type(bytes: &[u8]) -> &'static str {
    match infer::get(bytes) {
        Some(kind) => kind.mime_type(),
        None if std::str::from_utf8(bytes).is_ok() => "text/plain",
        None => "application/octet-stream",
    }
}

fn as_image(media_type: &'static str, bytes: Arc<[u8]>) -> Option<PromptImage> {
    let is_shown = matches!(media_type, "image/png" | "image/jpeg" | "image/gif" | "image/webp");
    (is_shown && bytes.len() <= IMAGE_MAX).then_some(PromptImage { media_type, bytes })
}

// Agents use the name in shells, paths and Markdown. The digest separates files of one name.
fn name_on_disk(name: &str, media_type: &str, bytes: &[u8]) -> String {
    let digest = hex::encode(&Sha256::digest(bytes)[..6]);
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' })
        .collect();
    let plain = plain.trim_matches(['.', '_', '-']);
    // The end of the name stays, since it holds the type.
    match &plain[plain.len().saturating_sub(NAME_MAX)..] {
        "" => format!("{digest}.{}", media_type.rsplit('/').next().unwrap_or("bin")),
        plain => format!("{digest}-{plain}"),
    }
}

#[cfg(test)]
mod tests {
    use adapters::testing::fake::Fake;
    use proptest::prelude::*;

    use super::*;

    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";

    async fn received(fake: &Arc<Fake>, files: Vec<SentFile>, folder: &Path) -> Vec<ReceivedFile> {
        FileDelivery { adapter: fake.clone(), files }.receive(folder.to_owned()).await
    }

    #[tokio::test]
    async fn a_file_arrives_private_and_by_its_content() {
        let (fake, folder) = (Fake::new("fake"), tempfile::tempdir().unwrap());
        let (room, place) = (fake.room("a"), folder.path().join("received"));
        let files = vec![
            room.file("door.png", Ok(PNG)),
            room.file("../../run me.png", Ok(b"#!/bin/sh\nrm -rf /")),
            room.file("gone.pdf", Err("it is not there any more")),
            SentFile { size: Some(FILE_MAX + 1), ..room.file("film.mp4", Ok(b"")) },
        ];
        let got = received(&fake, files, &place).await;
        let image = got[0].kept.as_ref().unwrap();
        assert_eq!(
            (image.media_type, image.size, fs::read(&image.path).unwrap()),
            ("image/png", PNG.len(), PNG.to_vec())
        );
        assert!(image.image.is_some());
        let script = got[1].kept.as_ref().unwrap();
        assert!(script.image.is_none() && script.path.parent() == Some(&place), "{script:?}");
        assert!(script.path.to_str().unwrap().ends_with("-run_me.png"), "{script:?}");
        assert_eq!(got[2].kept, Err(FileLoss::Refused("it is not there any more".into())));
        assert_eq!(got[3].kept, Err(FileLoss::Refused(replies::file_too_large(FILE_MAX))));
    }

    #[tokio::test]
    async fn one_message_brings_at_most_ten_files_and_the_folder_exists_without_any() {
        let (fake, folder) = (Fake::new("fake"), tempfile::tempdir().unwrap());
        let (room, place) = (fake.room("a"), folder.path().join("received"));
        assert_eq!(received(&fake, Vec::new(), &place).await, []);
        assert!(place.is_dir());
        let files = (0..11).map(|number| room.file(&format!("{number}.txt"), Ok(b"text"))).collect();
        let got = received(&fake, files, &place).await;
        assert_eq!(got.iter().filter(|file| file.kept.is_ok()).count(), FILES_MAX);
        remove_old(&place, SystemTime::now() + KEPT_FOR / 2);
        assert_eq!(fs::read_dir(&place).unwrap().count(), FILES_MAX);
        remove_old(&place, SystemTime::now() + KEPT_FOR * 2);
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
    }

    proptest! {
        #[test]
        fn no_name_leaves_its_folder(theirs in "(\\PC|[./\\\\]){0,200}") {
            let name = name_on_disk(&theirs, "image/png", b"x");
            prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')));
            prop_assert!(name.len() < 120 && !name.starts_with('.'));
        }
    }
}
