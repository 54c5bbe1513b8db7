//! Files that people send: from Meta's id of a file to its content.

use std::time::Duration;

use super::{adapter::WhatsApp, graph::GraphError};
use crate::{AdapterError, delivery::backoff::Backoff, whatsapp::notices};

const ATTEMPTS: u32 = 3;
// The address of a file is good for five minutes, so each attempt asks for it anew.
// <https://developers.facebook.com/docs/whatsapp/cloud-api/reference/media#download-media>
const AGAIN: Backoff = Backoff::doubling(Duration::from_secs(1), Duration::from_secs(8));

impl WhatsApp {
    /// The content of the file with this id. Only one that is too large is rejected: sending any other again may help.
    pub(super) async fn download(&self, id: &str, max: u64) -> Result<Vec<u8>, AdapterError> {
        let downloaded = AGAIN.retry(ATTEMPTS, GraphError::passes, || self.graph.download(id, max)).await;
        downloaded.map_err(|error| match error {
            GraphError::TooLarge(_) => AdapterError::Rejected(notices::too_large(max)),
            error => match self.adapter_error(error) {
                AdapterError::Rejected(why) => AdapterError::Unreachable(why),
                passing => passing,
            },
        })
    }
}
