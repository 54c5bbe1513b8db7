//! A story file's name: `ID_type_slug.md`, read strictly, and the slug of a title.

use std::{fmt, str::FromStr};

use super::{StoryId, StoryKind};

/// Longest slug that storkit makes, in bytes.
const LONGEST_MADE: usize = 60;

// Longest slug that is read, in bytes: people and older tools wrote longer ones.
const LONGEST_READ: usize = 120;

/// A file's name: `ID_type_slug.md`. Printing gives the parsed text byte for byte.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileName {
    pub id: StoryId,
    pub kind: StoryKind,
    /// `[a-z0-9_]+`, at most 120 bytes (60 where storkit made it): it becomes part of a branch and of paths.
    pub slug: String,
}

/// Why a name is no story's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadFileName {
    /// Its extension is not `.md`.
    #[error("a story is a Markdown file, named like `12_bug_login_fails.md`")]
    Extension,
    /// It does not begin with a number.
    #[error("it must begin with the story's number, without leading zeros, like `12_bug_login_fails.md`")]
    Id,
    /// What follows the number is none of the kinds.
    #[error("after the number comes `story`, `bug`, `spike` or `refactor`, like `12_bug_login_fails.md`")]
    Kind,
    /// The rest has other characters, or none, or too many.
    #[error("the last part is 1 to {LONGEST_READ} of `a-z`, `0-9` and `_`, like `12_bug_login_fails.md`")]
    Slug,
}

impl FileName {
    /// `ID_slug`, as worktrees and branches are called.
    pub fn id_slug(&self) -> String {
        format!("{}_{}", self.id, self.slug)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}.md", self.id, self.kind.word(), self.slug)
    }
}

impl FromStr for FileName {
    type Err = BadFileName;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let stem = name.strip_suffix(".md").ok_or(BadFileName::Extension)?;
        let (id, rest) = stem.split_once('_').ok_or(BadFileName::Id)?;
        let numbered = id.starts_with(|c: char| c.is_ascii_digit() && c != '0');
        let id = id.parse().ok().filter(|_| numbered).ok_or(BadFileName::Id)?;
        let (kind, slug) = rest.split_once('_').ok_or(BadFileName::Kind)?;
        let kind = StoryKind::parse(kind).ok_or(BadFileName::Kind)?;
        let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        match (1..=LONGEST_READ).contains(&slug.len()) && slug.bytes().all(letters) {
            true => Ok(Self { id, kind, slug: slug.to_owned() }),
            false => Err(BadFileName::Slug),
        }
    }
}

/// A title as part of a file's name: `[a-z0-9_]`, 1 to 60 bytes, other scripts spelled in Latin letters.
pub fn slug(title: &str) -> String {
    let title: String = title.chars().take(4 * LONGEST_MADE).collect();
    let mut slug = String::new();
    for letter in deunicode::deunicode(&title).chars().map(|c| c.to_ascii_lowercase()) {
        match letter {
            'a'..='z' | '0'..='9' => slug.push(letter),
            '\'' => {}
            _ if slug.is_empty() || slug.ends_with('_') => {}
            _ => slug.push('_'),
        }
    }
    shorten(&mut slug);
    if slug.is_empty() { "untitled".into() } else { slug }
}

/// Cuts between words where there is such a place in the second half.
fn shorten(slug: &mut String) {
    if slug.len() > LONGEST_MADE {
        let in_word = !slug[LONGEST_MADE..].starts_with('_');
        slug.truncate(LONGEST_MADE);
        if let Some(gap) = slug.rfind('_').filter(|gap| in_word && *gap >= LONGEST_MADE / 2) {
            slug.truncate(gap);
        }
    }
    slug.truncate(slug.trim_end_matches('_').len());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_name_that_is_not_exactly_a_storys_is_refused_with_the_part_that_is_wrong() {
        let wrong = |name: &str| name.parse::<FileName>().unwrap_err();
        for name in ["", "12_bug_x", "12_bug_x.MD", "12_bug_x.md "] {
            assert_eq!(wrong(name), BadFileName::Extension, "{name:?}");
        }
        for name in [".md", "x.md", "_bug_x.md", "0_bug_x.md", "012_bug_x.md", "-1_bug_x.md", "#1_bug_x.md"] {
            assert_eq!(wrong(name), BadFileName::Id, "{name:?}");
        }
        for name in ["1_bug.md", "1_Bug_x.md", "1__x.md", "1_epic_x.md", "1_story-x.md", "1_ bug_x.md"] {
            assert_eq!(wrong(name), BadFileName::Kind, "{name:?}");
        }
        let long = format!("1_bug_{}.md", "x".repeat(121));
        for name in
            ["1_bug_.md", "1_bug_X.md", "1_bug_a-b.md", "1_bug_../x.md", "1_bug_é.md", "1_bug_a\n.md", &long]
        {
            assert_eq!(wrong(name), BadFileName::Slug, "{name:?}");
        }
    }

    #[test]
    fn titles_become_slugs_that_people_can_read() {
        let read = [
            "Fix: the login's cookie (again!)",
            "Größe ändern",
            "修复漏洞",
            "../../etc/passwd",
            "a\nb\0c",
            "--- ___ ---",
            "",
            "A title that goes on and on beyond what anyone would like to see in a path",
        ]
        .map(slug);
        insta::assert_snapshot!(read.join("\n"), @"
        fix_the_logins_cookie_again
        grosse_andern
        xiu_fu_lou_dong
        etc_passwd
        a_b_c
        untitled
        untitled
        a_title_that_goes_on_and_on_beyond_what_anyone_would_like_to
        ");
        assert_eq!(slug(&"x".repeat(10_000)), "x".repeat(60));
    }

    proptest! {
        #[test]
        fn any_title_makes_a_name_that_is_read_back(title: String, id in 1u32..) {
            let name = FileName { id: StoryId(id), kind: StoryKind::Spike, slug: slug(&title) };
            prop_assert!(name.slug.len() <= 60);
            prop_assert_eq!(name.to_string().parse::<FileName>(), Ok(name));
        }

        #[test]
        fn a_name_that_is_read_is_printed_the_same(name in "[0-9]{1,11}_(story|bug|epic)_[a-z_0-9-]{0,3}\\.md") {
            if let Ok(read) = name.parse::<FileName>() {
                prop_assert_eq!(read.to_string(), name);
            }
        }
    }
}
