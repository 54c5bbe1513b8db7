//! `away` and `back`: whether questions can find a person.

use std::time::{Duration, SystemTime};

use adapters::Room;
use async_trait::async_trait;
use jiff::{Timestamp, ToSpan as _, Zoned, civil::Date, tz::TimeZone};

use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    config::{People, read_day, read_time},
    replies,
    store::AwayRecord,
};

pub struct AwayCommand;

pub struct BackCommand;

/// Who is away for longer says `away` alone.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);

/// The words after which `away` takes a time.
const UNTIL: &str = "until";
const FOR: &str = "for";

const AWAY: CommandSpec = CommandSpec {
    name: "away",
    args: "[until TIME|for 2h]",
    summary: "Say that you cannot be asked, and until when",
    details: "Questions that look for a person pass you over until then, and rooms that ask for an approval read it. The time is one of day \
              (`14:00`), `tomorrow`, a weekday or a date (`2026-12-24`), the last three with a time of day or without, in the time zone that \
              `bot.toml` has for you. Without a time you are away until you say `back`. You can answer questions all the same.",
    examples: &["away until 14:00", "away until tomorrow 9:00", "away for 2h", "away"],
    takes_text: true,
    begins: Some(is_time),
    ..CommandSpec::PLAIN
};

const BACK: CommandSpec = CommandSpec {
    name: "back",
    args: "",
    summary: "Say that you are no longer away",
    details: "Ends what you said with `away`.",
    examples: &["back"],
    ..CommandSpec::PLAIN
};

/// Whether these words can be meant for `away`: people also say "away from the server room it works".
fn is_time(args: &str) -> bool {
    let word = args.split_whitespace().next().unwrap_or_default();
    [UNTIL, FOR].iter().any(|begin| word.eq_ignore_ascii_case(begin))
}

/// Under what somebody's absence is remembered: the name of a person of `bot.toml`, on whatever messenger they say it.
pub(super) fn remembered_as(people: &People, room: &Room, id: &str) -> String {
    match people.find(room.adapter(), id) {
        Some(person) => person.name.clone(),
        None => Room::new(room.adapter(), id).to_string(),
    }
}

/// The time zone in which somebody means a time of day.
pub(super) fn zone_of(people: &People, room: &Room, id: &str) -> TimeZone {
    people.find(room.adapter(), id).map_or_else(TimeZone::system, |person| person.zone.clone())
}

#[async_trait]
impl Command for AwayCommand {
    fn spec(&self) -> &CommandSpec {
        &AWAY
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let (people, now) = (cx.services.settings.people(), cx.services.clock.now());
        let zone = zone_of(&people, cx.room, &cx.sender.id);
        let away = AwayRecord { until: read_until(cx.args, now, &zone)? };
        let who = remembered_as(&people, cx.room, &cx.sender.id);
        cx.services.broker.away().set(&who, Some(away))?;
        Ok(Reply::text(replies::you_are_away(away, now, &zone)))
    }
}

#[async_trait]
impl Command for BackCommand {
    fn spec(&self) -> &CommandSpec {
        &BACK
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        BACK.no_args(cx.args)?;
        let who = remembered_as(&cx.services.settings.people(), cx.room, &cx.sender.id);
        let away = cx.services.broker.away();
        let was_away = away.of(&who, cx.services.clock.now()).is_some();
        away.set(&who, None)?;
        Ok(Reply::text(replies::you_are_back(was_away)))
    }
}

/// Until when; `None` without a time.
fn read_until(args: &str, now: SystemTime, zone: &TimeZone) -> Result<Option<SystemTime>, CommandError> {
    let (word, rest) = args.split_once(char::is_whitespace).unwrap_or((args, ""));
    let rest = rest.trim();
    let not_read = || CommandError::User(replies::not_a_time(args));
    let until = match word.to_lowercase().as_str() {
        "" => return Ok(None),
        FOR => now.checked_add(settings::duration::parse(rest).ok_or_else(not_read)?),
        UNTIL => read_time_of_day(rest, now, zone),
        _ => None,
    };
    let until = until.ok_or_else(not_read)?;
    if until <= now {
        return Err(CommandError::User(replies::time_is_over(args)));
    }
    match until.duration_since(now) {
        Ok(time) if time <= LONGEST => Ok(Some(until)),
        _ => Err(CommandError::User(replies::too_far_away(args))),
    }
}

fn read_time_of_day(text: &str, now: SystemTime, zone: &TimeZone) -> Option<SystemTime> {
    let now = Timestamp::try_from(now).ok()?.to_zoned(zone.clone());
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = match words[..] {
        [time] if read_time(time).is_some() => {
            let today = now.date().to_datetime(read_time(time)?).to_zoned(zone.clone()).ok()?;
            // In the evening "until 9:00" is the next morning.
            if today > now { today } else { today.checked_add(1.day()).ok()? }
        }
        [day] => start_of(read_date(day, &now)?, zone)?,
        [day, time] => read_date(day, &now)?.to_datetime(read_time(time)?).to_zoned(zone.clone()).ok()?,
        _ => return None,
    };
    Some(at.timestamp().into())
}

fn start_of(day: Date, zone: &TimeZone) -> Option<Zoned> {
    day.to_zoned(zone.clone()).ok()
}

/// `tomorrow`, a weekday that is not today, or a date.
fn read_date(text: &str, now: &Zoned) -> Option<Date> {
    if text.eq_ignore_ascii_case("tomorrow") {
        return now.date().tomorrow().ok();
    }
    match read_day(text) {
        Some(day) => now.date().nth_weekday(1, day).ok(),
        None => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone() -> TimeZone {
        TimeZone::get("Europe/Berlin").unwrap()
    }

    fn at(text: &str) -> SystemTime {
        text.parse::<jiff::civil::DateTime>().unwrap().to_zoned(zone()).unwrap().timestamp().into()
    }

    fn until(words: &str) -> Result<Option<SystemTime>, String> {
        // A Monday.
        read_until(words, at("2026-11-30T12:00"), &zone()).map_err(|error| match error {
            CommandError::User(sentence) => sentence,
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn a_time_is_the_next_one_that_people_call_so() {
        for (words, time) in [
            ("until 14:00", "2026-11-30T14:00"),
            ("until 9:00", "2026-12-01T09:00"),
            ("until 12", "2026-12-01T12:00"),
            ("Until tomorrow 9:00", "2026-12-01T09:00"),
            ("until tomorrow", "2026-12-01T00:00"),
            ("until Monday", "2026-12-07T00:00"),
            ("until tue 8:30", "2026-12-01T08:30"),
            ("until 2026-12-24", "2026-12-24T00:00"),
            ("until 2026-12-24 18:00", "2026-12-24T18:00"),
            ("for 2h", "2026-11-30T14:00"),
            ("for 1h 30m", "2026-11-30T13:30"),
        ] {
            assert_eq!(until(words), Ok(Some(at(time))), "{words}");
        }
        assert_eq!(until(""), Ok(None));
    }

    #[test]
    fn what_is_no_time_or_is_over_is_refused_with_what_to_say() {
        for words in [
            "until",
            "for",
            "for 2",
            "until soon",
            "until 25:00",
            "until tomorrow noon",
            "for ever and a day",
        ] {
            assert!(until(words).unwrap_err().contains("is no time that I can read"), "{words}");
        }
        assert!(until("until 2026-11-30 9:00").unwrap_err().contains("is over already"));
        assert!(until("until 2026-01-01").unwrap_err().contains("is over already"));
        assert!(until("until 2028-01-01").unwrap_err().contains("more than a year"));
        assert!(until("for 99999d").unwrap_err().contains("more than a year"));
        assert!(until("for 99999999999999999d").unwrap_err().contains("no time"));
    }

    #[test]
    fn only_words_about_a_time_are_for_the_command() {
        assert!(is_time("until 14:00") && is_time("For 2h"));
        assert!(!is_time("from the server it works") && !is_time(""));
    }
}
