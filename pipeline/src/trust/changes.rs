//! The differences of two texts, line by line, for the operator who confirms them.

use super::text::TrustedText;

/// One line of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChangedLine {
    /// In both; a few of them around each change.
    Same(String),
    Removed(String),
    Added(String),
    /// Unchanged lines are left out here.
    Gap,
}

/// Unchanged lines that are shown around a change.
const CONTEXT: u32 = 3;

/// What changed between two versions, in order; everything is added where there is no earlier
/// one. The git settings follow `project.toml`.
pub fn changed_lines(
    before: Option<&TrustedText>,
    now: &TrustedText,
) -> Result<Vec<ChangedLine>, git2::Error> {
    let text = |of: Option<&TrustedText>| of.and_then(|text| text.project_toml.clone()).unwrap_or_default();
    let (old, new) = (text(before), text(Some(now)));
    let mut lines = compare(&old, &new)?;
    let none = Default::default();
    let (old, new) = (before.map_or(&none, |text| &text.git_programs), &now.git_programs);
    lines.extend(old.difference(new).cloned().map(ChangedLine::Removed));
    lines.extend(new.difference(old).cloned().map(ChangedLine::Added));
    Ok(lines)
}

fn compare(old: &str, new: &str) -> Result<Vec<ChangedLine>, git2::Error> {
    let mut options = git2::DiffOptions::new();
    // A text with a NUL byte is still shown.
    options.context_lines(CONTEXT).force_text(true);
    let patch = git2::Patch::from_buffers(old.as_bytes(), None, new.as_bytes(), None, Some(&mut options))?;
    let mut lines = Vec::new();
    for hunk in 0..patch.num_hunks() {
        let (range, count) = patch.hunk(hunk)?;
        if hunk > 0 || range.new_start() > 1 {
            lines.push(ChangedLine::Gap);
        }
        for at in 0..count {
            let line = patch.line_in_hunk(hunk, at)?;
            let text = String::from_utf8_lossy(line.content()).trim_end_matches('\n').to_owned();
            match line.origin_value() {
                git2::DiffLineType::Context => lines.push(ChangedLine::Same(text)),
                git2::DiffLineType::Addition => lines.push(ChangedLine::Added(text)),
                git2::DiffLineType::Deletion => lines.push(ChangedLine::Removed(text)),
                _ => {}
            }
        }
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(project: &str, programs: &[&str]) -> TrustedText {
        TrustedText {
            project_toml: Some(project.to_owned()),
            git_programs: programs.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn a_first_text_is_all_new_and_a_change_is_shown_with_what_is_around_it() {
        let long: String = (1..=20).map(|number| format!("# {number}\n")).collect();
        let before = text(&format!("{long}gates = [\"make\"]\n"), &["a=1"]);
        let now = text(&format!("{long}gates = [\"evil\"]\n"), &["b=2"]);
        assert_eq!(changed_lines(None, &before).unwrap().len(), 22);
        let changed = changed_lines(Some(&before), &now).unwrap();
        let same = |number: u32| ChangedLine::Same(format!("# {number}"));
        assert_eq!(
            changed,
            [
                ChangedLine::Gap,
                same(18),
                same(19),
                same(20),
                ChangedLine::Removed("gates = [\"make\"]".into()),
                ChangedLine::Added("gates = [\"evil\"]".into()),
                ChangedLine::Removed("a=1".into()),
                ChangedLine::Added("b=2".into()),
            ]
        );
    }

    #[test]
    fn a_line_that_hides_behind_a_nul_byte_or_a_carriage_return_is_shown() {
        let changed = changed_lines(None, &text("a = 1\0\nb = \"x\"\r\n", &[])).unwrap();
        assert_eq!(changed, [ChangedLine::Added("a = 1\0".into()), ChangedLine::Added("b = \"x\"\r".into())]);
    }
}
