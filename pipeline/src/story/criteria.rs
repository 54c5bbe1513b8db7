//! Acceptance criteria: the checkboxes of a story's body.

use super::lines::lines;

/// A criterion in the text.
pub(super) struct Checkbox<'a> {
    /// The position of the space or the `x`.
    pub(super) at: usize,
    pub(super) ticked: bool,
    pub(super) text: &'a str,
}

/// All checkboxes from `body` on, but for those in code blocks.
pub(super) fn checkboxes(text: &str, body: usize) -> Vec<Checkbox<'_>> {
    let mut fence: Option<&str> = None;
    let mut found = Vec::new();
    for (at, line) in lines(text, body..text.len()) {
        let content = line.trim_start();
        let marks = content.len() - content.trim_start_matches(['`', '~']).len();
        match fence {
            Some(open) if content.starts_with(open) && content[marks..].trim().is_empty() => fence = None,
            Some(_) => {}
            None if content.starts_with("```") || content.starts_with("~~~") => {
                fence = Some(&content[..marks])
            }
            None => found.extend(checkbox(at + line.len() - content.len(), content)),
        }
    }
    found
}

fn checkbox(at: usize, content: &str) -> Option<Checkbox<'_>> {
    let rest = content.strip_prefix(['-', '*', '+'])?;
    let inside = rest.trim_start_matches(' ').strip_prefix('[')?;
    let mark = inside.chars().next().filter(|mark| rest.starts_with(' ') && " xX".contains(*mark))?;
    let text = inside[1..].strip_prefix("] ")?.trim();
    Some(Checkbox { at: at + content.len() - inside.len(), ticked: mark != ' ', text })
}
