//! Files that people send with a message, and their content once it is wanted.

use std::{fmt, sync::Arc, time::Duration};

use adapters::{Adapter, AdapterError, SentFile};

use crate::replies;

/// How many files one message may bring.
pub const FILES_MAX: usize = 10;

/// In bytes. The bot holds a file in memory while it fetches it.
pub const FILE_MAX: u64 = 32 * 1024 * 1024;

/// A messenger that takes longer for one file has lost it.
const FETCH_TIMEOUT: Duration = Duration::from_secs(120);

/// The files of a message, and the messenger that has them.
#[derive(Clone)]
pub struct FileDelivery {
    pub adapter: Arc<dyn Adapter>,
    pub files: Vec<SentFile>,
}

impl fmt::Debug for FileDelivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileDelivery").field("files", &self.files).finish_non_exhaustive()
    }
}

/// Why a file is not there, as the end of a sentence.
#[derive(Clone, Debug, PartialEq)]
pub enum FileLoss {
    /// It is not for the bot: sending it again changes nothing.
    Refused(String),
    /// It could not be had now.
    Failed(String),
}

impl FileLoss {
    pub fn why(&self) -> &str {
        match self {
            Self::Refused(why) | Self::Failed(why) => why,
        }
    }
}

impl FileDelivery {
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Each file as its sender named it, with its content of at most `max` bytes. Held in memory.
    pub async fn contents(&self, max: u64) -> Vec<(String, Result<Vec<u8>, FileLoss>)> {
        let mut contents = Vec::new();
        for (number, file) in self.files.iter().enumerate() {
            let content = match number >= FILES_MAX {
                true => Err(FileLoss::Refused(replies::too_many_files(FILES_MAX))),
                false => fetch(&*self.adapter, file, max).await,
            };
            contents.push((file.name.clone(), content));
        }
        contents
    }
}

/// The content of a file, at most `max` bytes.
pub async fn fetch(adapter: &dyn Adapter, file: &SentFile, max: u64) -> Result<Vec<u8>, FileLoss> {
    if file.size.is_some_and(|size| size > max) {
        return Err(FileLoss::Refused(replies::file_too_large(max)));
    }
    match tokio::time::timeout(FETCH_TIMEOUT, adapter.fetch_file(file, max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(AdapterError::Rejected(why))) => Err(FileLoss::Refused(why)),
        Ok(Err(error)) => Err(FileLoss::Failed(error.to_string())),
        Err(_) => Err(FileLoss::Failed(replies::file_took_too_long(FETCH_TIMEOUT))),
    }
}

#[cfg(test)]
mod tests {
    use adapters::testing::fake::Fake;

    use super::*;

    #[tokio::test]
    async fn a_file_that_does_not_come_is_named_with_the_reason_and_the_others_come() {
        let fake = Fake::new("fake");
        let room = fake.room("a");
        let mut files = vec![
            room.file("door.png", Ok(b"x")),
            room.file("gone.pdf", Err("it is not there any more")),
            SentFile { size: Some(11), ..room.file("film.mp4", Ok(b"")) },
            // The messenger does not say how large it is.
            SentFile { size: None, ..room.file("film.mp4", Ok(b"12345678901")) },
        ];
        files.extend((0..7).map(|number| room.file(&format!("{number}.txt"), Ok(b"text"))));
        let contents = FileDelivery { adapter: fake.clone(), files }.contents(10).await;
        let refused = |why: &str| Err(FileLoss::Refused(why.into()));
        let read: Vec<_> = contents.iter().map(|(_, content)| content.clone()).collect();
        assert_eq!(read[0], Ok(b"x".to_vec()));
        assert_eq!(read[1], refused("it is not there any more"));
        assert_eq!(read[2], refused(&replies::file_too_large(10)));
        assert_eq!(read[3], refused("it is too large"));
        assert!(read[4..10].iter().all(Result::is_ok));
        assert_eq!(read[10], refused(&replies::too_many_files(FILES_MAX)));
    }
}
