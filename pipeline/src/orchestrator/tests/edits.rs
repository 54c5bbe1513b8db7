//! Changes of a story that people and agents ask for.

use super::fixture::{Fixture, ann};
use crate::{
    board::FileToAttach,
    handle::StoryChange,
    story::{StoryId, stage::Stage},
    verdict::ReviewDecision,
};

async fn change(fixture: &Fixture, id: StoryId, change: StoryChange) -> Result<(), String> {
    fixture.pipeline.update(id, change, ann()).await.map(drop).map_err(|error| error.to_string())
}

fn agent(name: &str) -> StoryChange {
    StoryChange { agent: Some(name.into()), ..StoryChange::default() }
}

fn after(stories: &[StoryId]) -> StoryChange {
    StoryChange { depends_on: Some(stories.to_vec()), ..StoryChange::default() }
}

#[tokio::test]
async fn a_change_that_nobody_could_work_by_is_refused_and_the_file_stays() {
    let fixture = Fixture::new().await;
    let (one, two) = (fixture.create("One", "x").await, fixture.create("Two", "x").await);
    change(&fixture, two, after(&[one])).await.expect("two waits for one");
    let before = fixture.pipeline.text(one).await.expect("a text");
    for (wrong, why) in [
        (after(&[two]), "story 1 cannot wait for story 2: story 2 waits for story 1."),
        (after(&[one]), "story 1 cannot wait for itself."),
        (after(&[StoryId(9)]), "there is no story 9, so nothing can wait for it."),
        (agent("nobody"), "there is no agent `nobody`"),
        (agent("qa"), "`qa` does not do what story 1 needs in backlog"),
    ] {
        let refused = change(&fixture, one, wrong).await.expect_err(why);
        assert!(refused.starts_with(why), "{refused}");
    }
    assert_eq!(fixture.pipeline.text(one).await.expect("a text"), before);
    change(&fixture, two, after(&[])).await.expect("it waits for nothing now");
    assert!(!fixture.pipeline.text(two).await.expect("a text").contains("depends_on"));
    change(&fixture, one, after(&[two])).await.expect("and so nothing waits in a circle");
}

#[tokio::test]
async fn a_new_text_keeps_the_names_of_the_storys_files_and_a_session_that_goes_on_reads_both() {
    let mut fixture = Fixture::new().await;
    let work = "do: echo x > x.txt && git add x.txt && git commit -qm x\nagain: git commit -q --allow-empty -m again";
    let id = fixture.create("Sent back", work).await;
    let held = StoryChange { manual_qa: Some(true), ..StoryChange::default() };
    change(&fixture, id, held).await.expect("a person reviews it");
    fixture.pipeline.start(id, None, ann()).await.expect("it starts");
    fixture.until_asked(id).await;
    let file = FileToAttach { name: "door.png".into(), content: b"x".to_vec() };
    let stored = fixture.pipeline.attach(id, vec![file]).await.expect("it is attached").remove(0).stored;
    assert_eq!(stored.as_deref(), Ok("door.png"));
    let another = StoryChange { body: Some("Another text.".into()), ..StoryChange::default() };
    change(&fixture, id, another).await.expect("another text");
    let text = fixture.pipeline.text(id).await.expect("a text");
    assert!(text.contains("Another text.") && text.contains("(../files/1/door.png)"), "{text}");
    fixture.pipeline.review(id, ReviewDecision::Rejected("too short".into()), ann()).await.expect("rejected");
    let reads = |prompt: &String| {
        prompt.starts_with("Story 1 came back")
            && prompt.contains("Another text.")
            && prompt.contains(".storkit/work/files/1/door.png\n")
    };
    fixture.until_true("the session reads it", || fixture.prompts().iter().any(reads)).await;
}

#[tokio::test]
async fn a_merged_story_is_a_record_that_nobody_changes() {
    let mut fixture = Fixture::new().await;
    let id =
        fixture.start("Merged", "- [ ] one\ndo: echo x > x.txt && git add x.txt && git commit -qm x").await;
    fixture.until_in(id, Stage::Done).await;
    let before = fixture.pipeline.text(id).await.expect("a text");
    let title = StoryChange { title: Some("Another".into()), ..StoryChange::default() };
    let refused = [
        change(&fixture, id, title).await.expect_err("it is merged"),
        fixture.pipeline.tick(id, 1, true).await.expect_err("it is merged").to_string(),
    ];
    for why in refused {
        assert_eq!(why, format!("story {id} is merged, so its file stays as it is; write a new story."));
    }
    assert_eq!(fixture.pipeline.text(id).await.expect("a text"), before);
}
