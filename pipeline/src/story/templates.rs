//! Templates for the files of new stories, by kind.

use crate::story::{KeyValue, StoryId, StoryKind};

/// The heading of the section with the criteria, in every template.
const CRITERIA: &str = "Acceptance criteria";

/// The section with the links to a story's files, and their folder beside those of the stages.
const FILES_HEADING: &str = "## Files";
pub(crate) const FILES_FOLDER: &str = "files";

/// Files that Markdown shows in place.
const PICTURES: [&str; 6] = ["png", "jpg", "jpeg", "gif", "webp", "svg"];

/// The body a story of this kind begins with: its sections, and its criteria as checkboxes.
pub fn body(kind: StoryKind) -> &'static str {
    match kind {
        StoryKind::Story => include_str!("templates/story.md"),
        StoryKind::Bug => include_str!("templates/bug.md"),
        StoryKind::Spike => include_str!("templates/spike.md"),
        StoryKind::Refactor => include_str!("templates/refactor.md"),
    }
}

/// The template with sections filled in by their heading, and the criteria. A section that the template
/// lacks is added at the end; the other sections have the template's text.
pub fn filled(kind: StoryKind, sections: &[(&str, &str)], criteria: &[String]) -> String {
    let list = checklist(criteria);
    let given = |heading: &str| match heading {
        CRITERIA if !list.is_empty() => Some(list.trim_end()),
        _ => sections
            .iter()
            .find(|(name, text)| *name == heading && !text.trim().is_empty())
            .map(|(_, text)| text.trim()),
    };
    let known: Vec<(&str, &str)> = split(body(kind));
    let added = sections.iter().filter(|(name, _)| known.iter().all(|(heading, _)| heading != name));
    let all = known
        .iter()
        .chain(added)
        .map(|(heading, text)| format!("## {}\n\n{}\n", one_line(heading), given(heading).unwrap_or(text)));
    all.collect::<Vec<_>>().join("\n")
}

/// The body with these criteria in the place of its own; a body without such a section gets one at its end.
pub fn with_criteria(body: &str, criteria: &[String]) -> String {
    let is_heading = |line: &str| line.trim_start().starts_with('#');
    let is_criteria =
        |line: &&str| is_heading(line) && line.trim_matches(['#', ' ']).eq_ignore_ascii_case(CRITERIA);
    let lines: Vec<&str> = body.lines().collect();
    let list = checklist(criteria);
    let Some(at) = lines.iter().position(is_criteria) else {
        return format!("{}\n\n## {CRITERIA}\n\n{list}", body.trim_end());
    };
    let end =
        lines[at + 1..].iter().position(|line| is_heading(line)).map_or(lines.len(), |next| at + 1 + next);
    let head = lines[..=at].join("\n");
    match lines[end..].join("\n") {
        rest if rest.trim().is_empty() => format!("{head}\n\n{list}"),
        rest => format!("{head}\n\n{list}\n{rest}\n"),
    }
}

/// The body with links to those of a story's files that it does not name, in a section of their own; `None` if it names all. The links lead
/// from the folder of every stage.
pub(crate) fn with_files(body: &str, story: StoryId, names: &[&str]) -> Option<String> {
    let target = |name: &str| format!("(../{FILES_FOLDER}/{story}/{name})");
    let unnamed: Vec<&&str> = names.iter().filter(|name| !body.contains(&target(name))).collect();
    if unnamed.is_empty() {
        return None;
    }
    let link = |name: &str| {
        let ending = name.rsplit('.').next().unwrap_or_default().to_lowercase();
        let mark = if PICTURES.contains(&ending.as_str()) { "!" } else { "" };
        format!("- {mark}[{name}]{}", target(name))
    };
    let mut lines: Vec<String> = body.trim_end().split('\n').map(str::to_owned).collect();
    let is_section = |line: &String| line.trim_end() == FILES_HEADING;
    let end = match lines.iter().position(is_section) {
        Some(at) => {
            let next = lines[at + 1..].iter().position(|line| line.starts_with('#'));
            let end = next.map_or(lines.len(), |next| at + 1 + next);
            lines[..end].iter().rposition(|line| !line.trim().is_empty()).map_or(end, |last| last + 1)
        }
        None => {
            lines.extend([String::new(), FILES_HEADING.to_owned(), String::new()]);
            lines.len()
        }
    };
    lines.splice(end..end, unnamed.into_iter().map(|name| link(name)));
    Some(format!("{}\n", lines.join("\n")))
}

/// The body without the entry for one of a story's files, and without the section of such entries once it is empty. A link amid somebody's
/// words stays; `None` if nothing is to be changed.
pub(crate) fn without_file(body: &str, story: StoryId, name: &str) -> Option<String> {
    let target = format!("[{name}](../{FILES_FOLDER}/{story}/{name})");
    let is_entry = |line: &str| {
        let link = line.trim_end().strip_prefix("- ");
        link.is_some_and(|link| link.strip_prefix('!').unwrap_or(link) == target)
    };
    let mut lines: Vec<&str> = body.lines().filter(|line| !is_entry(line)).collect();
    if lines.len() == body.lines().count() {
        return None;
    }
    if let Some(at) = lines.iter().position(|line| line.trim_end() == FILES_HEADING) {
        let next = lines[at + 1..].iter().position(|line| line.starts_with('#'));
        let end = next.map_or(lines.len(), |next| at + 1 + next);
        if lines[at + 1..end].iter().all(|line| line.trim().is_empty()) {
            lines.drain(at..end);
        }
    }
    Some(format!("{}\n", lines.join("\n").trim_end()))
}

fn checklist(criteria: &[String]) -> String {
    criteria.iter().map(|text| format!("- [ ] {}\n", one_line(text))).collect()
}

/// The whole text of a new story's file.
pub(crate) fn story(kind: StoryKind, title: &str, body: Option<&str>) -> String {
    let body = body.unwrap_or_else(|| self::body(kind));
    let name = KeyValue::from(title).yaml();
    format!("---\nname: {name}\n---\n\n# {title}\n\n{}\n", body.trim_end())
}

fn split(template: &'static str) -> Vec<(&'static str, &'static str)> {
    let sections = template.split("## ").skip(1);
    sections
        .filter_map(|section| section.split_once('\n'))
        .map(|(heading, text)| (heading, text.trim()))
        .collect()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::StoryDocument;

    #[test]
    fn every_kind_has_criteria_to_tick_and_reads_back_its_title() {
        for kind in StoryKind::ALL {
            for title in ["Fix: it", "plain", "- \"#'{", "null", "---"] {
                let document = StoryDocument::parse(story(kind, title, None)).unwrap();
                assert_eq!(document.front().name, title);
                assert!(!document.criteria().is_empty(), "{kind:?}");
            }
        }
    }

    #[test]
    fn a_template_is_filled_by_its_headings_and_keeps_the_rest() {
        let criteria = ["One".to_owned(), "Two\n- [x] three".to_owned()];
        let text = filled(
            StoryKind::Story,
            &[("User story", "As a user, I want it."), ("Notes", "By Bob.")],
            &criteria,
        );
        insta::assert_snapshot!(text, @"
        ## User story

        As a user, I want it.

        ## Acceptance criteria

        - [ ] One
        - [ ] Two - [x] three

        ## Out of scope

        - ...

        ## Notes

        By Bob.
        ");
        assert_eq!(filled(StoryKind::Bug, &[], &[]), body(StoryKind::Bug));
    }

    #[test]
    fn criteria_are_put_in_the_place_of_those_that_are_there() {
        let criteria = ["It rings".to_owned()];
        let of = |body: &str| with_criteria(body, &criteria);
        assert_eq!(
            of("# T\n\n## acceptance criteria\n\n- [x] old\n- [ ] older\n\n## Notes\n\nHello\n"),
            "# T\n\n## acceptance criteria\n\n- [ ] It rings\n\n## Notes\n\nHello\n"
        );
        assert_eq!(of("## Acceptance criteria\n"), "## Acceptance criteria\n\n- [ ] It rings\n");
        assert_eq!(of("A bell.\n"), "A bell.\n\n## Acceptance criteria\n\n- [ ] It rings\n");
    }

    #[test]
    fn files_are_named_once_in_a_section_of_their_own() {
        let one = with_files("# T\n\nSee it.\n", StoryId(7), &["door.png"]).unwrap();
        assert_eq!(one, "# T\n\nSee it.\n\n## Files\n\n- ![door.png](../files/7/door.png)\n");
        assert_eq!(with_files(&one, StoryId(7), &["door.png"]), None);
        let more = format!("{one}\n## Notes\n\nNone.\n");
        assert_eq!(
            with_files(&more, StoryId(7), &["door.png", "plan.pdf"]).unwrap(),
            "# T\n\nSee it.\n\n## Files\n\n- ![door.png](../files/7/door.png)\n- [plan.pdf](../files/7/plan.pdf)\n\n## Notes\n\nNone.\n"
        );
        let own = "See ![the door](../files/7/door.png).\n";
        assert_eq!(with_files(own, StoryId(7), &["door.png"]), None, "the text names it where it belongs");
    }

    #[test]
    fn a_file_that_goes_takes_its_entry_along_and_no_words_of_a_persons() {
        let names = ["door.png", "plan.pdf"];
        let body = "# T\n\nSee ![it](../files/7/plan.pdf).\n\n## Notes\n\nNone.\n";
        let both = with_files(&with_files(body, StoryId(7), &["door.png"]).unwrap(), StoryId(7), &names);
        assert_eq!(both, None, "the text names one where it belongs");
        let both = with_files("# T\n", StoryId(7), &names).unwrap() + "\n## Notes\n\nNone.\n";
        let one = without_file(&both, StoryId(7), "door.png").unwrap();
        assert_eq!(one, "# T\n\n## Files\n\n- [plan.pdf](../files/7/plan.pdf)\n\n## Notes\n\nNone.\n");
        let none = without_file(&one, StoryId(7), "plan.pdf").unwrap();
        assert_eq!(none, "# T\n\n## Notes\n\nNone.\n");
        assert_eq!(without_file(body, StoryId(7), "plan.pdf"), None);
        assert_eq!(without_file(&both, StoryId(7), "oor.png"), None);
        assert_eq!(without_file(&both, StoryId(8), "door.png"), None);
    }

    #[test]
    fn a_given_body_takes_the_templates_place() {
        let text = story(StoryKind::Spike, "T", Some("---\nname: other\n---\n- [ ] a\n\n"));
        assert_eq!(text, "---\nname: T\n---\n\n# T\n\n---\nname: other\n---\n- [ ] a\n");
    }
}
