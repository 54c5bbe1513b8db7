//! Emoji as people's keyboards write them, and which of them mean the same as an answer.

/// Signs of one meaning. A thumb on a question that offers a check mark is that check mark.
const SAME: [&[&str]; 2] = [&["✅", "✔", "☑", "👍", "👌", "🆗"], &["❌", "✖", "❎", "👎", "🚫", "⛔"]];

/// Without what keyboards add: the form of the sign, and the colour of a skin.
pub(crate) fn plain(emoji: &str) -> String {
    let added = |c: char| matches!(c, '\u{FE0E}' | '\u{FE0F}' | '\u{1F3FB}'..='\u{1F3FF}');
    emoji.trim().chars().filter(|c| !added(*c)).collect()
}

/// Which of the offered emoji a person's means: the same one, or else one of the same meaning.
pub(crate) fn meant<'a>(given: &str, offered: impl Iterator<Item = &'a str> + Clone) -> Option<usize> {
    let given = plain(given);
    if given.is_empty() {
        return None;
    }
    let exact = offered.clone().position(|one| plain(one) == given);
    let same = |group: &&&[&str]| group.contains(&given.as_str());
    let alike = |group: &[&str]| offered.clone().position(|one| group.contains(&plain(one).as_str()));
    exact.or_else(|| SAME.iter().find(same).and_then(|group| alike(group)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emoji_is_that_of_the_offer_in_any_form_or_one_of_the_same_meaning() {
        let offered = ["✅", "❌", "♾\u{FE0F}"];
        let picked = |given: &str| meant(given, offered.into_iter());
        assert_eq!(["✅", "✔️", "👍🏽", "👌", "👍"].map(picked), [Some(0); 5]);
        assert_eq!(["❌", "👎🏿", "🚫"].map(picked), [Some(1); 3]);
        assert_eq!(["♾", "🎉", "", "🤔", "❤️"].map(picked), [Some(2), None, None, None, None]);
        let both = ["👍", "✅"];
        assert_eq!(meant("✅", both.into_iter()), Some(1), "what is offered itself goes first");
    }
}
