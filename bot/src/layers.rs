//! The order of this crate's modules, checked: a module uses only those that come before it.

use std::{fs, path::Path};

/// Modules in one entry do not know each other.
const ORDER: [&[&str]; 12] = [
    &["bot_tasks", "clock", "metrics", "config", "restart", "live_agents"],
    &["messengers"],
    &["store"],
    &["permission", "web_sessions"],
    &["replies"],
    &["host_questions", "sent_files"],
    &["commands", "tools"],
    &["chat", "http"],
    &["program"],
    &["lib"],
    &["main"],
    &["layers"],
];

fn rank(module: &str) -> Option<usize> {
    ORDER.iter().position(|names| names.contains(&module))
}

/// The modules that a text names as `crate::NAME`, or at the top of `crate::{...}`.
fn named(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for rest in text.split("crate::").skip(1) {
        let word =
            |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        let Some(list) = rest.strip_prefix('{') else {
            names.push(word(rest));
            continue;
        };
        let mut depth = 1;
        let mut at_start = true;
        for (at, letter) in list.char_indices() {
            match letter {
                '{' => depth += 1,
                '}' if depth == 1 => break,
                '}' => depth -= 1,
                ',' if depth == 1 => at_start = true,
                _ if at_start && letter.is_alphabetic() => {
                    names.push(word(&list[at..]));
                    at_start = false;
                }
                _ => {}
            }
        }
    }
    names
}

fn check(folder: &Path, top: Option<&str>, wrong: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        let module = top.unwrap_or(&stem);
        if path.is_dir() {
            check(&path, Some(module), wrong);
            continue;
        }
        let Some(own) = rank(module) else {
            wrong.push(format!("`{module}` has no place in the order"));
            continue;
        };
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        let upward = |name: &String| name != module && rank(name).is_some_and(|other| other >= own);
        wrong.extend(
            named(&code)
                .iter()
                .filter(|name| upward(name))
                .map(|name| format!("{} uses `{name}`", path.display())),
        );
    }
}

#[test]
fn a_module_uses_only_what_comes_before_it() {
    let mut wrong = Vec::new();
    check(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")), None, &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn what_a_text_names_is_found() {
    assert_eq!(named("use crate::chat::rooms::Room; x(crate::http::bind)"), ["chat", "http"]);
    assert_eq!(named("use crate::{\n    chat::{rooms::{A, B}, router},\n    store,\n};"), ["chat", "store"]);
}
