//! Matrix as a row of [`crate::MESSENGERS`].

use super::{MatrixConfig, NAME};
#[cfg(feature = "matrix")]
use crate::{AdapterContext, plugin::BuiltMessenger};
use crate::{AdapterError, AllowedPeople, Secret, plugin::MessengerConfig};

impl MessengerConfig for MatrixConfig {
    const NAME: &'static str = NAME;
    const TITLE: &'static str = "Matrix";
    const BUILT_IN: bool = cfg!(feature = "matrix");
    const SECRET_ENV: &'static [&'static str] = &["MATRIX_PASSWORD"];
    // matrix-sdk logs expected 404s, such as a missing key backup, as errors.
    const LOG_FILTER: &'static str =
        "matrix_sdk=warn,matrix_sdk_crypto=error,matrix_sdk_base=warn,matrix_sdk::http_client=off";

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
        vec![&self.password, &self.access_token, &self.recovery_key]
    }

    #[cfg(feature = "matrix")]
    fn build(self, context: AdapterContext) -> Result<BuiltMessenger, AdapterError> {
        Ok(BuiltMessenger { adapter: super::Matrix::new(self, context)?, webhooks: None })
    }
}
