//! What goes wrong with tokens, scopes and connections: said with what to do, and over as soon as the cause is.

use adapters::{Adapter as _, AdapterError, Outgoing, Secret, slack::SlackConfig};
use services::slack::{APP_TOKEN, BOT_TOKEN, Fault};

use super::bench::{Bench, Running, Way, config_error, room};

#[tokio::test(flavor = "multi_thread")]
async fn wrong_tokens_and_missing_scopes_end_the_start_with_what_to_do() {
    let bench = Bench::new(Way::Socket).await;
    bench.make().prepare().await.expect("all is well");
    let wrong_bot = SlackConfig { bot_token: Secret::new("xoxb-wrong"), ..bench.config() };
    let why = config_error(bench.with(wrong_bot).prepare().await, "slack.bot_token");
    assert!(why.contains("invalid_auth") && why.contains("OAuth & Permissions"), "{why}");
    let wrong_app = SlackConfig { app_token: Secret::new("xapp-wrong"), ..bench.config() };
    let why = config_error(bench.with(wrong_app).prepare().await, "slack.app_token");
    assert!(why.contains("invalid_auth") && why.contains("connections:write"), "{why}");
    bench.slack.fault("apps.connections.open", Fault::Code("missing_scope".into()));
    let why = config_error(bench.make().prepare().await, "slack.app_token");
    assert!(why.contains("connections:write"), "{why}");
    bench.slack.remove_scope("files:write");
    bench.slack.remove_scope("users:read");
    let why = config_error(bench.make().prepare().await, "slack.bot_token");
    assert!(why.contains("`files:write`, `users:read`") && why.contains("Reinstall"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slack_that_is_away_does_not_end_the_start() {
    let bench = Bench::new(Way::Socket).await;
    for fault in [Fault::Status(503), Fault::Garbage, Fault::Limited(3), Fault::Code("internal_error".into())]
    {
        bench.slack.fault("auth.test", fault.clone());
        let result = bench.make().prepare().await;
        let passing = matches!(result, Err(AdapterError::Unreachable(_) | AdapterError::RateLimited { .. }));
        assert!(passing, "{fault:?}: {result:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn announced_ends_cost_nothing() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    for (n, reason) in
        ["warning", "refresh_requested", "too_many_websockets", "anything"].into_iter().enumerate()
    {
        bench.slack.announce_end(reason);
        bench.slack.say("D1", "U1", reason);
        assert_eq!(bot.hear_text().await, reason);
        bench.slack.connected(n + 2).await;
        bench.slack.say("D1", "U1", "on both");
        assert_eq!(bot.hear_text().await, "on both");
    }
    assert!(bot.health().up && bot.health().reconnects == 0, "{:?}", bot.health());
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_and_broken_connections_come_back_and_lose_nothing() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    bench.slack.close();
    bench.slack.say("D1", "U1", "after the close");
    assert_eq!(bot.hear_text().await, "after the close");
    bench.slack.cut();
    bench.slack.say("D1", "U1", "after the cut");
    assert_eq!(bot.hear_text().await, "after the cut");
    let health = bot.health();
    assert_eq!((health.up, health.reconnects), (true, 2), "{health:?}");
    assert_eq!(health.note, None, "its own dead connection is no second program");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_asks_for_one_connection() {
    let bench = Bench::new(Way::Socket).await;
    let adapter = bench.make();
    adapter.prepare().await.expect("all is well");
    let mut bot = Running::start(adapter);
    bot.up().await;
    bench.slack.say("D1", "U1", "hello");
    assert_eq!(bot.hear_text().await, "hello");
    assert_eq!(bench.slack.calls("apps.connections.open").len(), 1);
    bench.slack.cut();
    bench.slack.connected(2).await;
    assert_eq!(bench.slack.calls("apps.connections.open").len(), 2, "an address works once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_to_end_serves_until_the_next_one_can_be_opened() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    for fault in [Fault::Status(500), Fault::Limited(1)] {
        bench.slack.fault("apps.connections.open", fault);
    }
    bench.slack.announce_end("refresh_requested");
    bench.slack.called("apps.connections.open", 2).await;
    bench.slack.say("D1", "U1", "in between");
    assert_eq!(bot.hear_text().await, "in between");
    bench.slack.connected(2).await;
    assert_eq!(bot.health().reconnects, 0, "{:?}", bot.health());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_of_an_older_manifest_starts_and_says_what_it_lacks() {
    let bench = Bench::new(Way::Socket).await;
    bench.slack.remove_scope("mpim:history");
    bench.make().prepare().await.expect("group conversations alone are missing");
    let bot = bench.open().await;
    bot.healthy("noted", |health| health.note.as_deref().is_some_and(|note| note.contains("`mpim:history`")))
        .await;
}

/// Three bots at once, since each of these waits for seconds.
#[tokio::test(flavor = "multi_thread")]
async fn a_deaf_socket_and_a_hanging_or_failing_open_are_noticed_and_over_soon() {
    let deaf = async {
        let bench = Bench::new(Way::Socket).await;
        let mut bot = bench.open().await;
        bench.slack.deafen();
        bench.slack.say("D1", "U1", "into deaf ears");
        assert_eq!(bot.hear_text().await, "into deaf ears");
        let why = bot.health().last_error.expect("told");
        assert!(why.contains("deaf"), "{why}");
    };
    let hanging = async {
        let bench = Bench::new(Way::Socket).await;
        bench.slack.fault("apps.connections.open", Fault::Hang);
        let mut bot = bench.open().await;
        let why = bot.health().last_error.expect("told");
        assert!(why.contains("no answer within"), "{why}");
        bench.slack.say("D1", "U1", "hello");
        assert_eq!(bot.hear_text().await, "hello");
    };
    let failing = async {
        let bench = Bench::new(Way::Socket).await;
        bench.slack.fault("apps.connections.open", Fault::Status(500));
        bench.slack.fault("apps.connections.open", Fault::Garbage);
        bench.slack.fault("apps.connections.open", Fault::Limited(2));
        let mut bot = bench.open().await;
        bench.slack.say("D1", "U1", "hello");
        assert_eq!(bot.hear_text().await, "hello");
    };
    let all = async { tokio::join!(deaf, hanging, failing) };
    tokio::time::timeout(std::time::Duration::from_secs(30), all).await.expect("back within 30 s");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_is_revoked_while_it_runs_is_told_and_a_new_one_ends_that() {
    let bench = Bench::new(Way::Socket).await;
    let mut bot = bench.open().await;
    bench.slack.refuse_token(BOT_TOKEN, Some("token_revoked"));
    let sent = bot.adapter.send(&room("C1"), &Outgoing::text("hello")).await;
    let Err(AdapterError::Rejected(why)) = sent else { panic!("{sent:?}") };
    assert!(why.contains("token_revoked") && why.contains("slack.bot_token"), "{why}");
    bot.healthy("down with the reason", |health| {
        !health.up && health.last_error.as_deref().is_some_and(|why| why.contains("token_revoked"))
    })
    .await;
    bench.slack.refuse_token(BOT_TOKEN, None);
    bot.up().await;
    bench.slack.say("D1", "U1", "hello");
    assert_eq!(bot.hear_text().await, "hello");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_that_is_removed_and_a_revoked_app_token_are_told() {
    let bench = Bench::new(Way::Socket).await;
    let bot = bench.open().await;
    bench.slack.uninstall();
    bot.healthy("told", |health| {
        health.last_error.as_deref().is_some_and(|why| why.contains("account_inactive"))
    })
    .await;
    drop(bot);
    bench.slack.refuse_token(BOT_TOKEN, None);

    bench.slack.refuse_token(APP_TOKEN, Some("token_revoked"));
    let bot = Running::start(bench.make());
    bot.healthy("told", |health| {
        health.last_error.as_deref().is_some_and(|why| why.contains("slack.app_token"))
    })
    .await;
    bench.slack.refuse_token(APP_TOKEN, None);
    bot.up().await;
    bench.slack.announce_end("link_disabled");
    bot.healthy("told", |health| {
        health.last_error.as_deref().is_some_and(|why| why.contains("switched off"))
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_without_the_bot_is_told_with_what_to_type() {
    let bench = Bench::new(Way::Socket).await;
    let config = SlackConfig { channel_ids: vec!["C1".into(), "C2".into(), "C404".into()], ..bench.config() };
    let bot = Running::start(bench.with(config));
    bot.healthy("noted", |health| health.note.is_some()).await;
    let note = bot.health().note.expect("noted");
    assert_eq!(note, "I am not in `C2`, `C404`, so I receive nothing there; type `/invite @timmy` in it.");
    let sent = bot.adapter.send(&room("C2"), &Outgoing::text("hello")).await;
    let Err(AdapterError::Rejected(why)) = sent else { panic!("{sent:?}") };
    assert!(why.contains("not_in_channel") && why.contains("/invite"), "{why}");
    let odd = bot.adapter.send(&room("C1/odd"), &Outgoing::text("hello")).await;
    assert!(matches!(odd, Err(AdapterError::Rejected(_))), "{odd:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_in_which_nobody_can_write_is_told_with_what_to_do() {
    let bench = Bench::new(Way::Socket).await;
    let bot = bench.open().await;
    let refused = async || match bot.adapter.send(&room("C1"), &Outgoing::text("hello")).await {
        Err(AdapterError::Rejected(why)) => why,
        other => panic!("not refused: {other:?}"),
    };
    bench.slack.archive("C1", true);
    assert!(refused().await.contains("`C1` is archived"));
    bench.slack.archive("C1", false);
    bench.slack.kick_bot("C1");
    assert!(refused().await.contains("/invite"));
    bench.slack.invite_bot("C1");
    bench.slack.fault("chat.postMessage", Fault::Code("restricted_action".into()));
    assert!(refused().await.contains("posting permissions"));
    bot.adapter.send(&room("C1"), &Outgoing::text("hello")).await.expect("sent");
    drop(bot);
    bench.slack.archive("C1", true);
    let bot = Running::start(bench.make());
    bot.healthy("noted", |health| health.note.as_deref().is_some_and(|note| note.contains("unarchive")))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_scope_at_run_time_is_named() {
    let bench = Bench::new(Way::Socket).await;
    let bot = bench.open().await;
    bench.slack.remove_scope("chat:write");
    let sent = bot.adapter.send(&room("C1"), &Outgoing::text("hello")).await;
    let Err(AdapterError::Rejected(why)) = sent else { panic!("{sent:?}") };
    assert!(why.contains("`chat:write`") && why.contains("Reinstall"), "{why}");
    drop(bot);
    let bot = bench.open().await;
    bot.healthy("noted", |health| health.note.as_deref().is_some_and(|note| note.contains("chat:write")))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_program_on_the_same_app_is_told_until_it_is_gone() {
    let bench = Bench::new(Way::Socket).await;
    bench.slack.foreign_connections(1);
    let bot = bench.open().await;
    bot.healthy("noted", |health| {
        health.note.as_deref().is_some_and(|note| note.contains("Another program"))
    })
    .await;
    bench.slack.foreign_connections(0);
    bench.slack.announce_end("refresh_requested");
    bot.healthy("over", |health| health.note.is_none()).await;
}
