//! Lengths of time as people write and read them.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A length of time, written `30s`, `5m`, `2h` or `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConfigDuration(pub Duration);

impl ConfigDuration {
    pub const fn minutes(n: u64) -> Self {
        Self(Duration::from_secs(n * 60))
    }

    /// `None` for 0, which means "no limit" where a limit is configured.
    pub fn limit(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }
}

impl Serialize for ConfigDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&human(self.0).replace(' ', ""))
    }
}

impl<'de> Deserialize<'de> for ConfigDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let parsed = if text.trim() == "0" { Some(Duration::ZERO) } else { parse(&text) };
        parsed.map(ConfigDuration).ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` is no length of time; write it like \"30s\", \"5m\" or \"2h\""
            ))
        })
    }
}

/// Reads `30s`, `5m`, `1h`, `2d` and combinations of these, larger units first: `1h30m`, `4m 05s`. Anything else is
/// `None`, a number without a unit too. The caller checks bounds.
pub fn parse(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut seconds: u64 = 0;
    let mut last_unit = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, tail) = rest.split_at(digits);
        let mut tail = tail.chars();
        // Each unit once and in order: `30s5m` is more likely a mistake than five and a half minutes.
        let unit = unit(tail.next()?).filter(|unit| *unit < last_unit)?;
        seconds = number.parse::<u64>().ok()?.checked_mul(unit)?.checked_add(seconds)?;
        last_unit = unit;
        rest = tail.as_str().trim_start();
    }
    (last_unit != u64::MAX).then(|| Duration::from_secs(seconds))
}

/// `45s`, `4m 30s`, `2h 05m`, `3d 4h`: the two largest units, rounded down, the second left out where it is zero.
pub fn human(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..MINUTE => format!("{seconds}s"),
        MINUTE..HOUR => pair(seconds / MINUTE, 'm', format!("{:02}s", seconds % MINUTE)),
        HOUR..DAY => pair(seconds / HOUR, 'h', format!("{:02}m", seconds % HOUR / MINUTE)),
        _ => pair(seconds / DAY, 'd', format!("{}h", seconds % DAY / HOUR)),
    }
}

fn unit(letter: char) -> Option<u64> {
    match letter.to_ascii_lowercase() {
        's' => Some(1),
        'm' => Some(MINUTE),
        'h' => Some(HOUR),
        'd' => Some(DAY),
        _ => None,
    }
}

fn pair(large: u64, unit: char, small: String) -> String {
    if small.trim_start_matches('0').len() == 1 {
        format!("{large}{unit}")
    } else {
        format!("{large}{unit} {small}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seconds(text: &str) -> Option<u64> {
        parse(text).map(|duration| duration.as_secs())
    }

    #[test]
    fn single_and_joined_units_are_read() {
        let read = ["30s", " 5m ", "1H", "2d", "0s", "4m30s", "4m 05s", "1h 1s", "1d 2h 3m 4s"].map(seconds);
        let known = [30, 300, 3600, 172_800, 0, 270, 245, 3601, 93_784];
        assert_eq!(read, known.map(Some));
    }

    #[test]
    fn what_is_no_length_of_time_is_refused() {
        let wrong =
            ["", " ", "5", "m", "-5m", "+5m", "1.5h", "5 m", "5min", "30s5m", "1m1m", "5m!", "٣m", "5ｍ"];
        for text in wrong.into_iter().chain([
            "99999999999999999999s",
            "18446744073709551615h",
            "18446744073709551615s 1m",
        ]) {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn lengths_are_told_in_at_most_two_units() {
        let told = [0, 45, 60, 245, 270, 3599, 3600, 7500, 86_399, 86_400, 273_600, 8_640_000]
            .map(|seconds| human(Duration::from_secs(seconds)));
        insta::assert_snapshot!(told.join(" | "), @"0s | 45s | 1m | 4m 05s | 4m 30s | 59m 59s | 1h | 2h 05m | 23h 59m | 1d | 3d 4h | 100d");
        assert_eq!(human(Duration::from_millis(1999)), "1s");
    }

    proptest! {
        #[test]
        fn what_is_told_can_be_read_again_and_is_rounded_down(seconds: u64) {
            let again = parse(&human(Duration::from_secs(seconds))).unwrap().as_secs();
            prop_assert!(again <= seconds && seconds - again < HOUR, "{again}");
        }

        #[test]
        fn no_text_makes_reading_panic(text: String) {
            let _ = parse(&text);
        }
    }
}
