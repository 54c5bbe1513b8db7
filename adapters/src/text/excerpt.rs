//! Other people's words in bounded length.

/// So many characters of one quoted message reach the agent.
pub const QUOTED_MAX: usize = 8_000;

/// The beginning of a text, at most `max` characters, with a mark where something is missing.
pub fn excerpt(text: &str, max: usize) -> String {
    let text = text.trim();
    match text.char_indices().nth(max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{} […]", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cut_is_marked() {
        assert_eq!((excerpt(" grün ", 4).as_str(), excerpt("grüner", 4).as_str()), ("grün", "grün […]"));
        assert_eq!(excerpt("", 4), "");
    }
}
