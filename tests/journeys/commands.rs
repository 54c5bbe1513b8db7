//! Commands about the room, the machine and the project: what they show, and where it comes from.

use std::time::UNIX_EPOCH;

use adapters::testing::fake::Fake;
use e2e::{Cli, Setup};

#[tokio::test(flavor = "multi_thread")]
async fn cost_sums_the_turns_by_person_and_room_and_a_resume_counts_nothing_twice() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let (room, other) = (bot.room("a"), bot.room("b"));
    room.say("cost").await;
    room.see("Today: no turns.").await;
    for _ in 0..2 {
        room.say("echo worth it").await;
        room.settled().await;
    }
    other.say_as("bob", "echo me too").await;
    other.settled().await;
    let bot = bot.restart().await;
    let room = bot.room("a");
    room.say("echo resumed").await;
    room.settled().await;
    let (people, rooms) = bot.app.services().store.costs_since(UNIX_EPOCH).expect("the costs");
    let sums: Vec<String> = people
        .iter()
        .chain(&rooms)
        .map(|row| format!("{}: {} turns, {:.4}", row.of, row.turns, row.usd))
        .collect();
    let expected = ["ann: 3 turns, 0.0018", "bob: 1 turns, 0.0006"];
    assert_eq!(sums[..2], expected);
    assert_eq!(sums[2..], ["fake:a: 3 turns, 0.0018", "fake:b: 1 turns, 0.0006"]);
    room.say("cost week").await;
    let text = room.see("**The last seven days**").await.text;
    assert!(text.contains("in 4 turns") && text.contains("- ann: ") && text.contains("- fake:a: "), "{text}");
    room.say("cost year").await;
    room.see("`year` is not a period").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn htop_is_one_message_that_ticks_until_it_is_stopped() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("slow").await;
    room.see("slow answer").await;
    room.say("htop 1m").await;
    let first = room.see("**htop** · ends in").await;
    assert!(first.text.contains("this room"), "the session is in it: {}", first.text);
    let ticked = room.see_edit("**htop** · ends in").await;
    assert_eq!(ticked.id, first.id);
    room.say("htop stop").await;
    let last = room.see_edit("**htop** · ended").await;
    assert_eq!(last.id, first.id);
    room.say("htop stop").await;
    room.see("No htop runs here.").await;
    room.say("htop 2h").await;
    room.see("htop runs from `1s` to `1h`").await;
    room.say("stop").await;
    room.see("Stopped.").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_htop_replaces_the_first_and_a_shutdown_ends_it() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("htop").await;
    let first = room.see("ends in").await;
    room.say("htop 30s").await;
    let ended = room.see_edit("**htop** · ended").await;
    assert_eq!(ended.id, first.id);
    let second = room.see("ends in ").await;
    bot.app.shutdown().await;
    assert_eq!(room.see_edit("**htop** · ended").await.id, second.id);
}

#[tokio::test(flavor = "multi_thread")]
async fn where_nothing_can_be_edited_htop_is_one_picture_with_what_to_type() {
    let bot = Setup::new(Cli::StandIn).on(vec![Fake::plain("plain")]).start().await;
    let room = bot.room("a");
    room.say("slow").await;
    room.see("Working on it.").await;
    room.say("htop").await;
    let picture = room.see("**htop**").await;
    assert!(picture.text.contains("this room") && picture.choices.is_empty(), "{}", picture.text);
    room.say("htop stop").await;
    room.see("there is nothing to stop").await;
    assert_eq!(room.shown().iter().filter(|shown| shown.text.contains("**htop**")).count(), 1);
    room.say("stop").await;
    room.see("Stopped.").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn git_tells_the_branch_and_what_is_changed() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let room = bot.room("a");
    room.say("git").await;
    room.see("main").await;
    room.say("bash echo x > changed.txt").await;
    room.see("Question 1").await;
    room.say("yes").await;
    room.settled().await;
    room.say("git").await;
    room.see("changed.txt").await;
    room.say("bash git checkout -q -b topic").await;
    room.see("Question 2").await;
    room.say("yes").await;
    room.settled().await;
    room.say("git").await;
    room.see("topic").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoami_names_the_id_for_the_allow_list_and_the_role() {
    let bot = Setup::new(Cli::StandIn).approvers(&["bob"]).operators(&["root"]).start().await;
    let room = bot.room("a");
    for (person, role) in [("ann", "user"), ("bob", "approver"), ("root", "operator")] {
        room.say_as(person, "whoami").await;
        let text = room.see(&format!("You are `{person}`")).await.text;
        assert!(text.contains(&format!("(role: {role}). This room has the id `fake:a`")), "{text}");
    }
    room.say("doctor").await;
    room.see("Only operators can use `doctor`").await;
    room.say("whoami now").await;
    room.see("`whoami` takes no arguments.").await;
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_model_of_a_living_session_changes_with_the_command() {
    let bot = Setup::new(Cli::StandIn).config("[claude]\nmodel = \"opus\"").start().await;
    let room = bot.room("a");
    room.say("args").await;
    room.see("--model opus").await;
    room.settled().await;
    room.say("model sonnet").await;
    room.see("uses `sonnet` from the next turn on").await;
    room.say("which one?\nmodel").await;
    room.see("sonnet").await;
    room.settled().await;
    room.say("model --dangerously-skip-permissions").await;
    room.see("is not a model's name").await;
    room.say("model").await;
    room.see("This room uses `sonnet` (configured: `opus`)").await;
    let other = bot.room("b");
    other.say("args").await;
    other.see("--model opus").await;
    bot.app.shutdown().await;
}
