//! Matrix: the bot's identity and keys, over restarts and losses, and whom it trusts.

use std::{fs, path::Path, time::Duration};

use adapters::{
    Adapter, AdapterError, Outgoing, Secret,
    matrix::MatrixConfig,
    testing::conformance::{AdapterSession, MessengerFixture as _},
};
use needs::{Need, needs};
use services::matrix::{Account, Person};
use tokio::process::Command;

use super::matrix::{Place, synapse};

/// The bot's one device, which its identity has signed.
async fn only_device(place: &Place) -> (String, String) {
    let (master, devices) = place.ann.devices_of(&place.account.id).await;
    let signed: Vec<_> = devices.iter().collect();
    let [(device, true)] = signed[..] else { panic!("not one signed device: {devices:?}") };
    (master.expect("an identity"), device.clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_device_is_signed_and_the_same_after_a_restart_and_hears_once_what_was_said_meanwhile() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let mut bot = AdapterSession::open(&place).await;
    let before = only_device(&place).await;
    bot.adapter.send(&place.room(), &Outgoing::text("readable")).await.expect("sent");
    assert!(place.see_message("readable").await.encrypted);
    place.ann.say(&place.room, "!known").await;
    bot.hear().await;
    bot.close().await;
    let said = place.ann.say(&place.room, "!while you were away").await;
    let mut bot = AdapterSession::open(&place).await;
    place.ann.say(&place.room, "!marker").await;
    let mut heard = Vec::new();
    while heard.last().is_none_or(|(_, text)| text != "marker") {
        let (incoming, text) = bot.hear_text().await;
        heard.push((incoming.id.as_str().to_owned(), text));
    }
    assert_eq!(heard.iter().filter(|(id, _)| *id == said).count(), 1, "{heard:?}");
    assert_eq!(only_device(&place).await, before);
    assert_eq!(place.ann.look(&place.room).await.unreadable, 0);
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_files_that_only_the_owner_reads() {
    needs!(Synapse);
    use std::os::unix::fs::PermissionsExt as _;

    let place = Place::fresh(true).await;
    AdapterSession::open(&place).await.close().await;
    let mode = |path: &str| fs::metadata(place.file(path)).expect(path).permissions().mode() & 0o777;
    for file in ["session.json", "store.key", "recovery.key", "memory.json"] {
        assert_eq!(mode(file), 0o600, "{file}");
    }
    assert_eq!((mode(""), mode("store")), (0o700, 0o700));
    assert!(!place.file("recovery.begun").exists());
    let key = fs::read_to_string(place.file("recovery.key")).expect("a key");
    assert_eq!(key.trim().len(), 59, "a recovery key has 48 letters in groups of four");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_on_the_store_is_refused() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let bot = AdapterSession::open(&place).await;
    let second = place.matrix().prepare().await;
    let Err(AdapterError::Config { key: "matrix", why }) = second else { panic!("not refused: {second:?}") };
    assert!(why.contains("another process uses its store"), "{why}");
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_session_file_keeps_the_device_and_a_lost_store_recovers_the_identity() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    AdapterSession::open(&place).await.close().await;
    let (master, device) = only_device(&place).await;

    fs::remove_file(place.file("session.json")).expect("removed");
    AdapterSession::open(&place).await.close().await;
    assert_eq!(only_device(&place).await, (master.clone(), device.clone()), "the same device again");

    fs::remove_file(place.file("session.json")).expect("removed");
    fs::remove_file(place.file("device")).expect("removed");
    let mut bot = AdapterSession::open(&place).await;
    let (again, devices) = place.ann.devices_of(&place.account.id).await;
    assert_eq!(again.as_ref(), Some(&master), "the identity was not reset");
    assert!(devices.len() == 2 && devices.values().all(|signed| *signed), "{devices:?}");
    place.ann.say(&place.room, "!can you read this?").await;
    assert_eq!(bot.hear_text().await.1, "can you read this?");
    bot.close().await;

    fs::remove_dir_all(place.file("store")).expect("removed");
    fs::remove_file(place.file("session.json")).expect("removed");
    fs::remove_file(place.file("device")).expect("removed");
    AdapterSession::open(&place).await.close().await;
    assert_eq!(place.ann.devices_of(&place.account.id).await.0, Some(master));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_whose_keys_are_lost_is_never_reset_and_a_given_key_recovers_it() {
    needs!(Synapse);
    let mut place = Place::fresh(true).await;
    AdapterSession::open(&place).await.close().await;
    let (master, _) = only_device(&place).await;
    let key = fs::read_to_string(place.file("recovery.key")).expect("a key");
    fs::remove_dir_all(place.file("")).expect("all is lost");

    let refused = |config: MatrixConfig| {
        let matrix = place.with(config);
        async move {
            let error = matrix.prepare().await.expect_err("refused");
            let AdapterError::Config { key: "matrix.recovery_key", why } = error else { panic!("{error}") };
            why
        }
    };
    let why = refused(place.config.clone()).await;
    assert!(why.contains("already has an identity, whose keys are not here"), "{why}");
    let wrong = MatrixConfig { recovery_key: Secret::new("EsT0 wrong"), ..place.config.clone() };
    assert!(refused(wrong).await.contains("does not open the account's keys"));
    assert_eq!(place.ann.devices_of(&place.account.id).await.0, Some(master.clone()));

    place.config.recovery_key = Secret::new(key.trim());
    let mut bot = AdapterSession::open(&place).await;
    assert_eq!(place.ann.devices_of(&place.account.id).await.0, Some(master));
    place.ann.say(&place.room, "!back again").await;
    assert_eq!(bot.hear_text().await.1, "back again");
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_ended_on_the_homeserver_is_begun_anew_with_the_password() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let mut bot = AdapterSession::open(&place).await;
    let (master, _) = only_device(&place).await;
    let (_, token) = synapse().await.log_in(&place.account).await;
    synapse().await.log_out_all(&token).await;
    place.ann.say(&place.room, "!still there?").await;
    bot.until_up().await;
    // What was encrypted for the old device alone cannot be read; what comes after its end can.
    let seen = async {
        loop {
            place.ann.say(&place.room, "!anybody?").await;
            let heard = tokio::time::timeout(Duration::from_secs(5), bot.hear_text()).await;
            if heard.is_ok_and(|(_, text)| text == "anybody?") {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), seen).await.expect("it hears again");
    assert_eq!(only_device(&place).await.0, master);
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_of_an_own_device_works_and_an_ended_one_is_named() {
    needs!(Synapse);
    let mut place = Place::fresh(true).await;
    let (device, token) = synapse().await.log_in(&place.account).await;
    place.config.access_token = Secret::new(token.clone());
    place.config.password = Secret::default();
    let wrong = MatrixConfig { device_id: "OTHER".into(), ..place.config.clone() };
    let error = place.with(wrong).prepare().await.expect_err("refused").to_string();
    assert!(error.starts_with("`matrix.device_id` in bot.toml:") && error.contains(&device), "{error}");
    place.config.device_id = device.clone();
    let mut bot = AdapterSession::open(&place).await;
    assert_eq!(only_device(&place).await.1, device);
    place.ann.say(&place.room, "!hello").await;
    bot.hear().await;
    bot.close().await;
    synapse().await.log_out_all(&token).await;
    let error = place.matrix().prepare().await.expect_err("refused").to_string();
    assert!(error.starts_with("`matrix.access_token` in bot.toml:"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_access_token_copied_from_another_app_is_refused() {
    needs!(Synapse);
    let mut place = Place::fresh(true).await;
    let app = Person::with(synapse().await, place.account.clone()).await;
    let token = app.ask(serde_json::json!({ "do": "token" })).await;
    place.config.access_token = Secret::new(token.as_str().expect("a token"));
    let error = place.matrix().prepare().await.expect_err("refused").to_string();
    assert!(error.contains("already has keys in another app"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unsigned_device_is_not_heard_and_told_why_in_words_it_can_read() {
    needs!(Synapse);
    let mut place = Place::fresh(true).await;
    let carl = Person::unsigned(synapse().await, "carl").await;
    place.config.people.allowed_users.push(carl.id().to_owned());
    place.ann.invite(&place.room, carl.id()).await;
    carl.join(&place.room).await;
    let mut bot = AdapterSession::open(&place).await;
    bot.adapter.send(&place.room(), &Outgoing::text("for signed devices")).await.expect("sent");
    let me = place.account.id.as_str();
    for _ in 0..2 {
        carl.say(&place.room, "!delete everything").await;
    }
    let notice = carl.see(&place.room, me, "I ignore this device").await;
    assert!(notice.text.contains("Verify it once in your app") && !notice.encrypted, "{notice:?}");
    place.ann.say(&place.room, "!marker").await;
    assert_eq!(bot.hear_text().await.1, "marker");
    let seen = carl.look(&place.room).await;
    assert!(!seen.messages.iter().any(|message| message.text.contains("for signed devices")));
    let notices =
        seen.messages.iter().filter(|message| message.text.contains("I ignore this device")).count();
    assert_eq!(notices, 1);
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_require_verified_off_an_unsigned_device_is_heard() {
    needs!(Synapse);
    let mut place = Place::fresh(true).await;
    let carl = Person::unsigned(synapse().await, "carl").await;
    place.config.people.allowed_users.push(carl.id().to_owned());
    place.config.require_verified = false;
    place.ann.invite(&place.room, carl.id()).await;
    carl.join(&place.room).await;
    let mut bot = AdapterSession::open(&place).await;
    carl.say(&place.room, "!hello").await;
    assert_eq!(bot.hear_text().await.1, "hello");
    bot.adapter.send(&place.room(), &Outgoing::text("for all")).await.expect("sent");
    carl.see(&place.room, &place.account.id, "for all").await;
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plain_message_in_an_encrypted_room_is_not_acted_on() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let mut bot = AdapterSession::open(&place).await;
    place.ann.say_plainly(&place.room, "!forged by the homeserver").await;
    place.see_message("not encrypted in an encrypted room").await;
    place.ann.say(&place.room, "!marker").await;
    assert_eq!(bot.hear_text().await.1, "marker");
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_cannot_be_decrypted_is_told_once_with_what_to_do() {
    needs!(Synapse);
    let place = Place::fresh(true).await;
    let mut bot = AdapterSession::open(&place).await;
    place.ann.say(&place.room, "!before").await;
    bot.hear().await;
    let lost = place.ann.send_undecryptable(&place.room).await;
    let notice = place.see_message("I could not decrypt your message").await;
    assert_eq!((notice.reply_to.as_deref(), notice.kind.as_deref()), (Some(lost.as_str()), Some("m.notice")));
    assert!(notice.text.contains("Please send it again"), "{}", notice.text);
    place.ann.say(&place.room, "!after").await;
    assert_eq!(bot.hear_text().await.1, "after");
    bot.close().await;
    let bot = AdapterSession::open(&place).await;
    bot.adapter.send(&place.room(), &Outgoing::text("again here")).await.expect("sent");
    place.see_message("again here").await;
    let notices =
        place.shown().await.into_iter().filter(|seen| seen.text.contains("could not decrypt")).count();
    assert_eq!(notices, 1);
    bot.close().await;
}

/// What Element's library, in node, says of the bot in this room.
async fn element(what: &str, place: &Place, user: &Account, words: &str) -> serde_json::Value {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = Need::MatrixJs.path().expect("each test asks for it first");
    let output = Command::new("node")
        .arg(here.join("tests/matrix/element.mjs"))
        .args([what.as_ref(), folder.as_os_str()])
        .args([&synapse().await.url(), &user.name, &user.password, &place.room, &place.account.id, words])
        .output();
    let output = output.await.expect("node runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// A place to which somebody is invited who uses Element and is heard.
async fn with_element() -> (Place, Account) {
    let mut place = Place::fresh(true).await;
    let dora = synapse().await.register("dora").await;
    place.ann.invite(&place.room, &dora.id).await;
    place.config.people.allowed_users.push(dora.id.clone());
    (place, dora)
}

/// With insecure devices excluded, as Element does it.
#[tokio::test(flavor = "multi_thread")]
async fn elements_own_encryption_takes_the_bot_for_a_signed_device() {
    needs!(Synapse, MatrixJs);
    let (place, dora) = with_element().await;
    let mut bot = AdapterSession::open(&place).await;
    let answering = async {
        let (heard, text) = bot.hear_text().await;
        assert_eq!((&*heard.sender.id, text.as_str()), (dora.id.as_str(), "hello"));
        bot.adapter.send(&heard.room, &Outgoing::text("hello to Element")).await.expect("sent");
    };
    let (seen, ()) = tokio::join!(element("look", &place, &dora, "hello to Element"), answering);
    assert_eq!((&seen["encrypted"], &seen["shield"]), (&true.into(), &0.into()), "{seen}");
    assert_eq!(seen["signed_by_owner"], serde_json::json!([true]), "{seen}");
    bot.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_verifies_the_bot_by_the_emoji_that_both_show() {
    needs!(Synapse, MatrixJs);
    let (place, dora) = with_element().await;
    let bot = AdapterSession::open(&place).await;
    let seen = element("verify", &place, &dora, "").await;
    assert_eq!(seen["verified"], true, "{seen}");
    let theirs: Vec<_> =
        seen["emoji"].as_array().expect("emoji").iter().filter_map(|it| it[0].as_str()).collect();
    let ours = place.see_message("My emoji are").await.text;
    assert_eq!(theirs.len(), 7, "{seen}");
    let mut rest = ours.as_str();
    for emoji in theirs {
        rest = rest.split_once(emoji).unwrap_or_else(|| panic!("{emoji} is not next in {ours}")).1;
    }
    bot.close().await;
}
