//! To be written.

use std::sync::Arc;

use async_trait::async_trait;

use super::Config;
use crate::{Adapter, AdapterError, Capabilities, ChoiceForm, Inbox, MessageId, Outgoing, Room, Setting};

/// See the module.
pub struct WhatsApp {
    _config: Config,
    _setting: Setting,
}

impl WhatsApp {
    /// To be written.
    pub fn new(config: Config, setting: Setting) -> Result<Arc<Self>, AdapterError> {
        Ok(Arc::new(Self { _config: config, _setting: setting }))
    }
}

#[async_trait]
impl Adapter for WhatsApp {
    fn name(&self) -> &'static str {
        super::NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            edit: None,
            choices: ChoiceForm::None,
            activity: false,
            files: false,
            history: false,
            private_replies: false,
            max_len: 4096,
        }
    }

    async fn run(&self, _inbox: Inbox) -> Result<(), AdapterError> {
        Err(AdapterError::Unreachable("not written yet".into()))
    }

    async fn send(&self, _room: &Room, _message: &Outgoing) -> Result<MessageId, AdapterError> {
        Err(AdapterError::Unreachable("not written yet".into()))
    }
}

#[async_trait]
impl crate::Webhooks for WhatsApp {
    fn paths(&self) -> &'static [&'static str] {
        &[]
    }

    async fn handle(&self, _request: http::Request<bytes::Bytes>) -> http::Response<bytes::Bytes> {
        crate::webhook::answer(http::StatusCode::NOT_FOUND, "not written yet")
    }
}
