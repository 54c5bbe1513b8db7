//! Conflicts: parses the report of `git merge-tree`, and resolves the simple ones by a rule.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use git2::{MergeFileInput, MergeFileOptions, Oid, Repository};

// Longer than any line of `<` that a person draws; a text that has one like it is left to the mergemaster.
const MARKER: usize = 61;

/// Files beyond this are left to the mergemaster.
const MAX_FILE: usize = 4 << 20;

/// One line of the conflicted file info of `git merge-tree --write-tree -z` (git-merge-tree(1)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConflictSide {
    pub mode: u32,
    pub object: Oid,
    /// 1 is the common ancestor, 2 base, 3 the branch.
    pub stage: u8,
    pub path: PathBuf,
}

/// What `git merge-tree --write-tree -z` answers: the tree, and the sides of each conflicted file.
pub(crate) fn parse_merge_tree(answer: &[u8]) -> Option<(Oid, Vec<ConflictSide>)> {
    let mut fields = answer.split(|byte| *byte == 0);
    let tree = Oid::from_str(std::str::from_utf8(fields.next()?).ok()?).ok()?;
    let sides = fields.take_while(|field| !field.is_empty()).map(parse_side).collect::<Option<_>>()?;
    Some((tree, sides))
}

fn parse_side(field: &[u8]) -> Option<ConflictSide> {
    let tab = field.iter().position(|byte| *byte == b'\t')?;
    let mut words = std::str::from_utf8(&field[..tab]).ok()?.split(' ');
    Some(ConflictSide {
        mode: u32::from_str_radix(words.next()?, 8).ok()?,
        object: Oid::from_str(words.next()?).ok()?,
        stage: words.next()?.parse().ok()?,
        path: PathBuf::from(OsStr::from_bytes(&field[tab + 1..])),
    })
}

/// A file as the rule resolved it.
pub(crate) struct ResolvedFile {
    pub path: PathBuf,
    pub mode: u32,
    pub text: String,
}

/// Resolves every conflict by the rule, or lists the files that need somebody who understands them.
pub(crate) fn resolve(
    repository: &Repository,
    sides: &[ConflictSide],
) -> Result<Vec<ResolvedFile>, Vec<PathBuf>> {
    let paths: BTreeSet<&Path> = sides.iter().map(|side| side.path.as_path()).collect();
    let (mut resolved, mut left) = (Vec::new(), Vec::new());
    for path in paths {
        match resolve_file(repository, sides, path) {
            Some(file) => resolved.push(file),
            None => left.push(path.to_owned()),
        }
    }
    if left.is_empty() { Ok(resolved) } else { Err(left) }
}

fn resolve_file(repository: &Repository, sides: &[ConflictSide], path: &Path) -> Option<ResolvedFile> {
    let of = |stage| sides.iter().find(|side| side.path == path && side.stage == stage);
    let (ancestor, base, branch) = (of(1)?, of(2)?, of(3)?);
    // A changed mode is a decision of its own, and links and submodules have no lines.
    let same_kind = [base.mode, branch.mode].iter().all(|mode| *mode == ancestor.mode);
    if !same_kind || !matches!(ancestor.mode, 0o100_644 | 0o100_755) {
        return None;
    }
    let text = |side: &ConflictSide| {
        let blob = repository.find_blob(side.object).ok()?;
        String::from_utf8(blob.content().to_vec()).ok().filter(|text| text.len() <= MAX_FILE)
    };
    let text = keep_both(&text(ancestor)?, &text(base)?, &text(branch)?)?;
    Some(ResolvedFile { path: path.to_owned(), mode: ancestor.mode, text })
}

/// The rule: where both sides only added lines in the same place, the result has both additions, base's
/// first. `None` where anything was changed or removed in a conflict, or both added a same line: then order
/// or number may matter.
pub fn keep_both(ancestor: &str, base: &str, branch: &str) -> Option<String> {
    let marked = merge_marked(ancestor, base, branch)?;
    let mut kept = String::new();
    let mut lines = marked.split_inclusive('\n');
    while let Some(line) = lines.next() {
        if !is_marker(line, '<') {
            kept.push_str(line);
            continue;
        }
        let ours = until(&mut lines, '|')?;
        let replaced = until(&mut lines, '=')?;
        let theirs = until(&mut lines, '>')?;
        if !replaced.is_empty() || share_a_line(&ours, &theirs) {
            return None;
        }
        kept.extend(ours);
        kept.extend(theirs);
    }
    Some(kept)
}

// Put before each side: `git2` 0.21 reads through a null pointer where a merge leaves an empty file.
const FIRST: &str = "\u{1}storkit\n";

/// A three-way merge with the ancestor shown in each conflict.
fn merge_marked(ancestor: &str, base: &str, branch: &str) -> Option<String> {
    let long =
        |side: &str| ['<', '|', '=', '>'].iter().any(|mark| side.contains(&mark.to_string().repeat(MARKER)));
    // Without a final line break the first line of one side would be joined to the last line of the other.
    let ends = |side: &str| side.is_empty() || side.ends_with('\n');
    let sides = [ancestor, base, branch];
    if sides.iter().any(|side| long(side) || side.contains('\0') || !ends(side)) {
        return None;
    }
    let sides = sides.map(|side| format!("{FIRST}{side}"));
    let [ancestor, base, branch] = [0, 1, 2].map(|side| {
        let mut input = MergeFileInput::new();
        input.content(sides[side].as_bytes());
        input
    });
    let mut options = MergeFileOptions::new();
    options.style_diff3(true).marker_size(MARKER as u16);
    let merged = git2::merge_file(&ancestor, &base, &branch, Some(&mut options)).ok()?;
    String::from_utf8(merged.content().to_vec()).ok()?.strip_prefix(FIRST).map(str::to_owned)
}

fn is_marker(line: &str, mark: char) -> bool {
    line.chars().take_while(|letter| *letter == mark).count() == MARKER
}

fn until<'a>(lines: &mut impl Iterator<Item = &'a str>, mark: char) -> Option<Vec<&'a str>> {
    let mut taken = Vec::new();
    for line in lines {
        if is_marker(line, mark) {
            return Some(taken);
        }
        taken.push(line);
    }
    None
}

// Brackets and empty lines do not count: every block has them.
fn share_a_line(ours: &[&str], theirs: &[&str]) -> bool {
    let says = |line: &&&str| line.chars().any(char::is_alphanumeric);
    let ours: BTreeSet<&str> = ours.iter().filter(says).map(|line| line.trim()).collect();
    theirs.iter().filter(says).any(|line| ours.contains(line.trim()))
}

/// Whether a file still has the markers that git writes into a conflicted one.
pub(crate) fn has_markers(text: &[u8]) -> bool {
    let begins = |mark: &[u8]| text.split(|byte| *byte == b'\n').any(|line| line.starts_with(mark));
    // Both marks: a text may quote one of them.
    begins(b"<<<<<<< ") && begins(b">>>>>>> ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn additions_at_the_end_of_a_list_are_both_kept_base_first() {
        let kept = keep_both(
            "# Changes\n- old\n",
            "# Changes\n- old\n- base\n",
            "# Changes\n- old\n- ours\n- more\n",
        );
        assert_eq!(kept.as_deref(), Some("# Changes\n- old\n- base\n- ours\n- more\n"));
    }

    #[test]
    fn functions_added_in_one_place_stay_whole() {
        let kept =
            keep_both("a\nz\n", "a\nfn one() {\n    1\n}\n\nz\n", "a\nfn two() {\n    2\n}\n\nz\n").unwrap();
        insta::assert_snapshot!(kept, @r"
        a
        fn one() {
            1
        }

        fn two() {
            2
        }

        z
        ");
    }

    #[test]
    fn a_change_or_a_removal_is_never_guessed() {
        assert_eq!(keep_both("a\nb\nc\n", "a\nB\nc\n", "a\nx\nc\n"), None, "both changed");
        assert_eq!(keep_both("a\nb\nc\n", "a\nc\n", "a\nb!\nc\n"), None, "one removed");
        assert_eq!(keep_both("a\nb\n", "a\nb\nc\n", "a\nB\nd\n"), None, "one added where the other changed");
    }

    #[test]
    fn a_line_that_both_added_is_left_to_someone_who_understands_it() {
        assert_eq!(keep_both("use a;\n", "use a;\nuse b;\nuse c;\n", "use a;\nuse b;\nuse d;\n"), None);
    }

    #[test]
    fn a_text_with_long_marks_or_without_a_last_line_end_is_left_alone() {
        let drawn = format!("{}\n", "=".repeat(MARKER));
        assert_eq!(keep_both("", &drawn, "b\n"), None);
        assert_eq!(keep_both("a\n", "a\nb", "a\nc"), None);
        assert_eq!(keep_both("a\n", "", "").as_deref(), Some(""), "nothing is a text too");
    }

    #[test]
    fn what_git_answers_is_read_with_odd_names() {
        let answer = b"96016550e25db49f1deb4a06453cead950163006\x00100644 78981922613b2afb6025042ff6bd878ac1994e85 1\ta b\n\xff\x00\x001\x00rest\x00";
        let (tree, sides) = parse_merge_tree(answer).unwrap();
        assert_eq!(tree.to_string(), "96016550e25db49f1deb4a06453cead950163006");
        assert_eq!((sides.len(), sides[0].stage, sides[0].mode), (1, 1, 0o100_644));
        assert_eq!(sides[0].path.as_os_str().as_bytes(), b"a b\n\xff");
        assert_eq!(parse_merge_tree(b"no tree\0"), None);
    }

    #[test]
    fn markers_that_were_left_are_seen() {
        assert!(has_markers(b"a\n<<<<<<< HEAD\nb\n=======\nc\n>>>>>>> x\n"));
        assert!(!has_markers(b"<<<<<<< quoted in a text\n"));
    }

    proptest! {
        #[test]
        fn pure_additions_lose_no_line_and_keep_the_ancestors_order(
            ancestor in prop::collection::vec("[a-c]{1,2}", 0..6),
            ours in prop::collection::vec("[d-f]{1,2}", 0..4), at in 0..7_usize,
            theirs in prop::collection::vec("[g-i]{1,2}", 0..4), there in 0..7_usize,
        ) {
            let text = |lines: &[String]| lines.iter().map(|line| format!("{line}\n")).collect::<String>();
            let with = |added: &[String], at: usize| {
                let mut lines = ancestor.clone();
                let at = at.min(lines.len());
                lines.splice(at..at, added.iter().cloned());
                text(&lines)
            };
            let kept = keep_both(&text(&ancestor), &with(&ours, at), &with(&theirs, there));
            let kept: Vec<String> = kept.expect("only additions").lines().map(str::to_owned).collect();
            let of = |letters: &str| -> Vec<String> {
                kept.iter().filter(|line| letters.contains(&line[..1])).cloned().collect()
            };
            prop_assert_eq!(of("abc"), ancestor.clone());
            prop_assert_eq!(of("def"), ours.clone());
            prop_assert_eq!(of("ghi"), theirs.clone());
        }
    }
}
