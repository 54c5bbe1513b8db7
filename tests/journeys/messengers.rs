//! Every command on every messenger: one that can do everything, and one that can only send and receive text.

use std::sync::Arc;

use adapters::testing::fake::Fake;
use e2e::{Bot, Cli, Setup};

fn messengers() -> [Arc<Fake>; 2] {
    [Fake::new("fake"), Fake::plain("plain")]
}

/// Nothing that the bot shows may be an excuse of ours.
fn assert_sound(fake: &Fake, command: &str, transcript: &str) {
    let name = adapters::Adapter::name(fake);
    assert!(!transcript.contains("went wrong on my side"), "`{command}` on {name}\n{transcript}");
}

/// Says it in a room of its own and returns the first answer.
async fn answer(bot: &Bot, fake: &Arc<Fake>, command: &str) -> String {
    let room = fake.room(format!("{command} room"));
    room.say_as("root", command).await;
    let answer = room.see("").await.text;
    assert_sound(fake, command, &room.transcript());
    assert!(!answer.trim().is_empty(), "`{command}` answered nothing");
    assert!(bot.app.services().commands.registry.specs().count() > 0);
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_answers_on_every_messenger() {
    let fakes = messengers();
    let bot = Setup::new(Cli::StandIn).on(fakes.to_vec()).operators(&["root"]).start().await;
    let specs: Vec<_> = bot.app.services().commands.registry.specs().copied().collect();
    assert!(specs.len() >= 18, "the registry lost a command");
    for spec in &specs {
        for fake in &fakes {
            for line in spec.examples.iter().copied().chain([spec.name]) {
                answer(&bot, fake, line).await;
            }
            let wrong = answer(&bot, fake, &format!("!{} \u{202e}` -- ;", spec.name)).await;
            assert!(!adapters::markdown::plain(&wrong).contains('\u{202e}'), "{wrong}");
        }
    }
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_alias_is_its_command() {
    let fakes = messengers();
    let bot = Setup::new(Cli::StandIn).on(fakes.to_vec()).operators(&["root"]).start().await;
    let specs: Vec<_> = bot.app.services().commands.registry.specs().copied().collect();
    for spec in &specs {
        for alias in spec.aliases {
            for fake in &fakes {
                let help = answer(&bot, fake, &format!("help {alias}")).await;
                assert!(help.contains(spec.name), "`{alias}` is not explained as `{}`\n{help}", spec.name);
                answer(&bot, fake, &format!("!{}", alias.to_uppercase())).await;
            }
        }
    }
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_journey_ends_the_same_on_both() {
    for fake in messengers() {
        let bot = Setup::new(Cli::StandIn).on(vec![fake.clone()]).start().await;
        let room = bot.room("a");
        room.say("bash echo by $USER_OF_TEST > made.txt").await;
        room.see("Question 1").await;
        room.say("status").await;
        room.see("Open questions**: 1").await;
        room.say("yes").await;
        room.see("ann allowed").await;
        room.see("no output").await;
        assert!(bot.file("made.txt").exists());
        // Text is shown before its turn is over; a prompt said in between would wait in the queue.
        if adapters::Adapter::capabilities(&*fake).activity {
            room.settled().await;
        }
        room.say("slow").await;
        room.say("echo after").await;
        room.see("Queued, number 1").await;
        room.say("stop").await;
        room.see("Stopped.").await;
        room.see("echo: after").await;
        room.say("reset").await;
        room.see("starts a new one").await;
        room.say("history").await;
        room.see("nothing yet").await;
        bot.app.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_messengers_at_once_are_two_conversations() {
    let [rich, plain] = messengers();
    let bot = Setup::new(Cli::StandIn).on(vec![rich.clone(), plain.clone()]).start().await;
    let (one, two) = (rich.room("same-name"), plain.room("same-name"));
    one.say("echo on the rich one").await;
    two.say("echo on the plain one").await;
    one.see("echo: on the rich one").await;
    two.see("echo: on the plain one").await;
    one.say("history").await;
    one.see("1. echo on the rich one").await;
    assert!(!one.transcript().contains("plain one") && !two.transcript().contains("rich one"));
    rich.drop_connection();
    two.say("echo the other one is down").await;
    two.see("echo: the other one is down").await;
    bot.app.shutdown().await;
}
