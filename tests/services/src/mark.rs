//! The mark in every secret of the tests. The stand-in CLI reads this file, too.

/// Part of every secret that tests give to storkit, and of nothing else: text with this mark leaks a secret.
pub const MARK: &str = "m4rked-5ecret";
