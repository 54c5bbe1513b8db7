//! A minimal bot on matrix-sdk: it logs in, reads with `sync_once` and answers `!ping` with a line.
//!
//! Arguments: the homeserver, the user, the password, the room, a folder for the store.

use std::{path::PathBuf, time::Duration};

use anyhow::Context as _;
use matrix_sdk::{
    Client, Room, SqliteStoreConfig,
    config::{SyncSettings, SyncToken},
    ruma::{
        RoomId,
        events::room::message::{OriginalSyncRoomMessageEvent, RoomMessageEventContent},
    },
};

const ANSWER: &str = "**pong**: I hear you, and this line is as long as storkit's.";

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let [_, homeserver, user, password, room, folder] = std::env::args()
        .collect::<Vec<_>>()
        .try_into()
        .map_err(|_| anyhow::anyhow!("run this by `script/bench matrix`"))?;
    let store = SqliteStoreConfig::new(PathBuf::from(folder)).key(Some(&[7; 32]));
    let client = Client::builder()
        .homeserver_url(homeserver)
        // Otherwise it bypasses the proxy.
        .respect_login_well_known(false)
        .sqlite_store_with_config_and_cache_path(store, None::<PathBuf>)
        .build()
        .await?;
    client.matrix_auth().login_username(&user, &password).send().await?;
    client.encryption().bootstrap_cross_signing_if_needed(None).await?;
    client.join_room_by_id(&RoomId::parse(&room)?).await?;
    let me = client.user_id().context("not logged in")?.to_owned();
    client.add_event_handler(move |event: OriginalSyncRoomMessageEvent, room: Room| {
        let is_for_me = event.sender != me && event.content.body().starts_with("!ping");
        async move {
            if is_for_me {
                // The figure counts the replies, so it notices a failed one.
                let _ = room.send(RoomMessageEventContent::text_markdown(ANSWER)).await;
            }
        }
    });
    let mut token = SyncToken::NoToken;
    loop {
        let settings = SyncSettings::new().timeout(Duration::from_secs(30)).token(token);
        token = SyncToken::Specific(client.sync_once(settings).await?.next_batch);
    }
}
