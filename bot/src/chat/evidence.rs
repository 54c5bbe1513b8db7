//! Posts the files that runs and merges leave for people: after the notices of the same moment, in the same places.

use std::{fs, path::PathBuf, sync::Arc};

use adapters::{Attachment, Outgoing};
use pipeline::{
    event::{NumberedEvent, PipelineEvent},
    story::StoryId,
};

use super::{notify, rooms::RoomInput, services::ChatServices};
use crate::replies;

/// Posts the files of these events.
pub async fn post(services: &ChatServices, events: &[Arc<NumberedEvent>]) {
    for event in events {
        let PipelineEvent::Evidence { story, title, from, files, left_out } = &event.event else { continue };
        let shown = read(services, *story, files).await;
        let text = replies::evidence(*story, title, *from, files, left_out);
        for (room, near) in notify::places_of(services, *story) {
            let message = Outgoing::text(text.clone()).replying_to(near);
            if !services.rooms.post(&room, RoomInput::Evidence(message, Arc::clone(&shown))) {
                tracing::warn!(%room, %story, "a room cannot be shown the evidence of a story");
            }
        }
    }
}

/// The files by these names, as far as they can be read.
async fn read(services: &ChatServices, story: StoryId, names: &[String]) -> Arc<[Attachment]> {
    let paths = services.commands.pipeline.attached_files(story).await.unwrap_or_else(|error| {
        tracing::warn!(%story, %error, "the evidence of a story cannot be read");
        Vec::new()
    });
    let is_wanted =
        |path: &PathBuf| path.file_name().is_some_and(|file| names.iter().any(|name| file == &**name));
    let wanted: Vec<PathBuf> = paths.into_iter().filter(is_wanted).collect();
    let redactor = Arc::clone(&services.redactor);
    let reading = move || {
        let file = |path: PathBuf| {
            let bytes =
                fs::read(&path).inspect_err(|error| tracing::warn!(%error, "evidence is not shown")).ok()?;
            let name = path.file_name()?.to_string_lossy().into_owned();
            let caption = format!("Story {story}: {name}");
            Some(redactor.file(Attachment { name, bytes, caption }))
        };
        wanted.into_iter().filter_map(file).collect()
    };
    tokio::task::spawn_blocking(reading).await.unwrap_or_default()
}
