//! Files that people send: downloaded from Meta into a private folder, under safe names.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use sha2::{Digest as _, Sha256};

use super::{
    graph::{GraphApi, GraphError},
    notification::MediaFile,
};
use crate::{delivery::backoff::Backoff, private_files, whatsapp::notices};

// In bytes. Meta accepts up to 100 MB, but the bot holds a file in memory while it downloads.
// <https://developers.facebook.com/docs/whatsapp/cloud-api/reference/media#supported-media-types>
pub const SIZE_MAX: u64 = 32 * 1024 * 1024;
// Long enough for the session that works on a file; then people's files are removed from the disk.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
const NAME_MAX: usize = 80;
const ATTEMPTS: u32 = 3;
const AGAIN: Backoff = Backoff::doubling(Duration::from_secs(1), Duration::from_secs(8));

/// Downloads the file; returns the text for the bot that names its path, or why there is none.
pub async fn download_to(
    graph: &GraphApi,
    folder: &Path,
    message: &str,
    file: &MediaFile,
) -> Result<String, String> {
    match fetch(graph, folder, message, file).await {
        Ok(path) => Ok(notices::file(&file.caption, &path.display().to_string(), file.what)),
        Err(why) => {
            tracing::warn!(why, "a file from WhatsApp was not fetched");
            Err(why)
        }
    }
}

async fn fetch(graph: &GraphApi, folder: &Path, message: &str, file: &MediaFile) -> Result<PathBuf, String> {
    let too_large = |size: u64| format!("it is too large ({} MB, at most {} MB)", size >> 20, SIZE_MAX >> 20);
    let bytes = match download(graph, &file.id).await {
        Ok(bytes) => bytes,
        Err(GraphError::TooLarge(size)) => return Err(too_large(size)),
        Err(error) => return Err(error.to_string()),
    };
    let path = folder.join(name(message, file));
    let kept = private_files::create_folder(folder).and_then(|()| private_files::write(&path, &bytes));
    kept.map_err(|error| format!("it could not be written here ({error})"))?;
    Ok(path)
}

// Meta's troubles often last a moment, and the address of a file is good for five minutes.
async fn download(graph: &GraphApi, id: &str) -> Result<Vec<u8>, GraphError> {
    let mut backoff = AGAIN;
    loop {
        match graph.download(id, SIZE_MAX).await {
            Err(error) if error.passes() && backoff.failures() < ATTEMPTS - 1 => {
                tracing::debug!(%error, "a file from WhatsApp is fetched again");
                tokio::time::sleep(backoff.next_delay()).await;
            }
            result => return result,
        }
    }
}

pub fn remove_old_files(folder: &Path, now: SystemTime) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let modified = entry.metadata().and_then(|it| it.modified());
        let is_old = modified.is_ok_and(|at| now.duration_since(at).is_ok_and(|age| age > KEPT));
        if is_old && let Err(error) = fs::remove_file(entry.path()) {
            tracing::warn!(%error, "an old file could not be removed");
        }
    }
}

// Agents use the name in shells, paths and Markdown. The digest separates equal names, and one message's
// repetition overwrites its own file.
fn name(message: &str, file: &MediaFile) -> String {
    let digest = hex::encode(&Sha256::digest(message.as_bytes())[..6]);
    let plain: String = file
        .name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' })
        .collect();
    let plain = plain.trim_matches(['.', '_', '-']);
    // The end of the name survives, since it holds the type.
    let start = plain.len().saturating_sub(NAME_MAX);
    match &plain[start..] {
        "" => format!("{digest}-{}.{}", file.what, ending(&file.mime)),
        plain => format!("{digest}-{plain}"),
    }
}

fn ending(mime: &str) -> &'static str {
    match mime.split(';').next().unwrap_or_default().trim() {
        "image/jpeg" => "jpg",
        "image/png" => "png",
        "image/webp" => "webp",
        "audio/ogg" => "ogg",
        "audio/mpeg" => "mp3",
        "audio/mp4" | "audio/aac" => "m4a",
        "video/mp4" => "mp4",
        "application/pdf" => "pdf",
        "text/plain" => "txt",
        _ => "bin",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(name: &str) -> MediaFile {
        MediaFile {
            id: "1".into(),
            what: "image",
            mime: "image/jpeg".into(),
            name: name.into(),
            caption: String::new(),
        }
    }

    #[test]
    fn names_tell_what_they_are() {
        assert_eq!(name("wamid.1", &file("")), "da2f7f8d6171-image.jpg");
        assert_eq!(name("wamid.1", &file("../../etc/pass wd`x`")), "da2f7f8d6171-etc_pass_wd_x");
    }

    #[test]
    fn old_files_go_and_new_ones_stay() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "x").unwrap();
        remove_old_files(folder.path(), SystemTime::now() + KEPT / 2);
        assert!(folder.path().join("a").exists());
        remove_old_files(folder.path(), SystemTime::now() + KEPT * 2);
        assert!(!folder.path().join("a").exists());
    }

    proptest! {
        #[test]
        fn no_name_leaves_its_folder(theirs in "(\\PC|[./\\\\]){0,200}") {
            let name = name("wamid.1", &file(&theirs));
            prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')));
            prop_assert!(name.len() < 120 && !name.starts_with('.'));
        }
    }
}
