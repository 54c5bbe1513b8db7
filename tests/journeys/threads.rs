//! Threads, with the real CLI: between two people they go on with the conversation, among several they begin one.

use std::sync::Arc;

use adapters::{Incoming, Quotation, QuotedAuthor};
use e2e::Setup;
use needs::needs;
use scripted_model::ModelScript;

use crate::real::last_request;

fn said(author: QuotedAuthor, text: &str) -> Quotation {
    Quotation { author, text: text.into() }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_direct_conversation_a_thread_goes_on_with_the_session_and_is_answered_there() {
    needs!(Claude);
    let script = ModelScript::new().on("colour").says("The door is red.").on("and why").says("Paint.");
    let bot = Setup::real(script).start().await;
    let room = bot.room("a");
    room.say("which colour has the door?").await;
    let answer = room.see("The door is red.").await;
    room.settled().await;
    let thread = bot.room(&format!("a/{}", answer.id));
    thread.thread_holds(Ok(vec![said(QuotedAuthor::Bot, "The door is red.")]));
    thread.say("and why?").await;
    thread.see("Paint.").await;
    let seen = last_request(&bot);
    assert!(seen.conversation.prompt.contains("this one of yours"), "{}", seen.conversation.prompt);
    assert_eq!(seen.conversation.history, ["which colour has the door?"], "the same session");
    assert!(!room.transcript().contains("Paint."));
    bot.app.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_room_of_several_the_thread_is_the_context_of_its_first_prompt() {
    needs!(Claude);
    let bot = Setup::real(ModelScript::new().on("what now").says("Paint it.")).start().await;
    let thread = bot.room("a/m1");
    let eve = QuotedAuthor::Person { id: Arc::from("eve"), name: Arc::from("Eve") };
    thread.thread_holds(Ok(vec![said(eve, "the door is\nred")]));
    let prompt = Incoming { shared: true, ..thread.incoming("ann", "what now?") };
    thread.send_incoming(prompt).await;
    thread.see("Paint it.").await;
    let prompt = last_request(&bot).conversation.prompt;
    assert!(
        prompt.contains("> Eve (eve): the door is\n>   red") && prompt.ends_with("ann: what now?"),
        "{prompt}"
    );
    bot.app.shutdown().await;
}
