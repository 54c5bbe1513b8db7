//! Files that people send, with the real CLI.

use adapters::{Enclosed, Quotation, QuotedAuthor};
use e2e::Setup;
use needs::needs;
use scripted_model::ModelScript;
use serde_json::json;

use crate::real::{last_request, last_tool_result};

/// One red pixel.
pub const PNG: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, 0x49, 0x48, 0x44, 0x52, 0, 0, 0, 1, 0, 0,
    0, 1, 8, 2, 0, 0, 0, 0x90, 0x77, 0x53, 0xde, 0, 0, 0, 0x0c, 0x49, 0x44, 0x41, 0x54, 8, 0xd7, 0x63, 0xf8,
    0xcf, 0xc0, 0, 0, 3, 1, 1, 0, 0x18, 0xdd, 0x8d, 0xb0, 0, 0, 0, 0, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42,
    0x60, 0x82,
];

#[tokio::test(flavor = "multi_thread")]
async fn an_image_reaches_the_model_as_an_image_and_a_lost_file_is_named() {
    needs!(Claude);
    let bot = Setup::real(ModelScript::new().on("what is this").says("A door.")).start().await;
    let room = bot.room("a");
    let files = vec![room.file("door.png", Ok(PNG)), room.file("plan.pdf", Err("it is not there any more"))];
    room.say_with("what is this?", Enclosed { files, quotes: Vec::new() }).await;
    room.see("I did not get `plan.pdf`: it is not there any more.").await;
    room.see("A door.").await;
    room.settled().await;
    let seen = last_request(&bot);
    assert_eq!(seen.images, ["image/png"]);
    assert!(seen.conversation.prompt.contains("\"plan.pdf\" did not arrive"), "{}", seen.conversation.prompt);
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_lies_where_the_agent_behind_its_wall_reads_it_and_cannot_change_it() {
    needs!(Claude, Bubblewrap);
    let script = ModelScript::new()
        .on("read it")
        .calls("Bash", json!({"command": "cat /*/*/.storkit/*/*/*/received/*.txt $(find / -path '*/received/*.txt' 2>/dev/null)", "description": "Read"}))
        .then_says("It says: {last_tool_result}")
        .on("change it")
        .calls("Bash", json!({"command": "f=$(find / -path '*/received/*.txt' 2>/dev/null | head -n1); echo x > \"$f\"", "description": "Write"}))
        .then_says("Then: {last_tool_result}");
    let bot = Setup::real(script).start().await;
    let room = bot.room("a");
    let files = vec![room.file("notes.txt", Ok(b"the door is red"))];
    room.say_with("read it", Enclosed { files, quotes: Vec::new() }).await;
    let question = room.see("may I use **Bash**").await;
    assert!(question.text.contains("the file `notes.txt`"), "{question:?}");
    room.say("yes").await;
    room.see("the door is red").await;
    room.settled().await;
    room.say("change it").await;
    room.see("may I use **Bash**").await;
    room.say("yes").await;
    room.see("Then:").await;
    room.settled().await;
    assert!(last_tool_result(&bot).contains("Read-only"), "{}", last_tool_result(&bot));
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forwarded_words_are_quoted_for_the_model() {
    needs!(Claude);
    let bot = Setup::real(ModelScript::new().says("I see.")).start().await;
    let room = bot.room("a");
    let quotes = vec![Quotation { author: QuotedAuthor::Unknown, text: "the gate is broken".into() }];
    room.say_with("", Enclosed { files: Vec::new(), quotes }).await;
    room.see("I see.").await;
    room.settled().await;
    let prompt = last_request(&bot).conversation.prompt;
    assert!(prompt.contains("Forwarded") && prompt.contains("\n> the gate is broken"), "{prompt}");
    bot.app.shutdown().await;
}
