//! The services outside storkit, for its tests. Nothing here knows a crate of ours, so that no stand-in echoes our own code.

mod mark;
pub mod matrix;
pub mod slack;
pub mod whatsapp;

pub use mark::MARK;

/// The factor for the number of cases that a test generates: `STORKIT_TEST_TIMES`, else one. Panics if
/// the variable is no number.
pub fn times() -> usize {
    std::env::var("STORKIT_TEST_TIMES")
        .map_or(1, |times| times.parse().expect("STORKIT_TEST_TIMES is a number"))
}

/// Panics if the text that people were shown holds a secret. A test that fails already reports its own reason.
pub fn no_secret_in(place: &str, shown: &str) {
    if let Some(at) = shown.find(MARK).filter(|_| !std::thread::panicking()) {
        let before: String =
            shown[..at].chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect();
        panic!("a secret is in {place}, behind: {before}");
    }
}
