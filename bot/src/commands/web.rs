//! `web`: the way to the page, and the browsers that are signed in there.

use async_trait::async_trait;

use crate::{
    commands::command::{Command, CommandContext, CommandError, CommandResult, CommandSpec, Reply},
    replies,
    web_sessions::{WebPage, WebPerson},
};

pub struct WebCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "web",
    args: "[sessions | revoke N|all]",
    summary: "Get a link to the web page, or see and end your sessions there",
    details: "In a conversation of you and the bot alone it answers with a link that signs one browser in as you; it works once, within 10 \
              minutes. You may do on the page what you may do here. `web sessions` lists the browsers that are signed in as you, and `web \
              revoke N` signs one of them out (`all`: every one).",
    examples: &["web", "web sessions", "web revoke 3"],
    begins: Some(begins),
    ..CommandSpec::PLAIN
};

/// "web pages are slow" is a prompt.
fn begins(args: &str) -> bool {
    matches!(args.split_whitespace().next(), None | Some("sessions" | "revoke"))
}

#[async_trait]
impl Command for WebCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        let page = cx.services.web.as_ref().ok_or_else(|| CommandError::User(replies::NO_WEB_PAGE.into()))?;
        let person = person(&cx);
        let words: Vec<&str> = cx.args.split_whitespace().collect();
        match words.as_slice() {
            [] if cx.view.company.shared => Err(CommandError::User(replies::WEB_ASK_ALONE.into())),
            [] => {
                let link = page.sessions.link(person);
                let text = replies::web_link(&page.address, &link);
                Ok(Reply { is_secret: true, ..Reply::text(text) })
            }
            ["sessions"] => {
                let sessions = page.sessions.of(&person.id).map_err(anyhow::Error::from)?;
                Ok(Reply::text(replies::web_sessions(&sessions, cx.services.clock.now())))
            }
            ["revoke", "all"] => revoke(page, &person, None),
            ["revoke", number] => match number.trim_start_matches('#').parse() {
                Ok(number) => revoke(page, &person, Some(number)),
                Err(_) => Err(CommandError::Usage(replies::web_revoke_what())),
            },
            _ => Err(CommandError::Usage(replies::web_revoke_what())),
        }
    }
}

/// The account that somebody writes from. On the page that is the one that they signed in with.
fn person(cx: &CommandContext<'_>) -> WebPerson {
    let id = match cx.room.adapter() {
        adapters::web::NAME => cx.sender.id.to_string(),
        messenger => format!("{messenger}:{}", cx.sender.id),
    };
    WebPerson { id, name: cx.sender.name.to_string() }
}

fn revoke(page: &WebPage, person: &WebPerson, number: Option<i64>) -> CommandResult {
    let ended = page.sessions.end(&person.id, number).map_err(anyhow::Error::from)?;
    match (ended, number) {
        (0, Some(number)) => Err(CommandError::User(replies::no_web_session(number))),
        (ended, _) => Ok(Reply::text(replies::web_sessions_ended(ended))),
    }
}
