//! What the bot says: in its form, at Slack's pace, pinging nobody.

use std::time::Duration;

use adapters::{
    Activity, ActivityState, Adapter as _, AdapterError, Choice, MessageId, Outgoing, Tone, deliver,
};
use services::slack::Fault;

use super::bench::{Bench, Way, room};

fn frame(text: &str) -> Outgoing {
    Outgoing { live: true, ..Outgoing::text(text) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_is_dropped_at_a_limit_and_the_last_state_arrives_after_it() {
    let bench = Bench::new(Way::Socket).await;
    let bot = bench.open().await;
    let room = room("C1");
    let id = bot.adapter.send(&room, &frame("frame 1")).await.expect("sent");
    bench.slack.fault("chat.update", Fault::Limited(2));
    let limited = bot.adapter.edit(&room, &id, &frame("frame 2")).await;
    let Err(AdapterError::RateLimited { retry_after }) = limited else { panic!("{limited:?}") };
    assert_eq!(retry_after, Duration::from_secs(2));
    let calls = bench.slack.calls("chat.update").len();
    assert!(matches!(
        bot.adapter.edit(&room, &id, &frame("frame 3")).await,
        Err(AdapterError::RateLimited { .. })
    ));
    assert_eq!(bench.slack.calls("chat.update").len(), calls, "Slack is not asked before the time");
    bot.adapter.edit(&room, &id, &Outgoing::text("the end")).await.expect("waits and is told");
    let calls = bench.slack.calls("chat.update");
    let waited = calls[calls.len() - 1].at - calls[calls.len() - 2].at;
    assert!(waited >= Duration::from_secs(2), "{waited:?}");
    assert_eq!(bench.slack.see("C1", "the end").await.ts, id.as_str());
}

/// The stand-in refuses the 51st edit of a minute, as Slack does; nobody here has to hear that.
#[tokio::test(flavor = "multi_thread")]
async fn many_live_messages_never_meet_slacks_limit() {
    let bench = Bench::new(Way::Socket).await;
    let bot = bench.open().await;
    let mut posted = Vec::new();
    for n in 0..5 {
        let channel = format!("C1{n}");
        bench.slack.add_channel(&channel);
        let room = room(&channel);
        posted.push((deliver::post(&*bot.adapter, &room, &frame("0")).await.expect("posted"), room));
    }
    for n in 0..200 {
        for (posted, room) in &mut posted {
            let _ = deliver::show_frame(&*bot.adapter, room, posted, &frame(&n.to_string())).await;
        }
    }
    for (posted, room) in &mut posted {
        deliver::update(&*bot.adapter, room, posted, &Outgoing::text("the end")).await.expect("told");
    }
    let calls = bench.slack.calls("chat.update");
    assert!(calls.iter().all(|call| call.ok) && (5..=50).contains(&calls.len()), "{}", calls.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn six_rooms_are_answered_at_once_and_a_slow_one_holds_up_none() {
    let bench = Bench::new(Way::Socket).await;
    let bot = bench.open().await;
    let root = bench.slack.say("C1", "U1", "root");
    let mut rooms = vec![room("C1"), room(&format!("C1/{root}")), room("D1"), room("D2")];
    for id in ["C11", "C12"] {
        bench.slack.add_channel(id);
        rooms.push(room(id));
    }
    bench.slack.fault("chat.postMessage", Fault::Hang);
    let (adapter, slow) = (bot.adapter.clone(), rooms[5].clone());
    let hanging = tokio::spawn(async move { adapter.send(&slow, &Outgoing::text("slow")).await });
    bench.slack.called("chat.postMessage", 1).await;
    let message = Outgoing::text("hello");
    let all = futures::future::join_all(rooms.iter().map(|room| bot.adapter.send(room, &message)));
    let sent = tokio::time::timeout(Duration::from_secs(2), all).await.expect("within two seconds");
    assert!(sent.iter().all(Result::is_ok), "{sent:?}");
    let slow = hanging.await.expect("no panic");
    assert!(matches!(slow, Err(AdapterError::Unreachable(_))), "it is given up: {slow:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forty_kilobytes_of_everything_arrive_and_ping_nobody() {
    let bench = Bench::new(Way::Socket).await;
    let bot = bench.open().await;
    let block = "## Part\n\n- a [link](https://example.org) and `code`\n- <!channel> @here <@U1> <!subteam^S1>\n\n\
                 | a | b |\n|---|---|\n| 1 | 2 |\n\n```rust\nfn main() { println!(\"<@U2> & <b>\"); }\n```\n\n";
    let text = block.repeat(40_000 / block.len());
    let ids =
        deliver::deliver(&*bot.adapter, &room("C1"), &Outgoing::text(text.clone())).await.expect("delivered");
    assert!((4..=5).contains(&ids.len()), "{}", ids.len());
    let calls = bench.slack.calls("chat.postMessage");
    let sent: Vec<&str> = calls.iter().filter_map(|call| call.body["markdown_text"].as_str()).collect();
    assert_eq!(sent.concat().matches("## Part").count(), text.matches("## Part").count());
    for ping in ["<!channel", "@here", "<@U", "<!subteam"] {
        assert!(sent.iter().all(|part| !part.contains(ping)), "{ping}");
    }
    assert!(sent.iter().all(|part| part.matches("```").count() % 2 == 0), "no code block is left open");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_longer_becomes_a_file() {
    let bench = Bench::new(Way::Socket).await;
    let bot = bench.open().await;
    let root = bench.slack.say("C1", "U1", "root");
    let text: String = (0..9_000).map(|n| format!("line {n}\n")).collect();
    let thread = room(&format!("C1/{root}"));
    deliver::deliver(&*bot.adapter, &thread, &Outgoing::text(text.clone())).await.expect("delivered");
    let message = bench.slack.see_which("C1", "a file", |message| !message.files.is_empty()).await;
    assert_eq!(message.files, [("answer.md".to_owned(), text.into_bytes())]);
    assert_eq!(message.thread, Some(root));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slack_without_markdown_gets_sections() {
    let bench = Bench::new(Way::Socket).await;
    bench.slack.forget_markdown();
    let bot = bench.open().await;
    let room = room("C1");
    let id = bot.adapter.send(&room, &Outgoing::text("**bold** & <b>")).await.expect("sent");
    assert_eq!(bench.slack.see("C1", "*bold* & <b>").await.ts, id.as_str());
    let long = "word & so on. ".repeat(700);
    bot.adapter.edit(&room, &id, &Outgoing::text(long)).await.expect("edited");
    let edited = bench.slack.see("C1", "word & so on.").await;
    assert!(edited.blocks.len() > 3 && edited.blocks.iter().all(|block| block["type"] == "section"));
    let refused = bench.slack.calls("chat.update").iter().filter(|call| !call.ok).count();
    assert_eq!(refused, 0, "the message's edits have its form at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_block_costs_its_own_message_the_form_and_no_other() {
    let bench = Bench::new(Way::Socket).await;
    let bot = bench.open().await;
    let choices = vec![Choice { key: "k".into(), label: "Allow".into(), emoji: None }];
    let question = Outgoing { choices, ..Outgoing::text("May I run **it**?").with_tone(Tone::Question) };
    bench.slack.fault("chat.postMessage", Fault::Code("invalid_blocks".into()));
    bot.adapter.send(&room("C1"), &question).await.expect("sent as sections");
    assert_eq!(bench.slack.see("C1", "May I run *it*?").await.buttons(), ["Allow"]);

    for _ in 0..2 {
        bench.slack.fault("chat.postMessage", Fault::Code("invalid_blocks".into()));
    }
    let worse = Outgoing { markdown: "And **this**?".into(), ..question.clone() };
    bot.adapter.send(&room("C1"), &worse).await.expect("sent as text");
    bench.slack.see("C1", "And *this*?\nAnswer with `Allow`.").await;

    let next = Outgoing { markdown: "And **now**?".into(), ..question };
    bot.adapter.send(&room("C1"), &next).await.expect("sent as Markdown");
    let seen = bench.slack.see("C1", "And **now**?").await;
    assert_eq!((&seen.blocks[0]["type"], seen.buttons()), (&"markdown".into(), vec!["Allow".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_is_worked_on_is_marked_until_the_room_is_idle() {
    let bench = Bench::new(Way::Socket).await;
    let bot = bench.open().await;
    let ts = bench.slack.say("C1", "U1", "!work");
    let activity = |state| Activity { state, after: MessageId::new(ts.as_str()) };
    bot.adapter.activity(&room("C1"), &activity(ActivityState::Working)).await.expect("marked");
    bot.adapter.activity(&room("C1"), &activity(ActivityState::Asking)).await.expect("marked already");
    let marked = |messages: &[services::slack::Message]| {
        messages.iter().any(|message| message.reactions.contains("eyes"))
    };
    assert!(marked(&bench.slack.messages("C1")));
    assert_eq!(bench.slack.calls("reactions.add").len(), 1);
    bench.slack.fault("reactions.remove", Fault::Limited(1));
    bot.adapter.activity(&room("C1"), &activity(ActivityState::Idle)).await.expect("unmarked");
    bench.slack.until("C1", "unmarked", |messages| !marked(messages)).await;
}
