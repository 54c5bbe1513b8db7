//! The account: one process on its store, login or an earlier session, and matrix-sdk's client made from them.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use matrix_sdk::{
    Client, SessionMeta, SessionTokens, SqliteStoreConfig,
    authentication::matrix::MatrixSession,
    config::RequestConfig,
    encryption::{BackupDownloadStrategy, EncryptionSettings},
    ruma::api::{
        client::{keys::get_keys, session::get_login_types::v3::LoginType},
        error::ErrorKind,
    },
    store::RoomLoadSettings,
};
use matrix_sdk_base::crypto::{CollectStrategy, DecryptionSettings, TrustRequirement};
use rand::Rng as _;
use rustix::fs::{FlockOperation, flock};
use settings::unlinked;

use super::{
    MatrixConfig,
    errors::{RequestFailure, error_chain, failure, http_failure},
};
use crate::{AdapterError, matrix::saved_state::MatrixMemory, private_files};

const DEVICE_NAME: &str = "storkit";

/// The files of the account, in the adapter's state folder.
pub(super) struct AccountFiles {
    folder: PathBuf,
}

impl AccountFiles {
    pub(super) fn in_folder(folder: &Path) -> Result<Self, AdapterError> {
        private_files::create_folder(folder).map_err(|error| folder_error(folder, "made", &error))?;
        Ok(Self { folder: folder.to_owned() })
    }

    fn store(&self) -> PathBuf {
        self.folder.join("store")
    }

    fn has_store(&self) -> bool {
        self.store().join("matrix-sdk-crypto.sqlite3").exists()
    }

    fn session(&self) -> PathBuf {
        self.folder.join("session.json")
    }

    // A copy of the device's id: with it a new login after a lost `session.json` reuses the device instead of adding one.
    fn device(&self) -> PathBuf {
        self.folder.join("device")
    }

    pub(super) fn saved_state(&self) -> PathBuf {
        self.folder.join("memory.json")
    }

    // The account's recovery key, which the operator is to copy elsewhere.
    pub(super) fn recovery_key(&self) -> PathBuf {
        self.folder.join("recovery.key")
    }

    // Exists from before a recovery key is made until it is on disk. Found at a start, it shows that a crash lost the key.
    pub(super) fn recovery_begun(&self) -> PathBuf {
        self.folder.join("recovery.begun")
    }
}

/// The lock on the store; the kernel releases it with the process, also at a kill or an `exec`.
#[derive(Debug)]
pub(super) struct StoreLock {
    _file: File,
}

impl StoreLock {
    /// Takes the lock, or names who holds it: two processes on one store destroy the device for good.
    pub(super) fn acquire(files: &AccountFiles) -> Result<Self, AdapterError> {
        // `flock` and not a pid file: nothing stale remains after a crash, and no pid can be reused.
        let path = files.folder.join("lock");
        let file =
            unlinked::open(OpenOptions::new().create(true).truncate(false).write(true).mode(0o600), &path);
        let file = file.map_err(|error| folder_error(&path, "opened", &error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Self { _file: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(AdapterError::Config {
                key: "matrix",
                why: format!(
                    "another process uses its store `{}`; two at once would destroy the bot's device. End the other one first.",
                    files.folder.display()
                ),
            }),
            Err(error) => Err(folder_error(&path, "locked", &error.into())),
        }
    }
}

/// A client that is logged in. Its encryption is not set up yet.
pub(super) async fn open(
    config: &MatrixConfig,
    files: &AccountFiles,
    memory: &MatrixMemory,
) -> Result<Client, AdapterError> {
    let client = build(config, files, memory).await?;
    // Comes before any login, so that a typing error in the address is not reported as a wrong password.
    check_homeserver(config, &client).await?;
    match stored_session(files)? {
        Some(session) => restore_session(config, files, memory, (client, session)).await,
        None if config.access_token.is_empty() => logged_in(config, files, memory, client).await,
        None => by_token(config, files, client).await,
    }
}

async fn build(
    config: &MatrixConfig,
    files: &AccountFiles,
    memory: &MatrixMemory,
) -> Result<Client, AdapterError> {
    let store = files.store();
    if !files.has_store() {
        // With an empty store an old token would give only changes, for rooms whose members and encryption state are unknown.
        memory.forget_token();
    }
    private_files::create_folder(&store).map_err(|error| folder_error(&store, "made", &error))?;
    let key = store_key(files)?;
    let sqlite = SqliteStoreConfig::new(&store).key(Some(&key));
    // Strict in both directions, as Element is since April 2026: no keys for unsigned devices, no trust in their messages.
    // <https://docs.element.io/latest/element-support/device-verification/>
    let (recipients, requirement) = match config.require_verified {
        true => (CollectStrategy::IdentityBasedStrategy, TrustRequirement::CrossSignedOrLegacy),
        false => (CollectStrategy::AllDevices, TrustRequirement::Untrusted),
    };
    let builder = Client::builder()
        .homeserver_url(&config.homeserver)
        // The operator's address wins over the one in a login's answer, which may not be reachable from here.
        .respect_login_well_known(false)
        .sqlite_store_with_config_and_cache_path(sqlite, None::<PathBuf>)
        // Failures are returned at once: the supervisor reconnects, and the sender repeats with the same transaction id.
        .request_config(RequestConfig::new().disable_retry().timeout(config.request_timeout))
        // `identity.rs` does both: the SDK's own way makes a backup without a recovery key.
        .with_encryption_settings(EncryptionSettings {
            auto_enable_cross_signing: false,
            auto_enable_backups: false,
            backup_download_strategy: BackupDownloadStrategy::AfterDecryptionFailure,
        })
        .with_room_key_recipient_strategy(recipients)
        .with_decryption_settings(DecryptionSettings { sender_device_trust_requirement: requirement });
    builder.build().await.map_err(|error| match error {
        matrix_sdk::ClientBuildError::SqliteStore(error) => AdapterError::Config {
            key: "matrix",
            why: format!(
                "its store `{}` cannot be opened ({}). Move that folder aside; the bot then logs in anew and recovers its keys.",
                store.display(),
                error_chain(&error)
            ),
        },
        error => wrong("matrix.homeserver", format!("`{}` cannot be used: {error}.", config.homeserver)),
    })
}

// The SDK derives a key from a passphrase for each of its four databases, which takes seconds at every start. The raw key in a
// file next to the store protects as much as a passphrase in a file would.
fn store_key(files: &AccountFiles) -> Result<[u8; 32], AdapterError> {
    let path = files.folder.join("store.key");
    let stored = private_files::read(&path).map_err(|error| folder_error(&path, "read", &error))?;
    if let Some(key) = stored {
        return key.try_into().map_err(|_| AdapterError::Config {
            key: "matrix",
            why: format!(
                "`{}` is damaged; restore it, or move the folder aside to begin anew.",
                path.display()
            ),
        });
    }
    let mut key = [0; 32];
    rand::rng().fill_bytes(&mut key);
    private_files::write(&path, &key).map_err(|error| folder_error(&path, "written", &error))?;
    Ok(key)
}

async fn check_homeserver(config: &MatrixConfig, client: &Client) -> Result<(), AdapterError> {
    let Err(error) = client.fetch_server_versions(None).await else { return Ok(()) };
    let homeserver = &config.homeserver;
    match http_failure(&error) {
        RequestFailure::NotMatrix(_)
        | RequestFailure::Refused(_)
        | RequestFailure::Forbidden(_)
        | RequestFailure::LoggedOut => Err(wrong(
            "matrix.homeserver",
            format!(
                "no Matrix homeserver answers at `{homeserver}`; write the client address, which `https://YOUR-DOMAIN/.well-known/matrix/client` names."
            ),
        )),
        RequestFailure::Limited(retry_after) => Err(AdapterError::RateLimited { retry_after }),
        RequestFailure::Unreachable(why) => Err(AdapterError::Unreachable(format!(
            "`{homeserver}` (`matrix.homeserver` in bot.toml) does not answer: {why}"
        ))),
    }
}

fn stored_session(files: &AccountFiles) -> Result<Option<MatrixSession>, AdapterError> {
    let path = files.session();
    let Some(bytes) = private_files::read(&path).map_err(|error| folder_error(&path, "read", &error))? else {
        return Ok(None);
    };
    // A damaged session is treated as a lost one: the device's id and the recovery key are in files of their own.
    let session = serde_json::from_slice(&bytes);
    Ok(session
        .inspect_err(|error| tracing::error!(%error, file = %path.display(), "damaged; logging in anew"))
        .ok())
}

async fn restore_session(
    config: &MatrixConfig,
    files: &AccountFiles,
    memory: &MatrixMemory,
    (client, mut session): (Client, MatrixSession),
) -> Result<Client, AdapterError> {
    // The operator may have renewed the token of the same device.
    if !config.access_token.is_empty() {
        session.tokens.access_token = config.access_token.reveal().to_owned();
    }
    let same = is_account(&config.username, session.meta.user_id.as_str());
    if !same {
        return Err(wrong(
            "matrix.username",
            format!(
                "`{}` holds the account `{}`; write that one, or move the folder aside for another account.",
                files.folder.display(),
                session.meta.user_id
            ),
        ));
    }
    if let Err(error) = client.matrix_auth().restore_session(session, RoomLoadSettings::default()).await {
        tracing::warn!(error = error_chain(&error), "the store does not fit the session");
        return log_in_as_new_device(config, files, memory, client).await;
    }
    match client.whoami().await {
        Ok(_) => Ok(client),
        Err(error) => match http_failure(&error) {
            RequestFailure::LoggedOut if config.access_token.is_empty() => {
                tracing::warn!("the session was ended on the homeserver; logging in anew");
                log_in_as_new_device(config, files, memory, client).await
            }
            RequestFailure::LoggedOut => Err(token_refused()),
            other => Err(other.adapter_error()),
        },
    }
}

// Needs the old client dropped first: it holds the SQLite files that are moved. The old store is set aside, not deleted, since
// it may hold the only copy of some keys; the identity returns by recovery.
async fn log_in_as_new_device(
    config: &MatrixConfig,
    files: &AccountFiles,
    memory: &MatrixMemory,
    client: Client,
) -> Result<Client, AdapterError> {
    drop(client);
    set_aside(files)?;
    let client = build(config, files, memory).await?;
    match config.access_token.is_empty() {
        true => log_in(config, files, &client, None).await?,
        false => use_token(config, files, &client).await?,
    }
    Ok(client)
}

fn set_aside(files: &AccountFiles) -> Result<(), AdapterError> {
    let store = files.store();
    let seconds = std::time::UNIX_EPOCH.elapsed().unwrap_or_default().as_secs();
    let aside = files.folder.join(format!("store.lost-{seconds}"));
    match std::fs::rename(&store, &aside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(folder_error(&store, "moved", &error));
        }
        _ => {}
    }
    tracing::warn!(aside = %aside.display(), "the old store is kept aside");
    // Both name the device of the old store, and other devices refuse a known device id with new keys.
    let _ = std::fs::remove_file(files.session());
    let _ = std::fs::remove_file(files.device());
    Ok(())
}

async fn logged_in(
    config: &MatrixConfig,
    files: &AccountFiles,
    memory: &MatrixMemory,
    client: Client,
) -> Result<Client, AdapterError> {
    let device = private_files::read(&files.device())
        .map_err(|error| folder_error(&files.device(), "read", &error))?;
    let device = device.and_then(|bytes| String::from_utf8(bytes).ok());
    match log_in(config, files, &client, device.as_deref()).await {
        // The account in the store is another device's: its session is lost.
        Err(AdapterError::Rejected(why)) => {
            tracing::warn!(why, "the store does not fit the login");
            log_in_as_new_device(config, files, memory, client).await
        }
        other => other.map(|()| client),
    }
}

async fn log_in(
    config: &MatrixConfig,
    files: &AccountFiles,
    client: &Client,
    device: Option<&str>,
) -> Result<(), AdapterError> {
    let auth = client.matrix_auth();
    let mut login = auth
        .login_username(&config.username, config.password.reveal())
        .initial_device_display_name(DEVICE_NAME);
    if let Some(device) = device {
        login = login.device_id(device);
    }
    match login.send().await {
        Ok(response) => save_session(files, &MatrixSession::from(&response)),
        Err(error) => Err(login_refused(config, client, &error).await),
    }
}

async fn login_refused(config: &MatrixConfig, client: &Client, error: &matrix_sdk::Error) -> AdapterError {
    match error.client_api_error_kind() {
        Some(ErrorKind::Forbidden) => wrong(
            "matrix.password",
            format!("the homeserver refuses it for the user `{}`; check both.", config.username),
        ),
        Some(ErrorKind::UserDeactivated) => {
            wrong("matrix.username", format!("the account `{}` is deactivated.", config.username))
        }
        // Homeservers with Matrix Authentication Service may have no login by password; the error alone does not show that.
        Some(_) if !takes_passwords(client).await => wrong(
            "matrix.password",
            "this homeserver has no login by password; use `matrix.access_token` with `matrix.device_id` (docs/matrix.md)."
                .into(),
        ),
        _ => failure(error).adapter_error(),
    }
}

async fn takes_passwords(client: &Client) -> bool {
    let Ok(types) = client.matrix_auth().get_login_types().await else { return true };
    types.flows.iter().any(|flow| matches!(flow, LoginType::Password(_)))
}

async fn by_token(
    config: &MatrixConfig,
    files: &AccountFiles,
    client: Client,
) -> Result<Client, AdapterError> {
    use_token(config, files, &client).await?;
    Ok(client)
}

/// Takes the configured token into use on an empty store.
async fn use_token(config: &MatrixConfig, files: &AccountFiles, client: &Client) -> Result<(), AdapterError> {
    let token = config.access_token.reveal();
    let who = who_has(client, &config.homeserver, token).await?;
    if !is_account(&config.username, &who.user_id) {
        return Err(wrong(
            "matrix.access_token",
            format!("it belongs to `{}`, not to `matrix.username`.", who.user_id),
        ));
    }
    if !config.device_id.is_empty() && config.device_id != who.device_id {
        return Err(wrong(
            "matrix.device_id",
            format!("the access token belongs to the device `{}`; write that one.", who.device_id),
        ));
    }
    let user_id = who.user_id.as_str().try_into();
    let session = MatrixSession {
        meta: SessionMeta {
            user_id: user_id
                .map_err(|_| AdapterError::Rejected(format!("`{}` is no Matrix id", who.user_id)))?,
            device_id: who.device_id.as_str().into(),
        },
        tokens: SessionTokens { access_token: token.to_owned(), refresh_token: None },
    };
    let auth = client.matrix_auth();
    auth.restore_session(session.clone(), RoomLoadSettings::default())
        .await
        .map_err(|error| failure(&error).adapter_error())?;
    refuse_foreign_keys(client, &session.meta).await?;
    save_session(files, &session)
}

// A token copied from another app belongs to a device whose keys are in that app: the bot could read nothing
// that is sent to it.
async fn refuse_foreign_keys(client: &Client, meta: &SessionMeta) -> Result<(), AdapterError> {
    let mut request = get_keys::v3::Request::new();
    request.device_keys.insert(meta.user_id.clone(), vec![meta.device_id.clone()]);
    let keys = client.send(request).await.map_err(|error| http_failure(&error).adapter_error())?;
    let theirs = keys.device_keys.get(&meta.user_id).and_then(|devices| devices.get(&meta.device_id));
    let Some(theirs) = theirs else { return Ok(()) };
    let ours = client.encryption().ed25519_key().await;
    let published = serde_json::from_str::<serde_json::Value>(theirs.json().get()).unwrap_or_default();
    let published = published["keys"][format!("ed25519:{}", meta.device_id)].as_str().map(str::to_owned);
    match published.is_some() && published == ours {
        true => Ok(()),
        false => Err(wrong(
            "matrix.access_token",
            format!(
                "the device `{}` already has keys in another app, which this bot does not have; make a token of a device of its own (docs/matrix.md).",
                meta.device_id
            ),
        )),
    }
}

// The client has no session yet and needs the device's id to get one, so it cannot ask itself.
async fn who_has(client: &Client, homeserver: &str, token: &str) -> Result<WhoAmI, AdapterError> {
    let url = format!("{}/_matrix/client/v3/account/whoami", homeserver.trim_end_matches('/'));
    let unreachable = |error: &dyn std::error::Error| AdapterError::Unreachable(error_chain(error));
    let answer = client.http_client().get(url).bearer_auth(token).send().await;
    let answer = answer.map_err(|error| unreachable(&error))?;
    let status = answer.status();
    if status.as_u16() == 401 {
        return Err(token_refused());
    }
    if !status.is_success() {
        return Err(AdapterError::Unreachable(format!(
            "the homeserver answers {status} to the access token"
        )));
    }
    let body = answer.bytes().await.map_err(|error| unreachable(&error))?;
    serde_json::from_slice(&body).map_err(|_| {
        wrong("matrix.access_token", "it belongs to no device; make one by a login (docs/matrix.md).".into())
    })
}

#[derive(serde::Deserialize)]
struct WhoAmI {
    user_id: String,
    device_id: String,
}

// Called before anything else after a login: a login whose session is lost leaves a device that nobody can use.
fn save_session(files: &AccountFiles, session: &MatrixSession) -> Result<(), AdapterError> {
    let path = files.session();
    let bytes = serde_json::to_vec(session)
        .map_err(|error| folder_error(&path, "written", &io::Error::other(error)))?;
    private_files::write(&path, &bytes).map_err(|error| folder_error(&path, "written", &error))?;
    let path = files.device();
    private_files::write(&path, session.meta.device_id.as_bytes())
        .map_err(|error| folder_error(&path, "written", &error))
}

/// The homeserver no longer accepts the configured access token.
pub(super) fn token_refused() -> AdapterError {
    wrong("matrix.access_token", "the homeserver does not accept it any more; make a new one.".into())
}

fn is_account(username: &str, id: &str) -> bool {
    let local = id.trim_start_matches('@').split(':').next().unwrap_or_default();
    id == username || username.trim_start_matches('@') == local
}

fn wrong(key: &'static str, why: String) -> AdapterError {
    AdapterError::Config { key, why }
}

pub(super) fn folder_error(path: &Path, what: &str, error: &io::Error) -> AdapterError {
    wrong("matrix", format!("`{}` cannot be {what}: {error}.", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_process_on_the_store_is_refused_and_the_end_of_the_first_frees_it() {
        let place = tempfile::tempdir().expect("a folder");
        let files = AccountFiles::in_folder(place.path()).expect("a folder");
        let lock = StoreLock::acquire(&files).expect("the first");
        let second = StoreLock::acquire(&files).expect_err("the second");
        assert!(
            second.to_string().starts_with("`matrix` in bot.toml: another process uses its store"),
            "{second}"
        );
        drop(lock);
        StoreLock::acquire(&files).expect("free again");
    }

    #[test]
    fn the_store_key_is_made_once_and_a_damaged_one_is_said() {
        let place = tempfile::tempdir().expect("a folder");
        let files = AccountFiles::in_folder(place.path()).expect("a folder");
        let key = store_key(&files).expect("a key");
        assert_eq!(store_key(&files).expect("the same"), key);
        std::fs::write(place.path().join("store.key"), "short").expect("written");
        assert!(store_key(&files).expect_err("damaged").to_string().contains("is damaged"));
    }

    #[test]
    fn an_account_is_known_by_name_or_whole_id() {
        assert!(is_account("timmy", "@timmy:x") && is_account("@timmy:x", "@timmy:x"));
        assert!(!is_account("tim", "@timmy:x") && !is_account("@timmy:y", "@timmy:x"));
    }
}
