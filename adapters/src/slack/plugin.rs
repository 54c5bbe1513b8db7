//! Slack as a row of [`crate::MESSENGERS`].

use super::{NAME, SlackConfig};
#[cfg(feature = "slack")]
use crate::{AdapterContext, Webhooks, plugin::BuiltMessenger};
use crate::{AdapterError, AllowedPeople, Secret, plugin::MessengerConfig};

impl MessengerConfig for SlackConfig {
    const NAME: &'static str = NAME;
    const TITLE: &'static str = "Slack";
    const BUILT_IN: bool = cfg!(feature = "slack");
    const SECRET_ENV: &'static [&'static str] =
        &["SLACK_BOT_TOKEN", "SLACK_APP_TOKEN", "SLACK_SIGNING_SECRET"];
    const LOG_FILTER: &'static str = "slack_morphism=warn";

    fn check(&self) -> Result<(), AdapterError> {
        Self::check(self)
    }

    fn people(&self) -> &AllowedPeople {
        &self.people
    }

    fn people_mut(&mut self) -> &mut AllowedPeople {
        &mut self.people
    }

    fn secrets(&self) -> Vec<&Secret> {
        vec![&self.bot_token, &self.app_token, &self.signing_secret]
    }

    #[cfg(feature = "slack")]
    fn build(self, context: AdapterContext) -> Result<BuiltMessenger, AdapterError> {
        let called = self.mode == super::ConnectionMode::Http;
        let adapter = super::Slack::new(self, context)?;
        let webhooks = called.then(|| adapter.clone() as std::sync::Arc<dyn Webhooks>);
        Ok(BuiltMessenger { adapter, webhooks })
    }
}
