//! The `status` command: this room, open questions, sessions, messengers. The stories are in [`super::board`].

use std::{
    fmt::Write as _,
    sync::Arc,
    time::{Duration, SystemTime},
};

use adapters::{HealthSnapshot, Room, markdown::inert};
use settings::duration::human;

use super::text::{count, shorten};
use crate::{
    live_agents::AgentEntry,
    permission::{AtDeadline, Question},
};

/// The room's turn, if one runs, and what waits behind it.
pub fn room_status(turn: Option<(&str, Duration, Option<&str>)>, queue: &[(String, String)]) -> String {
    let mut text = match turn {
        Some((who, age, waiting)) => {
            let waiting = waiting.map(|why| format!(", {why}")).unwrap_or_default();
            format!("**Here**: working for {} ({}){waiting}\n", inert(who), human(age))
        }
        None => "**Here**: idle\n".to_owned(),
    };
    text.push_str(&queue_list(queue, 60));
    text
}

/// The prompts that wait, in order, each on a line of at most `width` characters.
pub fn queue_list(queue: &[(String, String)], width: usize) -> String {
    let line = |(n, (who, what)): (usize, &(String, String))| {
        format!("{}. {}: {}\n", n + 1, inert(who), inert(&shorten(what, width)))
    };
    queue.iter().enumerate().map(line).collect()
}

/// The open permission questions of all rooms; empty where there are none.
pub fn open_questions(open: &[Arc<Question>], now: SystemTime) -> String {
    if open.is_empty() {
        return String::new();
    }
    let mut text = format!("\n**Open questions**: {}\n", open.len());
    for question in open {
        let left = match question.deadline {
            Some(deadline) => {
                let left = human(deadline.duration_since(now).unwrap_or_default());
                match question.at_deadline {
                    AtDeadline::Parked { .. } => format!("parked in {left}"),
                    AtDeadline::Denied | AtDeadline::NotParked(_) => format!("denied in {left}"),
                }
            }
            None => match question.parked_at {
                Some(since) => format!("parked for {}", human(now.duration_since(since).unwrap_or_default())),
                None => "no deadline".into(),
            },
        };
        let rooms: Vec<_> = question.asked_in().iter().map(|room| format!("`{room}`")).collect();
        let (id, tool, asked_for) = (question.id, inert(&question.tool), inert(&question.asked_for));
        let _ = writeln!(text, "- {id}: {tool} for {asked_for} in {}, {left}", rooms.join(", "));
    }
    text
}

/// The rooms' Claude Code processes.
pub fn sessions(agents: &[(u32, AgentEntry)]) -> String {
    let mut text = format!("\n**Running sessions**: {}\n", agents.len());
    for (_, agent) in agents {
        let (age, cost) = (human(agent.since.elapsed()), agent.cost_usd);
        let _ = writeln!(text, "- `{}` for {age}, ${cost:.2}", agent.name);
    }
    text
}

/// How each messenger is connected.
pub fn messenger_health(messengers: &[HealthSnapshot], now: SystemTime) -> String {
    let mut text = String::from("\n**Messengers**\n");
    let age = |time: SystemTime| human(now.duration_since(time).unwrap_or_default());
    for health in messengers {
        let state = if health.up { "up" } else { "down" };
        let _ = write!(text, "- {}: {state} for {}", health.name, age(health.since));
        if let Some(event) = health.last_event {
            let _ = write!(text, ", last message {} ago", age(event));
        }
        if health.reconnects > 0 {
            let _ = write!(text, ", {}", count(health.reconnects as usize, "reconnect", "reconnects"));
        }
        if let Some(error) = health.last_error.as_ref().filter(|_| !health.up) {
            let _ = write!(text, ": {}", inert(error));
        }
        if let Some(note) = health.note.as_ref().filter(|_| health.up) {
            let _ = write!(text, ". {}", inert(note));
        }
        text.push('\n');
        for unreached in &health.unreached {
            let messages = count(unreached.messages as usize, "message", "messages");
            let (id, why, age) = (inert(&unreached.id), inert(&unreached.why), age(unreached.since));
            let _ = writeln!(text, "  - {messages} not delivered in `{id}` in the last {age}: {why}");
        }
    }
    text
}

/// For the operator: a room does not get the bot's messages. It cannot be told itself.
pub fn not_delivered(room: &Room, why: &str) -> String {
    format!("My messages do not reach the room `{}`: {}", inert(&room.to_string()), inert(why))
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use adapters::UnreachedConversation;

    use super::*;

    #[test]
    fn a_messenger_that_is_down_says_why() {
        let now = UNIX_EPOCH + Duration::from_secs(1_000);
        let snapshot = HealthSnapshot {
            name: "chat",
            up: false,
            since: now - Duration::from_secs(90),
            last_event: Some(now - Duration::from_secs(120)),
            reconnects: 1,
            last_error: Some("refused".into()),
            note: None,
            unreached: vec![UnreachedConversation {
                id: "C1".into(),
                why: "refused: `C1` is archived; unarchive it.".into(),
                since: now - Duration::from_secs(60),
                messages: 2,
            }],
        };
        insta::assert_snapshot!(messenger_health(&[snapshot], now), @r"

        **Messengers**
        - chat: down for 1m 30s, last message 2m ago, 1 reconnect: refused
          - 2 messages not delivered in `C1` in the last 1m: refused: `C1` is archived; unarchive it.
        ");
    }

    #[test]
    fn a_room_shows_its_turn_and_its_queue_in_order() {
        let queue = [("Ann".into(), "fix\nthe build".into()), ("Bob".into(), "and test".into())];
        let turn = ("Ann", Duration::from_secs(90), Some("waits for an answer"));
        insta::assert_snapshot!(room_status(Some(turn), &queue), @r"
        **Here**: working for Ann (1m 30s), waits for an answer
        1. Ann: fix the build
        2. Bob: and test
        ");
        assert_eq!(room_status(None, &[]), "**Here**: idle\n");
    }
}
