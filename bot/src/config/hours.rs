//! The hours in which a person can be asked: `Mon-Fri 9:00-18:00, Sat 10:00-12:00`, in their time zone.

use std::time::SystemTime;

use jiff::{
    Timestamp, ToSpan as _, Zoned,
    civil::{Time, Weekday},
    tz::TimeZone,
};

/// Hours that repeat every week.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeekHours {
    spans: Vec<DaySpan>,
    zone: TimeZone,
}

/// From one minute of a weekday to another one, which may be on the day after.
#[derive(Clone, Debug, PartialEq, Eq)]
struct DaySpan {
    days: Vec<Weekday>,
    from: Time,
    /// `None`: midnight at the end of the day.
    to: Option<Time>,
}

const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

impl WeekHours {
    /// Reads `Mon-Fri 9:00-18:00, Sat 10:00-12:00`; without days it is every day.
    ///
    /// # Errors
    /// The part that cannot be read.
    pub fn parse(text: &str, zone: TimeZone) -> Result<Self, String> {
        let spans = text.split(',').map(|part| read_span(part.trim()).ok_or_else(|| part.trim().to_owned()));
        Ok(Self { spans: spans.collect::<Result<_, _>>()?, zone })
    }

    pub fn include(&self, now: SystemTime) -> bool {
        self.at(now).is_some_and(|now| self.spans.iter().any(|span| span.includes(&now)))
    }

    /// The next time after `now` at which they begin.
    pub fn next_begin(&self, now: SystemTime) -> Option<SystemTime> {
        let now = self.at(now)?;
        let begins = self.spans.iter().filter_map(|span| span.next_begin(&now));
        begins.min().map(|begin| begin.timestamp().into())
    }

    fn at(&self, now: SystemTime) -> Option<Zoned> {
        Some(Timestamp::try_from(now).ok()?.to_zoned(self.zone.clone()))
    }
}

impl DaySpan {
    fn includes(&self, now: &Zoned) -> bool {
        let (day, time) = (now.weekday(), now.time());
        match self.to {
            Some(to) if to <= self.from => {
                let has_begun = self.days.contains(&day) && time >= self.from;
                has_begun || self.days.contains(&day.previous()) && time < to
            }
            to => self.days.contains(&day) && time >= self.from && to.is_none_or(|to| time < to),
        }
    }

    fn next_begin(&self, now: &Zoned) -> Option<Zoned> {
        (0..=7).find_map(|days| {
            let day = now.date().checked_add(days.days()).ok()?;
            let begin = day.to_datetime(self.from).to_zoned(now.time_zone().clone()).ok()?;
            (self.days.contains(&day.weekday()) && begin > *now).then_some(begin)
        })
    }
}

fn read_span(text: &str) -> Option<DaySpan> {
    let (days, times) = match text.split_once(char::is_whitespace) {
        Some((days, times)) => (read_days(days)?, times.trim()),
        None => (DAYS.iter().map(|(_, day)| *day).collect(), text),
    };
    let (from, to) = times.split_once(['-', '–'])?;
    let (from, to) = (from.trim(), to.trim());
    let to = if to == "24:00" { None } else { Some(read_time(to)?) };
    let from = read_time(from)?;
    (to != Some(from)).then_some(DaySpan { days, from, to })
}

fn read_days(text: &str) -> Option<Vec<Weekday>> {
    let Some((first, last)) = text.split_once(['-', '–']) else { return Some(vec![read_day(text)?]) };
    let (first, last) = (read_day(first)?, read_day(last)?);
    let mut days = vec![first];
    let mut day = first;
    while day != last {
        day = day.next();
        days.push(day);
    }
    Some(days)
}

/// `Mon` or `Monday`, in any case.
pub fn read_day(text: &str) -> Option<Weekday> {
    let text = text.to_lowercase();
    let is = |name: &str, day: Weekday| text == name || text == full_name(day);
    DAYS.iter().find(|(name, day)| is(name, *day)).map(|(_, day)| *day)
}

fn full_name(day: Weekday) -> &'static str {
    match day {
        Weekday::Monday => "monday",
        Weekday::Tuesday => "tuesday",
        Weekday::Wednesday => "wednesday",
        Weekday::Thursday => "thursday",
        Weekday::Friday => "friday",
        Weekday::Saturday => "saturday",
        Weekday::Sunday => "sunday",
    }
}

/// `9`, `9:00` or `09:00`.
pub fn read_time(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':').unwrap_or((text, "00"));
    let digits = |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|it| it.is_ascii_digit());
    let is_time = digits(hour) && minute.len() == 2 && digits(minute);
    is_time.then(|| Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SystemTime {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        text.parse::<jiff::civil::DateTime>().unwrap().to_zoned(zone).unwrap().timestamp().into()
    }

    fn hours(text: &str) -> WeekHours {
        WeekHours::parse(text, TimeZone::get("Europe/Berlin").unwrap()).unwrap()
    }

    #[test]
    fn hours_are_those_of_the_persons_own_days() {
        let week = hours("Mon-Fri 9:00-18:00, Sat 10:00-12:00");
        // 2026-11-30 is a Monday.
        for (time, inside) in [
            ("2026-11-30T08:59:59", false),
            ("2026-11-30T09:00:00", true),
            ("2026-11-30T17:59:59", true),
            ("2026-11-30T18:00:00", false),
            ("2026-12-05T11:00:00", true),
            ("2026-12-06T11:00:00", false),
        ] {
            assert_eq!(week.include(at(time)), inside, "{time}");
        }
        assert_eq!(week.next_begin(at("2026-11-30T08:00:00")), Some(at("2026-11-30T09:00:00")));
        assert_eq!(week.next_begin(at("2026-11-30T09:00:00")), Some(at("2026-12-01T09:00:00")));
        assert_eq!(week.next_begin(at("2026-12-04T19:00:00")), Some(at("2026-12-05T10:00:00")));
        assert_eq!(week.next_begin(at("2026-12-05T13:00:00")), Some(at("2026-12-07T09:00:00")));
    }

    #[test]
    fn a_night_shift_ends_on_the_day_after_and_a_week_may_begin_anywhere() {
        let night = hours("Fri-Mon 22:00-6:00");
        for (time, inside) in [
            ("2026-12-04T21:59:00", false),
            ("2026-12-04T23:00:00", true),
            ("2026-12-01T05:59:00", true),
            ("2026-12-02T05:00:00", false),
        ] {
            assert_eq!(night.include(at(time)), inside, "{time}");
        }
        assert!(hours("0:00-24:00").include(at("2026-12-06T23:59:59")));
    }

    #[test]
    fn the_clock_change_moves_no_hour_of_the_day() {
        let week = hours("9:00-18:00");
        let before = at("2026-10-24T20:00:00");
        assert_eq!(week.next_begin(before), Some(at("2026-10-25T09:00:00")), "14 hours later, not 13");
        assert_eq!(at("2026-10-25T09:00:00").duration_since(before).unwrap().as_secs(), 14 * 3600);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let zone = TimeZone::UTC;
        for (text, part) in [
            ("Mon-Fri 9-18h", "Mon-Fri 9-18h"),
            ("Mon-Fri 9:00-18:00, Son 10:00-12:00", "Son 10:00-12:00"),
            ("9:00-25:00", "9:00-25:00"),
            ("Mon", "Mon"),
            ("9:00-9:00", "9:00-9:00"),
            ("Mon 9:0-18:00", "Mon 9:0-18:00"),
            ("", ""),
        ] {
            assert_eq!(WeekHours::parse(text, zone.clone()), Err(part.to_owned()), "{text}");
        }
        assert!(WeekHours::parse("Monday 9-18", zone).is_ok());
    }
}
