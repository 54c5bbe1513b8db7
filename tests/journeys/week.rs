//! Ten days of a simulated clock: threads, talk, questions, limits, reconnects, htop. Nothing piles up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime},
};

use adapters::{Incoming, testing::fake::FakeRoom};
use bot::{
    Clock,
    permission::{Asker, PermissionAsk},
};
use e2e::{Bot, Cli, Setup};
use pipeline::stage::Role;
use rusqlite::Connection;
use serde_json::json;

const HOUR: Duration = Duration::from_secs(3600);
const DAYS: u64 = 10;
const THREADS_AN_HOUR: u64 = 10;

/// The wall clock that moves together with tokio's.
#[derive(Clone)]
struct Time {
    began: SystemTime,
    hours: Arc<AtomicU64>,
}

impl Time {
    fn now(&self) -> SystemTime {
        self.began + HOUR * u32::try_from(self.hours.load(Ordering::Relaxed)).expect("a few")
    }

    /// An hour passes for every timer; between the hours real time runs, since git, SQLite and threads work in that.
    async fn an_hour_passes(&self) {
        tokio::time::pause();
        tokio::time::advance(HOUR).await;
        tokio::time::resume();
        self.hours.fetch_add(1, Ordering::Relaxed);
    }
}

struct Week {
    bot: Bot,
    time: Time,
}

impl Week {
    async fn say(&self, room: &FakeRoom, text: &str) {
        room.send_incoming(Incoming { sent_at: self.time.now(), ..room.incoming("ann", text) }).await;
    }

    /// Somebody opens threads, in which others talk too.
    async fn threads(&self, hour: u64) {
        for number in 0..THREADS_AN_HOUR {
            let thread = self.bot.room(&format!("thread {hour} {number}"));
            thread.say_in_group("bob", "we could ask the bot").await;
            self.say(&thread, "whoami").await;
            thread.see("ann").await;
        }
    }

    /// Of three questions one is answered, one outlives its asker, and one its time.
    async fn questions(&self, room: &FakeRoom) {
        let broker = &self.bot.app.services().broker;
        let ask = |command: String| {
            let broker = broker.clone();
            let input = json!({"command": command, "description": "x".repeat(10_000)});
            let ask = PermissionAsk {
                asker: Asker::role(Role::Coder),
                folder: None,
                request: Default::default(),
                call: None,
                blocked_path: None,
                rooms: vec![room.room().clone()],
                asked_for: "coder-1".into(),
                tool: "Bash".into(),
                input,
                timeout: Some(HOUR / 2),
            };
            tokio::spawn(async move { broker.ask(ask).await })
        };
        let answered = ask("make one".into());
        let number = room.see("**Question ").await.text;
        let number: String =
            number.chars().skip_while(|c| !c.is_ascii_digit()).take_while(char::is_ascii_digit).collect();
        self.say(room, &format!("no {number}")).await;
        answered.await.expect("answered");
        room.see_edit("ann denied").await;
        let left = ask("make two".into());
        room.see("make two").await;
        left.abort();
        room.see_edit("the agent that asked has ended").await;
        ask("make three".into());
        room.see("make three").await;
    }

    /// What there is of that which comes and goes.
    fn held(&self) -> Held {
        let database = self.bot.file(".storkit/state/state.db");
        let database = Connection::open(database).expect("the state opens");
        let rows = |table: &str| -> u64 {
            let count = format!("SELECT count(*) FROM {table}");
            database.query_row(&count, [], |row| row.get(0)).expect("a count")
        };
        Held {
            tasks: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            rooms: self.bot.app.services().rooms.all().len(),
            seen: rows("seen"),
            questions: rows("questions") + rows("copies"),
            prompts: rows("prompts"),
        }
    }
}

#[derive(Debug)]
struct Held {
    tasks: usize,
    rooms: usize,
    seen: u64,
    questions: u64,
    prompts: u64,
}

#[tokio::test]
async fn ten_days_of_threads_questions_limits_and_reconnects_pile_nothing_up() {
    let time = Time { began: SystemTime::now(), hours: Arc::default() };
    let clock = Clock::from_fn({
        let time = time.clone();
        move || time.now()
    });
    // No prompt is said: a process does not run in simulated time.
    let bot = Setup::new(Cli::Program(vec!["/bin/false".into()])).clock(clock).start().await;
    bot.started().await;
    let week = Week { bot, time };
    let main = week.bot.room("main");
    let mut days = Vec::new();
    for hour in 0..DAYS * 24 {
        week.threads(hour).await;
        week.questions(&main).await;
        match hour % 24 {
            6 => {
                let connections = week.bot.fake.connections();
                week.bot.fake.drop_connection();
                week.say(&main, "version").await;
                main.see("storkit").await;
                assert_eq!(week.bot.fake.connections(), connections + 1);
            }
            12 => week.say(&main, "htop 1m").await,
            _ => week.bot.fake.rate_limit_next(Duration::from_millis(1)),
        }
        week.time.an_hour_passes().await;
        main.see_edit("nobody answered").await;
        if hour % 24 == 23 {
            days.push(week.held());
        }
    }
    let (first, last) = (&days[0], &days[days.len() - 1]);
    let threads_a_day = THREADS_AN_HOUR * 24;
    assert!(last.rooms as u64 <= 3 * THREADS_AN_HOUR + 1, "{days:#?}");
    assert!(last.tasks <= first.tasks + 10, "{days:#?}");
    assert_eq!((last.questions, last.prompts), (0, 0), "{days:#?}");
    // Ids are kept for eight days, so that the tenth adds none.
    assert!(last.seen <= days[8].seen + threads_a_day / 2, "{days:#?}");
    week.bot.app.shutdown().await;
}
