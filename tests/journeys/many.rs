//! Many rooms and floods: everything in its room, in order, and nothing gets stuck.

use std::time::Duration;

use adapters::testing::fake::FakeRoom;
use async_trait::async_trait;
use bot::{
    commands::command::{
        Command, CommandContext, CommandRegistry, CommandResult, CommandSpec, Reply, RoomAction,
    },
    config::access::UserRole,
};
use e2e::{Cli, Setup};
use futures::future::join_all;

/// Five prompts at once; all answers, in the order of the room.
async fn talk(room: FakeRoom, number: usize) {
    for prompt in 1..=5 {
        room.say(&format!("echo room {number} prompt {prompt}.")).await;
    }
    room.see(&format!("echo: room {number} prompt 5.")).await;
    room.settled().await;
    let answers: Vec<String> =
        room.shown().into_iter().map(|shown| shown.text).filter(|text| text.starts_with("echo: ")).collect();
    let expected: Vec<String> =
        (1..=5).map(|prompt| format!("echo: room {number} prompt {prompt}.")).collect();
    assert_eq!(answers, expected, "{}", room.transcript());
    room.say("history").await;
    room.see(&format!("5. echo room {number} prompt 5.")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_rooms_at_once_get_their_own_answers_in_order() {
    let bot = Setup::new(Cli::StandIn).start().await;
    join_all((0..20).map(|number| talk(bot.room(&format!("room-{number}")), number))).await;
    assert_eq!(bot.sessions(), 20);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_of_many_rooms_do_not_mix() {
    let bot = Setup::new(Cli::StandIn).start().await;
    let rooms: Vec<FakeRoom> = (0..8).map(|number| bot.room(&format!("room-{number}"))).collect();
    let ask = |room: &FakeRoom, number: usize| {
        let room = room.clone();
        async move {
            room.say(&format!("bash touch {number}.txt")).await;
            room.see(&format!("touch {number}.txt")).await;
        }
    };
    join_all(rooms.iter().enumerate().map(|(number, room)| ask(room, number))).await;
    for (number, room) in rooms.iter().enumerate() {
        room.say(if number % 2 == 0 { "yes" } else { "no" }).await;
    }
    join_all(rooms.iter().map(FakeRoom::settled)).await;
    for number in 0..8 {
        assert_eq!(bot.file(&format!("{number}.txt")).exists(), number % 2 == 0, "room {number}");
    }
    bot.app.shutdown().await;
}

/// A generator of its own, so that a failure can be had again.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn pick<'w>(&mut self, words: &[&'w str]) -> &'w str {
        words[self.roll(words.len())]
    }
}

const ODD: [&str; 24] = [
    "",
    "1",
    "0",
    "-1",
    "99999999999999999999",
    "on",
    "off",
    "stop",
    "clear",
    "revoke",
    "30s",
    "1h",
    "week",
    "default",
    "`",
    "```",
    "@room",
    "\u{202e}abc",
    "\u{0}",
    "🦀",
    "é",
    "<b>",
    "--help",
    "#3",
];

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_odd_messages_leave_the_room_alive() {
    let bot = Setup::new(Cli::Program(vec!["/bin/false".into()])).operators(&["ann"]).start().await;
    let room = bot.room("a");
    let specs = bot.app.services().commands.registry.specs();
    let words: Vec<&str> = specs.flat_map(|spec| spec.aliases.iter().copied().chain([spec.name])).collect();
    let mut dice = Dice(0x5eed);
    for _ in 0..40 * services::times() {
        for _ in 0..50 {
            let (prefix, word) = (dice.pick(&["!", "!", "!", "Timmy ", ""]), dice.pick(&words));
            let (one, two) = (dice.pick(&ODD), dice.pick(&ODD));
            // `doctor` starts programs; what it does has tests of its own.
            if word != "doctor" {
                room.say(&format!("{prefix}{word} {one} {two}")).await;
            }
        }
        room.settled().await;
    }
    room.say("version").await;
    room.see("storkit").await;
    let transcript = room.transcript();
    assert!(!transcript.contains("went wrong on my side"), "{transcript}");
    tokio::time::timeout(Duration::from_secs(60), bot.app.shutdown()).await.expect("it ends");
}

/// A command with a defect.
struct Defect {
    immediate: bool,
}

const WAITS: CommandSpec = CommandSpec { name: "waits", immediate: false, ..DEFECT };
const DEFECT: CommandSpec = CommandSpec {
    name: "defect",
    aliases: &[],
    args: "[later]",
    summary: "Panic",
    details: "Panics.",
    examples: &["defect"],
    role: UserRole::User,
    takes_text: false,
    begins: None,
    takes_files: false,
    immediate: true,
};

#[async_trait]
impl Command for Defect {
    fn spec(&self) -> &CommandSpec {
        if self.immediate { &DEFECT } else { &WAITS }
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        match cx.args {
            "later" => Ok(Reply::text("Soon.")
                .then(RoomAction::Later(Box::pin(async { panic!("later, with {}", e2e::TOKEN) })))),
            _ => panic!("a defect with {}", e2e::TOKEN),
        }
    }
}

fn with_defects() -> CommandRegistry {
    CommandRegistry::new(vec![
        std::sync::Arc::new(Defect { immediate: true }),
        std::sync::Arc::new(Defect { immediate: false }),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_panics_is_an_answer_with_a_number_and_not_the_end_of_the_room() {
    let bot = Setup::new(Cli::StandIn).commands(with_defects).start().await;
    let room = bot.room("a");
    room.say("defect").await;
    room.see("Something went wrong on my side (reference for the log: `").await;
    room.say("defect later").await;
    room.see("Something went wrong on my side").await;
    room.say("wait go").await;
    room.see("waiting").await;
    room.say("waits").await;
    room.see("`waits` waits until the turn is over").await;
    room.say("echo behind it").await;
    std::fs::write(bot.file("go"), "").expect("written");
    room.see("Something went wrong on my side").await;
    room.see("echo: behind it").await;
    bot.app.shutdown().await;
}
