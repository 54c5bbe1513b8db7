//! People: who is asked where, who is away, and when they are back.

use std::time::SystemTime;

use adapters::{
    Room,
    markdown::{code_span, inert},
};
use jiff::{Timestamp, ToSpan as _, tz::TimeZone};

use super::text::sentence;
use crate::{
    config::access::UserRole,
    permission::{AskedPerson, LadderNews, NobodyHere, PersonReturn, QuestionId},
    store::AwayRecord,
};

/// People who are named in one sentence.
const NAMED: usize = 5;

/// ` (in Slack)`, ` (at the terminal)`.
pub fn place_of(messenger: &str) -> String {
    format!(" ({})", at_messenger(messenger))
}

fn at_messenger(messenger: &str) -> String {
    match messenger {
        adapters::web::NAME => "on the page".into(),
        adapters::console::NAME => "at the terminal".into(),
        messenger => {
            let kind = adapters::MESSENGERS.iter().find(|kind| kind.name == messenger);
            format!("in {}", kind.map_or(messenger, |kind| kind.title))
        }
    }
}

fn asked_at(asked: &AskedPerson) -> String {
    format!("{}{}", inert(&asked.name), place_of(asked.messenger))
}

/// What a room is told of the way of a question to people elsewhere.
pub fn ladder_news(id: QuestionId, news: &LadderNews, room: &Room, now: SystemTime) -> String {
    match news {
        LadderNews::Away(people) => {
            let people: Vec<String> = people.iter().map(|back| is_away(back, now)).collect();
            people.join(" ")
        }
        LadderNews::NobodyHere(news) => nobody_here(id, news, room),
        LadderNews::NobodyThere(None) => {
            format!("Question {id}: nobody whom I could ask directly is there now.")
        }
        LadderNews::NobodyThere(Some(back)) => format!(
            "Question {id}: nobody whom I could ask directly is there now. {}",
            is_back_first(back, now)
        ),
        LadderNews::Asked(asked) => {
            format!("Question {id} waits, so I asked {} directly.", asked_at(asked))
        }
        LadderNews::NotAsked { asked, why } => format!(
            "Question {id} does not reach {} now: {} I go on at once.",
            asked_at(asked),
            sentence(&inert(why))
        ),
    }
}

fn nobody_here(id: QuestionId, news: &NobodyHere, room: &Room) -> String {
    let name = room.adapter();
    let key = match news.needs {
        UserRole::User => "allowed_users",
        UserRole::Approver | UserRole::Operator => "approvers",
    };
    let mut text = format!("Nobody in this room may answer question {id}.");
    if news.goes_on {
        text.push_str(" I ask somebody who may directly, now.");
    }
    let listed: Vec<String> = news.who_may.iter().take(NAMED).map(|who| code_span(who)).collect();
    let more = if news.who_may.len() > NAMED { ", …" } else { "" };
    let invite = match listed.is_empty() {
        true => String::new(),
        false => format!("invite somebody who may ({}{more}), or ", listed.join(", ")),
    };
    let what = format!("{invite}have somebody of this room added to `{name}.{key}` in bot.toml");
    format!("{text} {}", sentence(&capitalized(&what)))
}

fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn is_away(back: &PersonReturn, now: SystemTime) -> String {
    let name = inert(&back.name);
    match back.at {
        Some(at) => format!("{name} is away until {}.", when(at, now, &back.zone)),
        None => format!("{name} is away."),
    }
}

fn is_back_first(back: &PersonReturn, now: SystemTime) -> String {
    let name = inert(&back.name);
    match back.at {
        Some(at) => format!("{name} is back first, {}.", on(&when(at, now, &back.zone))),
        None => format!("{name} is away, and has not said until when."),
    }
}

/// `at 14:00`, `tomorrow 9:00`, `on Mon 7 Dec 9:00`.
fn on(when: &str) -> String {
    match when.chars().next() {
        Some(first) if first.is_ascii_digit() => format!("at {when}"),
        Some('t') => when.to_owned(),
        _ => format!("on {when}"),
    }
}

/// A time as a person in this zone says it: `14:00`, `tomorrow 9:00`, `Mon 7 Dec 9:00`; with the zone where it is not this machine's.
pub fn when(at: SystemTime, now: SystemTime, zone: &TimeZone) -> String {
    let read = |time| Timestamp::try_from(time).ok().map(|it: Timestamp| it.to_zoned(zone.clone()));
    let (Some(at), Some(now)) = (read(at), read(now)) else { return "a time that I cannot read".into() };
    let time = at.strftime("%-H:%M");
    let tomorrow = now.date().checked_add(1.day()).ok();
    let text = if at.date() == now.date() {
        time.to_string()
    } else if Some(at.date()) == tomorrow {
        format!("tomorrow {time}")
    } else {
        format!("{} {time}", at.strftime("%a %-d %b"))
    };
    match zone.iana_name().filter(|_| *zone != TimeZone::system()) {
        Some(name) => format!("{text} ({name})"),
        None => text,
    }
}

/// The answer to `away`.
pub fn you_are_away(away: AwayRecord, now: SystemTime, zone: &TimeZone) -> String {
    match away.until {
        Some(until) => format!(
            "You are away until {}. Until then I ask you nothing directly; `back` ends it.",
            when(until, now, zone)
        ),
        None => "You are away. I ask you nothing directly until you say `back`.".into(),
    }
}

/// The answer to `back`.
pub fn you_are_back(was_away: bool) -> &'static str {
    match was_away {
        true => "Welcome back. Questions reach you again.",
        false => "You were not away.",
    }
}

/// `away` with words that are no time.
pub fn not_a_time(words: &str) -> String {
    format!(
        "{} is no time that I can read; say `away until 14:00`, `away until tomorrow 9:00`, `away until Monday`, \
         `away until 2026-12-24`, `away for 2h`, or just `away`.",
        code_span(words)
    )
}

/// `away` until a time that is over.
pub fn time_is_over(words: &str) -> String {
    format!("{} is over already.", code_span(words))
}

/// Above this a person is away without a limit.
pub fn too_far_away(words: &str) -> String {
    format!("{} is more than a year away. Say `away` without a time.", code_span(words))
}

/// The part of `whoami` about a person of `bot.toml`.
pub fn your_accounts(name: &str, accounts: impl Iterator<Item = (&'static str, String)>) -> String {
    let accounts: Vec<String> =
        accounts.map(|(messenger, id)| format!("{} {}", code_span(&id), at_messenger(messenger))).collect();
    match accounts.is_empty() {
        true => format!("`bot.toml` knows you as {}.", inert(name)),
        false => format!("`bot.toml` knows you as {}, who is also {}.", inert(name), accounts.join(" and ")),
    }
}

/// The part of `whoami` about the time.
pub fn your_absence(
    away: Option<AwayRecord>,
    off_hours: Option<&PersonReturn>,
    now: SystemTime,
    zone: &TimeZone,
) -> String {
    match (away, off_hours) {
        (Some(AwayRecord { until: Some(until) }), _) => {
            format!("You are away until {}.", when(until, now, zone))
        }
        (Some(AwayRecord { until: None }), _) => "You are away until you say `back`.".into(),
        (None, Some(PersonReturn { at: Some(at), .. })) => {
            format!("It is outside your hours; I ask you directly again {}.", on(&when(*at, now, zone)))
        }
        (None, Some(_) | None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(text: &str) -> SystemTime {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        text.parse::<jiff::civil::DateTime>().unwrap().to_zoned(zone).unwrap().timestamp().into()
    }

    fn back(name: &str, time: Option<&str>) -> PersonReturn {
        PersonReturn { name: name.into(), at: time.map(at), zone: TimeZone::get("Europe/Berlin").unwrap() }
    }

    #[test]
    fn a_room_reads_where_its_question_goes_and_why() {
        let now = at("2026-11-30T12:00");
        let ann = |messenger| AskedPerson { name: "Ann *B*".into(), messenger };
        let nobody = |who: &[&str], goes_on| {
            let who_may = who.iter().map(|&it| it.to_owned()).collect();
            LadderNews::NobodyHere(NobodyHere { needs: UserRole::Approver, who_may, goes_on })
        };
        let news = [
            LadderNews::Away(vec![back("Ann", Some("2026-11-30T14:00")), back("Bob", None)]),
            LadderNews::NobodyThere(None),
            LadderNews::NobodyThere(Some(back("Ann", Some("2026-12-01T09:00")))),
            LadderNews::NobodyThere(Some(back("Ann", Some("2026-12-07T09:05")))),
            LadderNews::NobodyThere(Some(back("Ann", Some("2026-11-30T13:00")))),
            LadderNews::NobodyThere(Some(back("Ann", None))),
            LadderNews::Asked(ann("slack")),
            LadderNews::NotAsked { asked: ann("whatsapp"), why: "rate limited, again in 5 s".into() },
            nobody(&[], false),
            nobody(&["Ann", "U2", "U3", "U4", "U5", "U6"], true),
        ];
        let room = Room::new("slack", "C1");
        let told: Vec<String> =
            news.iter().map(|news| ladder_news(QuestionId(3), news, &room, now)).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        Ann is away until 14:00 (Europe/Berlin). Bob is away.
        Question 3: nobody whom I could ask directly is there now.
        Question 3: nobody whom I could ask directly is there now. Ann is back first, tomorrow 9:00 (Europe/Berlin).
        Question 3: nobody whom I could ask directly is there now. Ann is back first, on Mon 7 Dec 9:05 (Europe/Berlin).
        Question 3: nobody whom I could ask directly is there now. Ann is back first, at 13:00 (Europe/Berlin).
        Question 3: nobody whom I could ask directly is there now. Ann is away, and has not said until when.
        Question 3 waits, so I asked Ann *B* (in Slack) directly.
        Question 3 does not reach Ann *B* (in WhatsApp) now: rate limited, again in 5 s. I go on at once.
        Nobody in this room may answer question 3. Have somebody of this room added to `slack.approvers` in bot.toml.
        Nobody in this room may answer question 3. I ask somebody who may directly, now. Invite somebody who may (`Ann`, `U2`, `U3`, `U4`, `U5`, …), or have somebody of this room added to `slack.approvers` in bot.toml.
        ");
    }

    #[test]
    fn whoever_is_away_reads_until_when() {
        let (now, zone) = (at("2026-11-30T12:00"), TimeZone::system());
        let later = now + Duration::from_secs(3 * 86_400);
        assert!(you_are_away(AwayRecord { until: Some(later) }, now, &zone).contains(" Dec "));
        let none = your_absence(None, None, now, &zone);
        assert_eq!(none, "");
        insta::assert_snapshot!(your_accounts("Ann", [("slack", "U1".to_owned()), ("console", "ann".to_owned())].into_iter()), @"`bot.toml` knows you as Ann, who is also `U1` in Slack and `ann` at the terminal.");
    }
}
