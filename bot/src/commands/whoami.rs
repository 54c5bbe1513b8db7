//! `whoami`: who the bot takes a person for.

use async_trait::async_trait;

use super::away::{remembered_as, zone_of};
use crate::{
    commands::command::{Command, CommandContext, CommandResult, CommandSpec, Reply},
    replies,
};

pub struct WhoamiCommand;

const SPEC: CommandSpec = CommandSpec {
    name: "whoami",
    args: "",
    summary: "Show your id, your role and this room's id",
    details: "Shows the id to put into the allow-list, your role, and this room's id as `bot.toml` writes it. Where `bot.toml` knows you as a \
              person, it shows your other accounts, too; and whether you are away.",
    examples: &["whoami"],
    ..CommandSpec::PLAIN
};

#[async_trait]
impl Command for WhoamiCommand {
    fn spec(&self) -> &CommandSpec {
        &SPEC
    }

    async fn run(&self, cx: CommandContext<'_>) -> CommandResult {
        SPEC.no_args(cx.args)?;
        let role = cx.services.access().role(cx.room, &cx.sender.id);
        let mut text = vec![replies::who_you_are(cx.sender, role, cx.room)];
        let (people, now) = (cx.services.settings.people(), cx.services.clock.now());
        let person = people.find(cx.room.adapter(), &cx.sender.id);
        if let Some(person) = person {
            let others = person.accounts.iter().filter(|account| account.messenger != cx.room.adapter());
            let others = others.map(|account| (account.messenger, account.id.clone()));
            text.push(replies::your_accounts(&person.name, others));
        }
        let away = cx.services.broker.away();
        let said = away.of(&remembered_as(&people, cx.room, &cx.sender.id), now);
        let off_hours = person.and_then(|person| away.absence(person, now));
        let zone = zone_of(&people, cx.room, &cx.sender.id);
        text.push(replies::your_absence(said, off_hours.as_ref(), now, &zone));
        text.retain(|sentence| !sentence.is_empty());
        Ok(Reply::text(text.join(" ")))
    }
}
