//! WhatsApp as a row of [`crate::MESSENGERS`].

use super::{NAME, WhatsAppConfig, config::PersonIdForm, numbers::same_number};
#[cfg(feature = "whatsapp")]
use crate::{AdapterContext, plugin::BuiltMessenger};
use crate::{AdapterError, AllowedPeople, Secret, plugin::MessengerConfig};

impl MessengerConfig for WhatsAppConfig {
    const NAME: &'static str = NAME;
    const TITLE: &'static str = "WhatsApp";
    const BUILT_IN: bool = cfg!(feature = "whatsapp");
    const SECRET_ENV: &'static [&'static str] =
        &["WHATSAPP_ACCESS_TOKEN", "WHATSAPP_APP_SECRET", "WHATSAPP_VERIFY_TOKEN"];

    fn same_person(one: &str, other: &str) -> bool {
        let number = |form: PersonIdForm| match form {
            PersonIdForm::Phone(digits) => PersonIdForm::Phone(same_number(&digits)),
            PersonIdForm::UserId(_) | PersonIdForm::ParentId(_) => form,
        };
        let form = |id: &str| PersonIdForm::of(id).map(number);
        one == other || form(one).is_some_and(|one| Some(one) == form(other))
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_one_persons_in_whatever_way_it_is_written() {
        let same = <WhatsAppConfig as MessengerConfig>::same_person;
        assert!(same("+49 170 1234567", "491701234567") && same("DE.1001", "DE.1001"));
        assert!(!same("491701234567", "491701234568") && !same("DE.1001", "DE.1002") && !same("", "x"));
    }
}
