//! The bot's cross-signing identity: made once, recovered by its key, never reset silently; and the key for the operator.
//!
//! Clients do not exchange messages with devices that their owner has not signed:
//! <https://docs.element.io/latest/element-support/device-verification/>

use matrix_sdk::{
    Client,
    encryption::recovery::{RecoveryError, RecoveryState},
    ruma::api::client::uiaa::{AuthData, MatrixUserIdentifier, Password, UserIdentifier},
};

use super::{
    MatrixConfig,
    client::{AccountFiles, folder_error},
    errors::{error_chain, failure},
};
use crate::{AdapterError, private_files};

/// Makes the bot's device one that others trust. Fails with [`AdapterError::Config`] where the account has an identity whose
/// keys are not here and cannot be recovered.
pub(super) async fn set_up_identity(
    config: &MatrixConfig,
    files: &AccountFiles,
    client: &Client,
) -> Result<(), AdapterError> {
    let encryption = client.encryption();
    encryption.wait_for_e2ee_initialization_tasks().await;
    let me = client.user_id().ok_or_else(|| AdapterError::Rejected("not logged in".into()))?;
    let identity =
        encryption.request_user_identity(me).await.map_err(|error| failure(&error).adapter_error())?;
    let complete = encryption.cross_signing_status().await.is_some_and(|status| status.is_complete());
    match (identity, complete) {
        (None, _) => bootstrap(config, client).await?,
        (Some(_), true) => {}
        // Never a silent reset: it would orphan the key backup of an account that a person's app set up.
        (Some(_), false) => recover(config, files, client).await?,
    }
    enable_recovery(config, files, client).await?;
    sign_own_device(client).await
}

// Despite the SDK's documentation the first upload needs no further authentication on current homeservers (MSC3967). Others ask
// for the password, and give a session to repeat with the answer.
async fn bootstrap(config: &MatrixConfig, client: &Client) -> Result<(), AdapterError> {
    let encryption = client.encryption();
    let Err(error) = encryption.bootstrap_cross_signing(None).await else { return Ok(()) };
    let Some(asked) = error.as_uiaa_response() else { return Err(failure(&error).adapter_error()) };
    if config.password.is_empty() {
        return Err(AdapterError::Config {
            key: "matrix.password",
            why: "the homeserver wants it once, to sign the bot's device; add it, and remove it after the start if you like.".into(),
        });
    }
    let me = client.user_id().map(ToString::to_string).unwrap_or_default();
    let user = UserIdentifier::Matrix(MatrixUserIdentifier::new(me));
    let mut password = Password::new(user, config.password.reveal().to_owned());
    password.session.clone_from(&asked.session);
    let signed = encryption.bootstrap_cross_signing(Some(AuthData::Password(password))).await;
    signed.map_err(|error| match error.as_uiaa_response() {
        Some(_) => AdapterError::Config {
            key: "matrix.password",
            why: "the homeserver refuses it for signing the bot's device.".into(),
        },
        None => failure(&error).adapter_error(),
    })
}

async fn recover(config: &MatrixConfig, files: &AccountFiles, client: &Client) -> Result<(), AdapterError> {
    let Some((key, source)) = known_key(config, files)? else {
        return Err(AdapterError::Config {
            key: "matrix.recovery_key",
            why: "the account already has an identity, whose keys are not here. Write its recovery key; if that is lost, reset the \
                  identity in another app of the account (Element: Settings → Encryption → Reset), then start again."
                .into(),
        });
    };
    match client.encryption().recovery().recover(&key).await {
        Ok(()) => {
            tracing::info!(source, "the account's keys were recovered");
            Ok(())
        }
        Err(RecoveryError::Sdk(error)) => Err(failure(&error).adapter_error()),
        Err(error) => Err(AdapterError::Config {
            key: "matrix.recovery_key",
            why: format!("the key from {source} does not open the account's keys ({}).", error_chain(&error)),
        }),
    }
}

fn known_key(config: &MatrixConfig, files: &AccountFiles) -> Result<Option<(String, String)>, AdapterError> {
    if !config.recovery_key.is_empty() {
        return Ok(Some((config.recovery_key.reveal().to_owned(), "bot.toml".to_owned())));
    }
    let path = files.recovery_key();
    let bytes = private_files::read(&path).map_err(|error| folder_error(&path, "read", &error))?;
    let key = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
    Ok(key.map(|key| (key.trim().to_owned(), format!("`{}`", path.display()))))
}

// Without recovery, a lost store means a lost identity. The SDK's `auto_enable_backups` makes a backup but no recovery key, so
// this enables recovery itself. A recovery that the operator has set up stays as it is.
async fn enable_recovery(
    config: &MatrixConfig,
    files: &AccountFiles,
    client: &Client,
) -> Result<(), AdapterError> {
    let recovery = client.encryption().recovery();
    let begun = files.recovery_begun();
    let cut = begun.exists() && config.recovery_key.is_empty();
    let made = match recovery.state() {
        // A crash lost this key before anybody saw it, so replacing it takes nothing from anybody.
        RecoveryState::Enabled if cut => recovery.reset_key().await,
        RecoveryState::Disabled => {
            // The marker comes before the request: a crash in between then leads to a new key instead of a lost one.
            private_files::write(&begun, b"").map_err(|error| folder_error(&begun, "written", &error))?;
            recovery.enable().await
        }
        RecoveryState::Incomplete if known_key(config, files)?.is_some() => {
            return recover(config, files, client).await;
        }
        RecoveryState::Enabled | RecoveryState::Incomplete | RecoveryState::Unknown => return Ok(()),
    };
    match made {
        Ok(key) => save_key(files, &key),
        Err(RecoveryError::Sdk(error)) => Err(failure(&error).adapter_error()),
        Err(error) => {
            // A backup that another app made, without secret storage: the bot works without one of its own.
            tracing::warn!(
                error = error_chain(&error),
                "no recovery key could be made; a lost store would cost the bot its identity"
            );
            let _ = std::fs::remove_file(&begun);
            Ok(())
        }
    }
}

fn save_key(files: &AccountFiles, key: &str) -> Result<(), AdapterError> {
    let path = files.recovery_key();
    private_files::write(&path, format!("{key}\n").as_bytes())
        .map_err(|error| folder_error(&path, "written", &error))?;
    let _ = std::fs::remove_file(files.recovery_begun());
    tracing::info!(file = %path.display(), "the account's recovery key is here; keep a copy of it elsewhere");
    Ok(())
}

async fn sign_own_device(client: &Client) -> Result<(), AdapterError> {
    let encryption = client.encryption();
    let device =
        encryption.get_own_device().await.map_err(|error| AdapterError::Rejected(error_chain(&error)))?;
    let Some(device) = device else { return Ok(()) };
    // A recovered identity exists before this device does, so the device still needs its signature.
    if !device.is_verified_with_cross_signing()
        && let Err(error) = device.verify().await
    {
        tracing::warn!(error = error_chain(&error), "the bot's own device could not be signed");
    }
    let fingerprint = encryption.ed25519_key().await.unwrap_or_default();
    tracing::info!(user = %device.user_id(), device = %device.device_id(), fingerprint, "encryption is set up");
    Ok(())
}
