//! `[whatsapp]` of `bot.toml`, and the two forms in which it names people.

use serde::{Deserialize, Serialize};

use crate::{AdapterError, AllowedPeople, Secret};

/// The section `[whatsapp]` of `bot.toml`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct WhatsAppConfig {
    /// The id of the business phone number (not the number itself).
    pub phone_number_id: String,
    /// The token of a system user.
    pub access_token: Secret,
    /// The app's secret, with which Meta signs its webhooks.
    pub app_secret: Secret,
    /// The word that Meta sends when the webhook is registered.
    pub verify_token: Secret,
    /// Who may talk to the bot, by business-scoped user id or phone number.
    #[serde(flatten)]
    pub people: AllowedPeople,
    /// The approved template that is sent when a person's 24-hour window is closed, as `name` or `name/language`;
    /// empty: messages are held until the person writes.
    pub window_template: String,
    /// The Graph API's address.
    pub api_url: String,
}

impl Default for WhatsAppConfig {
    fn default() -> Self {
        Self {
            phone_number_id: String::new(),
            access_token: Secret::default(),
            app_secret: Secret::default(),
            verify_token: Secret::default(),
            people: AllowedPeople::default(),
            window_template: String::new(),
            api_url: "https://graph.facebook.com/v23.0".into(),
        }
    }
}

impl WhatsAppConfig {
    /// Checks the section without a network; fails with [`AdapterError::Config`] for the first wrong key.
    pub fn check(&self) -> Result<(), AdapterError> {
        if self.phone_number_id.is_empty() || !self.phone_number_id.bytes().all(|b| b.is_ascii_digit()) {
            return wrong(
                "whatsapp.phone_number_id",
                "it is the long number that the app's page calls \"Phone number ID\", digits only, and not the phone number itself.",
            );
        }
        self.check_secrets()?;
        self.check_people()?;
        if !self.window_template.is_empty() && template(&self.window_template).is_none() {
            return wrong(
                "whatsapp.window_template",
                "it is a template's name, like \"storkit_notice\", or with its language, like \"storkit_notice/de\".",
            );
        }
        if !is_safe_url(&self.api_url) {
            return wrong(
                "whatsapp.api_url",
                "it is an https address, like \"https://graph.facebook.com/v23.0\"; http would show the token to everybody \
                 on the way and is taken for this machine only.",
            );
        }
        Ok(())
    }

    fn check_secrets(&self) -> Result<(), AdapterError> {
        let secrets = [
            (
                "whatsapp.access_token",
                &self.access_token,
                "the token of a system user, from Business settings",
            ),
            (
                "whatsapp.app_secret",
                &self.app_secret,
                "the app's secret, from App settings > Basic: without it anybody could forge messages",
            ),
            (
                "whatsapp.verify_token",
                &self.verify_token,
                "a long word of your own, the same one that you enter where you register the webhook",
            ),
        ];
        for (key, secret, what) in secrets {
            let text = secret.reveal();
            if text.is_empty() {
                return wrong(key, &format!("it is missing; set it to {what}."));
            }
            if !text.chars().all(|c| c.is_ascii_graphic()) {
                return wrong(
                    key,
                    "it has spaces or other characters in it that such a value never has; copy it again.",
                );
            }
        }
        Ok(())
    }

    fn check_people(&self) -> Result<(), AdapterError> {
        if self.people.is_empty() {
            return wrong(
                "whatsapp.allowed_users",
                "it is empty, so nobody could talk to the bot; add yourself, like [\"+491701234567\"].",
            );
        }
        let lists = [
            ("whatsapp.allowed_users", &self.people.allowed_users),
            ("whatsapp.approvers", &self.people.approvers),
            ("whatsapp.operators", &self.people.operators),
        ];
        for (key, list) in lists {
            if let Some(entry) = list.iter().find(|entry| PersonIdForm::of(entry).is_none()) {
                return wrong(
                    key,
                    &format!(
                        "\"{entry}\" is neither a phone number with its country, like \"+491701234567\", nor a user id, like \
                              \"DE.13491234567890\"."
                    ),
                );
            }
        }
        Ok(())
    }
}

fn wrong(key: &'static str, why: &str) -> Result<(), AdapterError> {
    Err(AdapterError::Config { key, why: why.to_owned() })
}

/// The forms in which `bot.toml` and Meta name a person. Since usernames exist, Meta may withhold the phone number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PersonIdForm {
    /// A business-scoped user id: a country's two letters, a dot, letters and digits.
    /// <https://developers.facebook.com/documentation/business-messaging/whatsapp/business-scoped-user-ids>
    UserId(String),
    /// The id that all portfolios of an enterprise share: `ENT.` after the country. It comes beside the user id.
    ParentId(String),
    /// A phone number, its digits with the country first (E.164 has at most 15).
    Phone(String),
}

impl PersonIdForm {
    pub fn of(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some((country, rest)) = text.split_once('.')
            && country.len() == 2
            && country.bytes().all(|b| b.is_ascii_uppercase())
        {
            return match rest.strip_prefix("ENT.") {
                Some(id) => is_opaque_id(id).then(|| Self::ParentId(text.to_owned())),
                None => is_opaque_id(rest).then(|| Self::UserId(text.to_owned())),
            };
        }
        // People write numbers as they are printed; Meta sends only the digits. Both must compare equal.
        let number = text.strip_prefix('+').or_else(|| text.strip_prefix("00")).unwrap_or(text);
        // `+49 (0)170` shows the zero that callers within the country dial.
        let number = number.replacen("(0)", "", 1);
        let digits: String =
            number.chars().filter(|c| !matches!(c, ' ' | '-' | '(' | ')' | '.' | '/')).collect();
        let fits = (7..=15).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        fits.then_some(Self::Phone(digits))
    }
}

fn is_opaque_id(id: &str) -> bool {
    (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric())
}

// Meta refuses a template without its language, so one that names none counts as English.
pub(super) fn template(text: &str) -> Option<(&str, &str)> {
    let (name, language) = text.split_once('/').unwrap_or((text, "en"));
    let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    (word(name) && word(language)).then_some((name, language))
}

fn is_safe_url(url: &str) -> bool {
    let host = |rest: &str| rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned();
    if let Some(rest) = url.strip_prefix("https://") {
        // `https://graph.facebook.com@evil.example` would send the token to evil.example.
        return !host(rest).is_empty() && !host(rest).contains('@');
    }
    // Plain HTTP only to this machine, for tests and local proxies: the access token is in every request.
    let Some(rest) = url.strip_prefix("http://") else { return false };
    let host = host(rest);
    let name = host.rsplit_once(':').map_or(host.as_str(), |(name, _)| name);
    matches!(name, "127.0.0.1" | "localhost" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> WhatsAppConfig {
        WhatsAppConfig {
            phone_number_id: "1234567890".into(),
            access_token: Secret::new("EAAB"),
            app_secret: Secret::new("0123abcd"),
            verify_token: Secret::new("a-long-word"),
            people: AllowedPeople {
                allowed_users: vec!["+49 170 1234567".into()],
                ..AllowedPeople::default()
            },
            ..WhatsAppConfig::default()
        }
    }

    fn refused(change: impl FnOnce(&mut WhatsAppConfig)) -> String {
        let mut config = whole();
        change(&mut config);
        config.check().expect_err("it is wrong").to_string()
    }

    #[test]
    fn a_whole_section_is_taken() {
        whole().check().unwrap();
        WhatsAppConfig { window_template: "storkit_notice/de".into(), ..whole() }.check().unwrap();
        WhatsAppConfig { api_url: "http://127.0.0.1:8080/v23.0".into(), ..whole() }.check().unwrap();
    }

    #[test]
    fn each_mistake_is_one_sentence_that_names_the_key() {
        insta::assert_snapshot!(refused(|config| config.app_secret = Secret::default()), @"`whatsapp.app_secret` in bot.toml: it is missing; set it to the app's secret, from App settings > Basic: without it anybody could forge messages.");
        for (key, sentence) in [
            ("verify_token", refused(|config| config.verify_token = Secret::default())),
            ("access_token", refused(|config| config.access_token = Secret::new("Bearer EAAB"))),
            ("phone_number_id", refused(|config| config.phone_number_id = "+49170".into())),
            ("allowed_users", refused(|config| config.people = AllowedPeople::default())),
            ("approvers", refused(|config| config.people.approvers = vec!["ann".into()])),
            ("window_template", refused(|config| config.window_template = "my template".into())),
            ("api_url", refused(|config| config.api_url = "http://graph.facebook.com/v23.0".into())),
            ("api_url", refused(|config| config.api_url = "http://127.0.0.1.evil.org/v23.0".into())),
            ("api_url", refused(|config| config.api_url = "graph.facebook.com".into())),
        ] {
            assert!(sentence.starts_with(&format!("`whatsapp.{key}` in bot.toml: ")), "{sentence}");
            assert!(!sentence.contains("EAAB"), "{sentence}");
        }
    }

    #[test]
    fn people_are_named_by_user_id_or_by_number_however_it_is_written() {
        let phone = Some(PersonIdForm::Phone("491701234567".into()));
        for text in ["+491701234567", "491701234567", "0049 170 1234567", "+49 (170) 123-45.67"] {
            assert_eq!(PersonIdForm::of(text), phone, "{text}");
        }
        assert_eq!(PersonIdForm::of("+49 (0)170 1234567"), phone);
        for text in ["DE.13491208655302741918", "BR.a1"] {
            assert_eq!(PersonIdForm::of(text), Some(PersonIdForm::UserId(text.into())), "{text}");
        }
        let parent = "US.ENT.11815799212886844830";
        assert_eq!(PersonIdForm::of(parent), Some(PersonIdForm::ParentId(parent.into())));
        for text in [
            "",
            "ann",
            "DE.",
            "de.123",
            "D.123",
            "DE.12 3",
            "+12345",
            "1234567890123456",
            "DE.ENT.",
            "12a4567",
        ] {
            assert_eq!(PersonIdForm::of(text), None, "{text}");
        }
    }
}
