//! The process's environment as the rest of the program reads it: an empty variable counts as unset, and secrets that the
//! program took out of its own environment at the start are still found by their names.

use std::{collections::BTreeMap, ffi::OsString, sync::OnceLock};

static HELD: OnceLock<BTreeMap<String, String>> = OnceLock::new();

/// Holds variables that are no longer in the environment. Once, at the start; a second call changes nothing.
pub fn hold(variables: BTreeMap<String, String>) {
    let _ = HELD.set(variables);
}

/// The variables that [`hold`] took.
pub fn held() -> BTreeMap<String, String> {
    HELD.get().cloned().unwrap_or_default()
}

/// The value of a variable, held or in the environment; `None` where it is empty or no UTF-8.
pub fn var(name: &str) -> Option<String> {
    let held = HELD.get().and_then(|held| held.get(name).cloned());
    held.or_else(|| std::env::var(name).ok()).filter(|value| !value.is_empty())
}

/// All variables that are not empty, the held ones among them: for a program that gets storkit's environment without the
/// names that the caller leaves out.
pub fn all() -> impl Iterator<Item = (OsString, OsString)> {
    let held = held().into_iter().map(|(name, value)| (name.into(), value.into()));
    std::env::vars_os().chain(held).filter(|(_, value): &(OsString, OsString)| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_variable_is_found_by_its_name_and_an_empty_one_is_not_set() {
        let held = [("STORKIT_HELD", "secret"), ("STORKIT_HELD_EMPTY", "")];
        hold(held.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
        assert_eq!(var("STORKIT_HELD").as_deref(), Some("secret"));
        assert!(std::env::var_os("STORKIT_HELD").is_none());
        assert_eq!((var("STORKIT_HELD_EMPTY"), var("STORKIT_NEVER_SET")), (None, None));
        assert!(var("PATH").is_some());
        let names: Vec<OsString> = all().map(|(name, _)| name).collect();
        assert!(names.contains(&"PATH".into()) && names.contains(&"STORKIT_HELD".into()));
        assert!(!names.contains(&"STORKIT_HELD_EMPTY".into()));
    }
}
