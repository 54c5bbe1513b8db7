//! Whether a story may wait for others: those that wait for it, by however many steps, would never begin.

use std::collections::{BTreeMap, VecDeque};

use super::Board;
use crate::story::{StoryId, stage::Stage};

/// Why `story` may not wait for these, as a sentence.
pub(crate) fn dependency_fault(board: &Board, story: StoryId, on: &[StoryId]) -> Option<String> {
    on.iter().find_map(|on| {
        if *on == story {
            return Some(format!("story {story} cannot wait for itself."));
        }
        if board.story(*on).is_none() {
            return Some(match board.problem(*on) {
                Some(problem) => problem.to_string(),
                None => format!("there is no story {on}, so nothing can wait for it."),
            });
        }
        let chain = chain_of_waits(board, *on, story)?;
        let waits: Vec<String> =
            chain.windows(2).map(|pair| format!("story {} waits for story {}", pair[0], pair[1])).collect();
        Some(format!("story {story} cannot wait for story {on}: {}.", waits.join(", and ")))
    })
}

/// The shortest chain of stories from one to the other, each of which waits for the next.
fn chain_of_waits(board: &Board, from: StoryId, to: StoryId) -> Option<Vec<StoryId>> {
    let mut came_from = BTreeMap::from([(from, None)]);
    let mut next = VecDeque::from([from]);
    while let Some(id) = next.pop_front() {
        if id == to {
            let mut chain: Vec<StoryId> =
                std::iter::successors(Some(id), |id| came_from.get(id).copied().flatten()).collect();
            chain.reverse();
            return Some(chain);
        }
        // A story that is done waits for nobody.
        let waiting = board.story(id).filter(|story| !matches!(story.stage, Stage::Done | Stage::Archived));
        for on in waiting.into_iter().flat_map(|story| &story.front.depends_on) {
            if !came_from.contains_key(on) {
                came_from.insert(*on, Some(id));
                next.push_back(*on);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::SystemTime};

    use super::*;
    use crate::story::{FileName, FrontMatter, Story, StoryKind};

    fn board(stories: &[(u32, Stage, &[u32])]) -> Board {
        let story = |(id, stage, on): &(u32, Stage, &[u32])| {
            Arc::new(Story {
                file: FileName { id: StoryId(*id), kind: StoryKind::Story, slug: "x".into() },
                stage: *stage,
                since: SystemTime::UNIX_EPOCH,
                front: FrontMatter {
                    depends_on: on.iter().copied().map(StoryId).collect(),
                    ..FrontMatter::default()
                },
                criteria: Vec::new(),
            })
        };
        Board::new(stories.iter().map(story), Vec::new())
    }

    fn fault(board: &Board, story: u32, on: &[u32]) -> Option<String> {
        let on: Vec<StoryId> = on.iter().copied().map(StoryId).collect();
        dependency_fault(board, StoryId(story), &on)
    }

    #[test]
    fn a_story_never_waits_for_one_that_waits_for_it() {
        use Stage::{Backlog, Current, Done};
        let board = board(&[
            (1, Backlog, &[]),
            (2, Backlog, &[1]),
            (3, Current, &[2, 9]),
            (4, Done, &[1]),
            (5, Backlog, &[6]),
            (6, Backlog, &[5]),
        ]);
        assert_eq!(fault(&board, 1, &[4]), None, "what is done holds nobody up");
        assert_eq!(fault(&board, 3, &[1, 2]), None);
        assert_eq!(fault(&board, 1, &[5]), None, "a circle that others made is walked once");
        let told = [fault(&board, 1, &[4, 3]), fault(&board, 2, &[2]), fault(&board, 1, &[7])];
        insta::assert_snapshot!(told.map(Option::unwrap_or_default).join("\n"), @"
        story 1 cannot wait for story 3: story 3 waits for story 2, and story 2 waits for story 1.
        story 2 cannot wait for itself.
        there is no story 7, so nothing can wait for it.
        ");
    }
}
