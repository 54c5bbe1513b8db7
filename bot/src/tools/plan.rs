//! `plan_stories`: a list of new stories, which the room approves as a whole, in part, or not yet.

use std::{collections::BTreeMap, sync::Arc};

use pipeline::{
    event::Actor,
    handle::{Author, NewStory},
    story::{self, Story, StoryId, StoryKind},
};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    call::{Answered, ToolCall},
    stories::create_here,
};
use crate::{
    permission::{BoardQuestion, DenialReason, PlannedStory},
    replies::{self, tools as say},
};

/// Stories of one list. Nobody reads more of them on a phone.
const LONGEST: usize = 20;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlanArgs {
    stories: Vec<PlannedArgs>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlannedArgs {
    title: String,
    kind: Option<StoryKind>,
    body: Option<String>,
    #[serde(default)]
    criteria: Vec<String>,
    #[serde(default)]
    after: Vec<usize>,
    #[serde(default)]
    depends_on: Vec<u32>,
}

/// The form of one story of the list.
pub(super) fn schema() -> Value {
    json!({
        "type": "object",
        "properties": {
            "title": { "type": "string", "description": "The title, one line" },
            "kind": { "type": "string", "enum": StoryKind::ALL.map(StoryKind::word) },
            "criteria": {
                "type": "array", "items": { "type": "string" },
                "description": "Acceptance criteria that somebody can check",
            },
            "body": { "type": "string", "description": "More text in Markdown; default: the template of its kind" },
            "after": {
                "type": "array", "items": { "type": "integer" },
                "description": "Stories of this list, counted from 1, that must be done before this one starts",
            },
            "depends_on": {
                "type": "array", "items": { "type": "integer" },
                "description": "Numbers of existing stories that must be done before this one starts",
            },
        },
        "required": ["title", "criteria"],
    })
}

pub(super) async fn propose(call: ToolCall) -> Answered {
    let PlanArgs { stories } = call.read()?;
    let board = call.services.pipeline.snapshot().board.clone();
    let plan = checked(stories, |id| board.story(id).is_some())?;
    let consent = match call.ask_room(BoardQuestion::Plan(plan.clone())).await {
        Ok(consent) => consent,
        Err(DenialReason::Person { by, reason: Some(wish), .. }) => {
            return Err(say::plan_changed(&by.name, &wish));
        }
        Err(why) => return Err(replies::denial(why)),
    };
    let picked = consent.picked.unwrap_or_else(|| (1..=plan.len()).collect());
    // In a task of its own: what people approved is created as a whole, also if the turn ends meanwhile.
    let call = Arc::new(call);
    let author = Author { by: Actor::Approved(consent.by.name), read: call.run.asker.read().texts() };
    let tracker = call.services.tasks.tracker.clone();
    let creating = tracker.spawn(async move { create_all(&call, &plan, &picked, author).await });
    creating.await.unwrap_or_else(|error| Err(error.to_string()))
}

/// The list as people see it.
///
/// # Errors
/// What is wrong with it, for the agent.
fn checked(stories: Vec<PlannedArgs>, exists: impl Fn(StoryId) -> bool) -> Result<Vec<PlannedStory>, String> {
    let count = stories.len();
    if count == 0 || count > LONGEST {
        return Err(say::plan_too_long(LONGEST));
    }
    let plan = stories.into_iter().zip(1..).map(|(planned, number)| {
        let wrong = |why: &str| say::bad_plan(number, why);
        let PlannedArgs { title, kind, body, criteria, after, depends_on } = planned;
        let title = story::title(&title).ok_or_else(|| wrong(say::PLAN_WITHOUT_TITLE))?;
        let criteria: Vec<String> = criteria.iter().filter_map(|text| story::title(text)).collect();
        if criteria.is_empty() {
            return Err(wrong(say::PLAN_WITHOUT_CRITERIA));
        }
        if !after.iter().all(|other| (1..=count).contains(other) && *other != number) {
            return Err(wrong(say::PLAN_AFTER_NOTHING));
        }
        let depends_on: Vec<StoryId> = depends_on.into_iter().map(StoryId).collect();
        if let Some(missing) = depends_on.iter().find(|id| !exists(**id)) {
            return Err(wrong(&say::plan_depends_on_nothing(*missing)));
        }
        let kind = kind.unwrap_or(StoryKind::Story);
        Ok(PlannedStory { kind, title, body, criteria, after, depends_on })
    });
    let plan = plan.collect::<Result<Vec<_>, String>>()?;
    in_order(&plan, &(1..=count).collect::<Vec<_>>())
        .map_err(|number| say::bad_plan(number, say::PLAN_IN_A_CIRCLE))?;
    Ok(plan)
}

/// These entries, each behind those that it comes after.
///
/// # Errors
/// An entry that waits for itself.
fn in_order(plan: &[PlannedStory], entries: &[usize]) -> Result<Vec<usize>, usize> {
    let mut order: Vec<usize> = Vec::new();
    while order.len() < entries.len() {
        let is_next = |entry: &&usize| {
            let waits = |other: &usize| entries.contains(other) && !order.contains(other);
            !order.contains(entry) && !plan[**entry - 1].after.iter().any(waits)
        };
        let left = || entries.iter().find(|entry| !order.contains(entry)).copied().unwrap_or_default();
        let next = *entries.iter().find(is_next).ok_or_else(left)?;
        order.push(next);
    }
    Ok(order)
}

/// A story that comes after one that people have not picked does not wait for it.
async fn create_all(call: &ToolCall, plan: &[PlannedStory], picked: &[usize], author: Author) -> Answered {
    let order = in_order(plan, picked).map_err(|number| say::bad_plan(number, say::PLAN_IN_A_CIRCLE))?;
    let mut created: BTreeMap<usize, Story> = BTreeMap::new();
    let mut error = None;
    for entry in order {
        let planned = plan[entry - 1].clone();
        let before = planned.after.iter().filter_map(|other| created.get(other)).map(Story::id);
        let new = NewStory {
            depends_on: planned.depends_on.iter().copied().chain(before).collect(),
            criteria: planned.criteria,
            body: planned.body,
            ..NewStory::titled(planned.kind, planned.title)
        };
        match create_here(call, new, author.clone()).await {
            Ok(story) => _ = created.insert(entry, story),
            Err(why) => {
                error = Some(why);
                break;
            }
        }
    }
    let left: Vec<usize> = (1..=plan.len()).filter(|entry| !created.contains_key(entry)).collect();
    let created: Vec<(usize, Story)> = created.into_iter().collect();
    let said = say::plan_created(&created, &left, error.as_deref());
    if error.is_some() { Err(said) } else { Ok(said) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(title: &str, after: &[usize]) -> PlannedArgs {
        PlannedArgs {
            title: title.into(),
            kind: None,
            body: None,
            criteria: vec!["It works".into(), " \n".into()],
            after: after.to_vec(),
            depends_on: Vec::new(),
        }
    }

    fn check(stories: Vec<PlannedArgs>) -> Result<Vec<PlannedStory>, String> {
        checked(stories, |id| id.0 == 7)
    }

    #[test]
    fn a_list_is_checked_before_people_see_it() {
        let plan = check(vec![planned("Bell", &[2]), planned("Door", &[])]).unwrap();
        assert_eq!(plan[0].criteria, ["It works"]);
        let why = |stories| check(stories).unwrap_err();
        assert!(why(vec![]).starts_with("A list has 1 to 20"));
        assert!(why((0..21).map(|_| planned("x", &[])).collect()).starts_with("A list has 1 to 20"));
        assert!(why(vec![planned(" \n", &[])]).contains("Story 1 of the list has no title"));
        let none = PlannedArgs { criteria: vec![" ".into()], ..planned("x", &[]) };
        assert!(
            why(vec![planned("x", &[]), none]).contains("Story 2 of the list has no acceptance criteria")
        );
        for after in [0, 1, 3] {
            assert!(
                why(vec![planned("x", &[after]), planned("y", &[])]).contains("comes `after` a number"),
                "{after}"
            );
        }
        let on = |id| PlannedArgs { depends_on: vec![id], ..planned("x", &[]) };
        assert!(check(vec![on(7)]).is_ok() && why(vec![on(8)]).contains("story 8, which does not exist"));
        assert!(why(vec![planned("x", &[2]), planned("y", &[1])]).contains("waits for itself"));
    }

    #[test]
    fn what_comes_before_is_created_before_and_what_was_not_picked_is_not_waited_for() {
        let plan = check(vec![planned("Bell", &[2]), planned("Door", &[3]), planned("Wall", &[])]).unwrap();
        assert_eq!(in_order(&plan, &[1, 2, 3]), Ok(vec![3, 2, 1]));
        assert_eq!(in_order(&plan, &[1, 3]), Ok(vec![1, 3]));
    }
}
