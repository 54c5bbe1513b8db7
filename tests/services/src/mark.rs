//! What marks a secret of the tests. The stand-in CLI reads this file, too.

/// Stands in every secret that tests give to storkit, and in nothing else: where it is seen, a secret is.
pub const MARK: &str = "m4rked-5ecret";
