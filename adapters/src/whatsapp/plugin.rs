//! WhatsApp as a row of [`crate::MESSENGERS`].

use super::{NAME, WhatsAppConfig};
#[cfg(feature = "whatsapp")]
use crate::{AdapterContext, plugin::BuiltMessenger};
use crate::{AdapterError, AllowedPeople, Secret, plugin::MessengerConfig};

impl MessengerConfig for WhatsAppConfig {
    const NAME: &'static str = NAME;
    const TITLE: &'static str = "WhatsApp";
    const BUILT_IN: bool = cfg!(feature = "whatsapp");
    const SECRET_ENV: &'static [&'static str] =
        &["WHATSAPP_ACCESS_TOKEN", "WHATSAPP_APP_SECRET", "WHATSAPP_VERIFY_TOKEN"];

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
        vec![&self.access_token, &self.app_secret, &self.verify_token]
    }

    #[cfg(feature = "whatsapp")]
    fn build(self, context: AdapterContext) -> Result<BuiltMessenger, AdapterError> {
        let adapter = super::WhatsApp::new(self, context)?;
        Ok(BuiltMessenger { adapter: adapter.clone(), webhooks: Some(adapter) })
    }
}
