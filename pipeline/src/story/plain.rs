//! Front matter of the plainest kind, one `key: value` per line, read without the YAML crate: on a board of 10,000
//! stories that crate takes twice as long as reading the files. Whatever is not certain is left to the crate.

use super::{BlockReason, FrontMatter, PlanWish, StoryId};

/// `None` where the text is not plain enough, valid or not. The result is the same as the YAML crate's.
pub(super) fn read(yaml: &str) -> Option<FrontMatter> {
    let mut front = FrontMatter::default();
    let mut seen: Vec<&str> = Vec::new();
    for line in yaml.lines() {
        if line.is_empty() || line.starts_with('#') && is_printable(line) {
            continue;
        }
        let (key, value) = line.split_once(": ")?;
        // The search is linear, so more than 32 keys are left to the YAML crate.
        if !is_key(key) || seen.contains(&key) || seen.len() == 32 {
            return None;
        }
        seen.push(key);
        set_key(&mut front, key, value)?;
    }
    Some(front)
}

fn set_key(front: &mut FrontMatter, key: &str, value: &str) -> Option<()> {
    match key {
        "name" => front.name = text(value)?.to_owned(),
        "agent" => front.agent = Some(text(value)?.to_owned()),
        "manual_qa" => front.manual_qa = flag(value)?,
        "retry_count" => front.retry_count = number(value)?,
        "depends_on" => front.depends_on = ids(value)?,
        "merge_failure" => front.merge_failure = Some(text(value)?.to_owned()),
        "blocked" => front.blocked = Some(BlockReason::Person(text(value)?.to_owned())),
        // Nested data is left to the YAML crate, and a commit, whose digits may look like a number.
        "plan" if flag(value).is_none() => front.plan = PlanWish::read(text(value)?),
        "plan" => front.plan = if flag(value)? { PlanWish::First } else { PlanWish::None },
        "blocked_cause" | "landed" | "conversation" => return None,
        _ => drop(text(value).or_else(|| number(value).map(|_| ""))?),
    }
    Some(())
}

fn is_key(key: &str) -> bool {
    key.starts_with(|c: char| c.is_ascii_lowercase())
        && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        && !is_word_of_yaml(key)
}

/// Words that YAML 1.1 or 1.2 reads as something else than text.
fn is_word_of_yaml(word: &str) -> bool {
    ["null", "true", "false", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|known| word.eq_ignore_ascii_case(known))
}

/// A plain scalar that begins with a letter, or one between double quotes without escapes.
fn text(value: &str) -> Option<&str> {
    let inner = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let (text, certain): (&str, fn(char) -> bool) = match inner {
        Some(inner) => (inner, |c| c.is_alphanumeric() || " _-.,;:()/!?+*=<>[]{}#&@%'`|".contains(c)),
        None => (value, |c| c.is_alphanumeric() || " _-.,()/!?+'".contains(c)),
    };
    let begins = text.starts_with(|c: char| c.is_alphabetic());
    (begins && !text.ends_with(' ') && text.chars().all(certain) && !is_word_of_yaml(text)).then_some(text)
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn number(value: &str) -> Option<u32> {
    let plain = value.len() < 10
        && value.bytes().all(|b| b.is_ascii_digit())
        && (value == "0" || !value.starts_with('0'));
    value.parse().ok().filter(|_| plain)
}

fn ids(value: &str) -> Option<Vec<StoryId>> {
    let list = value.strip_prefix('[')?.strip_suffix(']')?;
    if list.is_empty() {
        return Some(Vec::new());
    }
    list.split(',').map(|item| number(item.trim_matches(' ')).filter(|id| *id > 0).map(StoryId)).collect()
}

fn is_printable(line: &str) -> bool {
    line.chars().all(|c| !c.is_control() || c == '\t')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_storkit_itself_writes_is_plain() {
        let front = read(
            "name: Fix the parser's cache (again)\nagent: coder-1\nmanual_qa: true\nretry_count: 2\ndepends_on: [1, 2]\n",
        );
        assert_eq!(front.unwrap().depends_on, [StoryId(1), StoryId(2)]);
        assert!(read("name: \"login: fails #2\"\n# a comment\n\nowner: bob\nestimate: 3\n").is_some());
    }

    fn line() -> impl Strategy<Value = String> {
        let key = prop_oneof![
            "name|agent|manual_qa|merge_failure|retry_count|blocked|blocked_cause|depends_on|landed",
            "[a-z_]{1,4}",
            "null|y"
        ];
        let value = prop_oneof![
            "true|false|null|yes|no|on|off|~|\\.inf|0x1f|1e3|12:30",
            "[0-9]{1,11}",
            "\\[[0-9, ]{0,8}\\]",
            "[a-zA-Z \\-_.,()/!?+'\"#:&*\\[\\]{}|]{0,8}",
            "\"[a-zA-Z \\-_.,;:()/!?+*=<>\\[\\]{}#&@%'`|]{0,8}\"",
            any::<String>(),
        ];
        prop_oneof![
            (key, value).prop_map(|(key, value)| format!("{key}: {value}")),
            Just("# x".to_owned()),
            "[ \\t#-]{0,3}"
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn what_is_read_here_is_what_yaml_reads(lines in prop::collection::vec(line(), 0..5), ending in "\n|\r\n") {
            let yaml = lines.join(&ending);
            if let Some(front) = read(&yaml) {
                prop_assert_eq!(Ok(front), FrontMatter::parse_yaml(&yaml), "{:?}", yaml);
            }
        }
    }
}
