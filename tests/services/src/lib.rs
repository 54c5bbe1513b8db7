//! What lies outside storkit, for its tests. Nothing here knows a crate of ours, so that no stand-in echoes our own code.

mod mark;
pub mod matrix;
pub mod slack;
pub mod whatsapp;

pub use mark::MARK;

/// How many times what a test usually generates it shall generate: `STORKIT_TEST_TIMES`, else once.
///
/// # Panics
/// If the variable is no number.
pub fn times() -> usize {
    std::env::var("STORKIT_TEST_TIMES")
        .map_or(1, |times| times.parse().expect("STORKIT_TEST_TIMES is a number"))
}

/// Ends the test if what people were shown holds a secret; a test that fails already says its own reason.
///
/// # Panics
/// If it does.
pub fn no_secret_in(place: &str, shown: &str) {
    if let Some(at) = shown.find(MARK).filter(|_| !std::thread::panicking()) {
        let before: String =
            shown[..at].chars().rev().take(200).collect::<Vec<_>>().into_iter().rev().collect();
        panic!("a secret is in {place}, behind: {before}");
    }
}
