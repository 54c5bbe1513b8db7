//! When a usage limit of the service is lifted, as a refused request tells it. The CLI passes that on only for accounts that log in, and
//! not for keys (2.1.330).

use std::time::{Duration, SystemTime};

use hyper::header::{self, HeaderMap};

/// Not in the documentation of the API; sent to accounts that log in.
const RESET: &str = "anthropic-ratelimit-unified-reset";

/// The time in the headers of a 429; `None` where they name none.
pub(super) fn limit_ends(headers: &HeaderMap, now: SystemTime) -> Option<SystemTime> {
    let seconds = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    let reset = seconds(RESET).and_then(|at| SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(at)));
    let after = || {
        seconds(header::RETRY_AFTER.as_str()).and_then(|after| now.checked_add(Duration::from_secs(after)))
    };
    reset.filter(|reset| *reset > now).or_else(after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_limit_is_read_from_the_refusal() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let ends = |named: &[(&'static str, &str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in named {
                headers.insert(*name, value.parse().expect("a value"));
            }
            limit_ends(&headers, now).map(|end| end.duration_since(now).expect("it is to come").as_secs())
        };
        assert_eq!(ends(&[("retry-after", "90000")]), Some(90_000));
        assert_eq!(ends(&[("retry-after", "60"), (RESET, "1600000")]), Some(600_000), "the weekly limit");
        assert_eq!(ends(&[("retry-after", "60"), (RESET, "999999")]), Some(60), "that one is past");
        for nothing in ["", "soon", "-5", "99999999999999999999", "18446744073709551615"] {
            assert_eq!(ends(&[("retry-after", nothing)]), None, "{nothing}");
        }
        assert_eq!(ends(&[]), None);
    }
}
