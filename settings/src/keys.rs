//! What our TOML files have in common: unknown keys are named with the nearest right one, a value that does not fit
//! names its key, and `${VAR}` is expanded. A key is dotted where it is in a section or a list of sections.

use serde::de::DeserializeOwned;
use toml::{Table, Value};

/// A key that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    pub key: String,
    /// The right key it is most like.
    pub nearest: Option<String>,
}

/// A value that does not fit its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyError {
    pub key: String,
    /// The fault, and how to fix it.
    pub why: String,
}

/// All keys of a table, those of its sections dotted, each once.
pub fn dotted_keys(table: &Table) -> Vec<String> {
    let mut keys: Vec<String> = Vec::new();
    for (name, value) in table {
        keys.push(name.clone());
        for section in sections(value) {
            for key in section.keys().map(|key| format!("{name}.{key}")) {
                if !keys.contains(&key) {
                    keys.push(key);
                }
            }
        }
    }
    keys
}

/// The first key that is not among the known ones.
pub fn unknown(table: &Table, known: &[String]) -> Option<UnknownKey> {
    let key = dotted_keys(table).into_iter().find(|key| !known.contains(key))?;
    Some(UnknownKey { nearest: nearest(&key, known), key })
}

/// Expands `${VAR}` in all texts and returns the names that were used. `lookup` reads the environment.
pub fn expand(table: &mut Table, lookup: &impl Fn(&str) -> Option<String>) -> Result<Vec<String>, KeyError> {
    let mut used = Vec::new();
    for (key, value) in table {
        expand_value(value, key, lookup, &mut used)?;
    }
    Ok(used)
}

/// Deserializes key by key first, so that the message can name the one that does not fit. No key may be mandatory.
pub fn deserialize<T: DeserializeOwned>(table: Table) -> Result<T, KeyError> {
    let misfit = |key: String| {
        move |error: toml::de::Error| KeyError {
            key,
            why: format!("{}.", error.message().trim_end_matches('.')),
        }
    };
    for (key, single) in single_keys(&table) {
        single.try_into::<T>().map(drop).map_err(misfit(key))?;
    }
    // Each key fits by itself; if they do not fit together, no single one is to blame.
    let all = table.keys().next().cloned().unwrap_or_default();
    table.try_into().map_err(misfit(all))
}

/// A section's table, or the tables of a list of sections.
fn sections(value: &Value) -> Vec<&Table> {
    match value {
        Value::Table(section) => vec![section],
        Value::Array(items) => items.iter().filter_map(Value::as_table).collect(),
        _ => Vec::new(),
    }
}

/// Each key with its value in a table of its own.
fn single_keys(table: &Table) -> Vec<(String, Table)> {
    let alone = |name: &str, value: Value| Table::from_iter([(name.to_owned(), value)]);
    let mut singles = Vec::new();
    for (name, value) in table {
        let list = value.is_array();
        let sections = sections(value);
        if sections.is_empty() {
            singles.push((name.clone(), alone(name, value.clone())));
        }
        for (key, value) in sections.into_iter().flatten() {
            let section = Value::Table(alone(key, value.clone()));
            // A list stays a list, or its key would not deserialize.
            let section = if list { Value::Array(vec![section]) } else { section };
            singles.push((format!("{name}.{key}"), alone(name, section)));
        }
    }
    singles
}

fn nearest(key: &str, known: &[String]) -> Option<String> {
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    known
        .iter()
        .map(|candidate| {
            // The last part alone counts nearly as much, to find a key that is in the wrong section.
            let whole = strsim::normalized_damerau_levenshtein(key, candidate);
            let part = strsim::normalized_damerau_levenshtein(&last(key), &last(candidate));
            (whole.max(part * 0.95), candidate)
        })
        // A worse match is a guess, which confuses more than it helps.
        .filter(|(score, _)| *score > 0.55)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate.clone())
}

fn expand_value(
    value: &mut Value,
    key: &str,
    lookup: &impl Fn(&str) -> Option<String>,
    used: &mut Vec<String>,
) -> Result<(), KeyError> {
    match value {
        Value::String(text) => *text = expand_text(text, key, lookup, used)?,
        Value::Array(items) => {
            for item in items {
                expand_value(item, key, lookup, used)?;
            }
        }
        Value::Table(table) => {
            for (name, item) in table {
                expand_value(item, &format!("{key}.{name}"), lookup, used)?;
            }
        }
        Value::Integer(_) | Value::Float(_) | Value::Boolean(_) | Value::Datetime(_) => {}
    }
    Ok(())
}

fn expand_text(
    text: &str,
    key: &str,
    lookup: &impl Fn(&str) -> Option<String>,
    used: &mut Vec<String>,
) -> Result<String, KeyError> {
    let wrong = |why: String| KeyError { key: key.into(), why };
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, tail) = rest.split_at(start);
        let end =
            tail.find('}').ok_or_else(|| wrong("`${` without `}`; write it like \"${NAME}\".".into()))?;
        let name = &tail[2..end];
        let value = lookup(name).ok_or_else(|| {
            wrong(format!("the environment variable `{name}` is not set. Set it, or write the value here."))
        })?;
        out.push_str(before);
        // Not expanded again: a secret may contain `${`.
        out.push_str(&value);
        used.push(name.to_owned());
        rest = &tail[end + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_sections_and_of_lists_of_sections_are_dotted_and_told_once() {
        let table: Table = "a = [1]\n[b]\nc = 1\n[[d]]\ne = 1\n[[d]]\ne = 2\nf = 3".parse().unwrap();
        assert_eq!(dotted_keys(&table), ["a", "b", "b.c", "d", "d.e", "d.f"]);
    }

    #[test]
    fn a_value_that_does_not_fit_names_its_key_also_in_a_list_of_sections() {
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(default)]
        struct Item {
            _n: u8,
        }
        #[derive(Debug, Default, serde::Deserialize)]
        #[serde(default)]
        struct File {
            _item: Vec<Item>,
        }
        let table: Table = "[[_item]]\n_n = 1\n[[_item]]\n_n = 300".parse().unwrap();
        assert_eq!(deserialize::<File>(table).unwrap_err().key, "_item._n");
        let table: Table = "_item = 3".parse().unwrap();
        assert_eq!(deserialize::<File>(table).unwrap_err().key, "_item");
    }

    #[test]
    fn variables_are_expanded_wherever_text_stands() {
        let mut table: Table = "a = [\"x${A}y${A}\"]\n[[b]]\nc = \"${A}\"".parse().unwrap();
        let lookup = |name: &str| (name == "A").then(|| "${B}".to_owned());
        assert_eq!(expand(&mut table, &lookup).unwrap(), ["A", "A", "A"]);
        assert_eq!(table["a"][0].as_str(), Some("x${B}y${B}"));
        let mut table: Table = "[[b]]\nc = \"${A\"".parse().unwrap();
        assert_eq!(expand(&mut table, &lookup).unwrap_err().key, "b.c");
    }
}
