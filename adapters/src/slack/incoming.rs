//! Turns Slack's events into an [`Incoming`]: acknowledged and queued first, then read one by one.

use std::{collections::HashMap, sync::Arc};

use parking_lot::{Mutex, RwLock};
use serde_json::json;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    SlackConfig,
    event::{ButtonPress, DeletedMessage, EditedMessage, SlackEvent, SlackMessage, SlashCommand},
    threads::KnownThreads,
    web::WebApi,
};
use crate::{
    AdapterContext, Addressed, AllowedPeople, Enclosed, Identity, Inbox, Incoming, MessageId, PersonAct,
    Quotation, QuotedAuthor, Sender, address, mentions,
    slack::{
        conversation::{ConversationAddress, time_of},
        ephemeral::{ResponseUrls, pick_id, slash_id},
        incoming_queue::{AskingMessages, EventQueue, NAMES_WAIT},
        notices,
        shared_messages::SharedMessage,
        unescape,
        user_names::UserNames,
    },
    text::excerpt::{QUOTED_MAX, excerpt},
};

// Strangers can press buttons as fast as they like; beyond this many at once the bot does not answer them.
const REFUSALS: usize = 8;
// So many people of one message have names; the others keep their ids.
const NAMES_MAX: usize = 20;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BotIdentity {
    pub user: String,
    pub name: String,
    /// The workspace's address, with a slash at its end; empty where Slack does not say.
    pub workspace: String,
}

/// Receives events and turns them into what people did.
pub struct EventReceiver {
    config: SlackConfig,
    identity: Identity,
    web: Arc<WebApi>,
    me: RwLock<BotIdentity>,
    // Changes with `bot.toml`; `config.people` holds the list of the start.
    people: RwLock<AllowedPeople>,
    queue: EventQueue,
    names: Arc<UserNames>,
    /// Threads that began with a prompt.
    pub threads: KnownThreads,
    /// Where replies that one person sees can be sent.
    pub urls: ResponseUrls,
    /// Messages that ask something, and are still open.
    pub asked: AskingMessages,
    refusals: Arc<Semaphore>,
    // Of conversations of two, whoever was last heard in each.
    direct: Mutex<HashMap<String, Arc<str>>>,
}

impl EventReceiver {
    pub fn new(config: SlackConfig, setting: AdapterContext, web: Arc<WebApi>) -> Self {
        Self {
            people: RwLock::new(config.people.clone()),
            config,
            identity: setting.identity,
            names: UserNames::new(web.clone()),
            web,
            me: RwLock::default(),
            queue: EventQueue::default(),
            threads: KnownThreads::load(setting.state),
            urls: ResponseUrls::default(),
            asked: AskingMessages::default(),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            direct: Mutex::default(),
        }
    }

    pub fn bot_identity(&self) -> BotIdentity {
        self.me.read().clone()
    }

    pub fn set_me(&self, me: BotIdentity) {
        *self.me.write() = me;
    }

    pub fn set_people(&self, people: &AllowedPeople) {
        *self.people.write() = people.clone();
    }

    /// Who wrote in this conversation of two, if anybody did since the start.
    pub fn direct_person(&self, channel: &str) -> Option<Arc<str>> {
        self.direct.lock().get(channel).cloned()
    }

    fn is_allowed(&self, user: &str) -> bool {
        self.people.read().is_allowed(user)
    }

    /// Queues events; `false` where no more fit, so that they must not be acknowledged.
    pub fn enqueue(&self, heard: impl IntoIterator<Item = SlackEvent>) -> bool {
        // Before the queue, which knows repeats: in a group conversation `app_mention` says less than the message that follows.
        heard.into_iter().filter(|heard| self.is_handled(heard)).all(|heard| {
            self.names_wanted(&heard).iter().for_each(|user| self.names.ask(user));
            self.queue.push(heard)
        })
    }

    fn is_handled(&self, heard: &SlackEvent) -> bool {
        match heard {
            SlackEvent::Said(said) | SlackEvent::Edited(EditedMessage { said, .. }) => {
                self.is_served(&said.place, said.group) && said.user != self.me.read().user
            }
            SlackEvent::Deleted(deleted) => self.is_served(&deleted.place, deleted.group),
            SlackEvent::Picked(_) | SlackEvent::Slash(_) | SlackEvent::Uninstalled => true,
        }
    }

    // Each look-up costs a call, so there is none for strangers, whose messages the bot ignores.
    fn names_wanted(&self, heard: &SlackEvent) -> Vec<String> {
        let (user, mut named): (&String, Vec<&str>) = match heard {
            SlackEvent::Said(said) | SlackEvent::Edited(EditedMessage { said, .. }) => {
                (&said.user, unescape::people(&said.text).collect())
            }
            SlackEvent::Picked(picked) => (&picked.user, Vec::new()),
            SlackEvent::Slash(slash) => (&slash.user, unescape::people(&slash.text).collect()),
            SlackEvent::Deleted(_) | SlackEvent::Uninstalled => return Vec::new(),
        };
        if !self.is_allowed(user) {
            return Vec::new();
        }
        if let SlackEvent::Said(said) | SlackEvent::Edited(EditedMessage { said, .. }) = heard {
            for shared in &said.shared {
                named.extend(shared.author.as_deref());
                named.extend(unescape::people(&shared.text));
            }
        }
        self.some_people(std::iter::once(user.as_str()).chain(named))
    }

    /// Each of them once, without the bot, and not more than have names in one message.
    fn some_people<'p>(&self, people: impl Iterator<Item = &'p str>) -> Vec<String> {
        let me = self.bot_identity().user;
        let mut some: Vec<String> = Vec::new();
        for user in people.filter(|user| *user != me) {
            if some.len() < NAMES_MAX && !some.iter().any(|known| known == user) {
                some.push(user.to_owned());
            }
        }
        some
    }

    /// Waits a moment for the names of these people, as a message does for those in it.
    pub async fn learn_names(&self, people: &[String]) {
        let people = self.some_people(people.iter().map(String::as_str));
        self.names.learn(&people, NAMES_WAIT).await;
    }

    /// Delivers queued events for as long as the bot accepts them. An event in progress stays queued when this is dropped.
    pub async fn deliver(&self, inbox: &Inbox) {
        let is_ready =
            |heard: &SlackEvent| self.names_wanted(heard).iter().all(|user| self.names.is_settled(user));
        loop {
            let (number, heard) = self.queue.next(is_ready, || self.names.settled()).await;
            let incoming = self.read(&heard);
            if let Some(incoming) = incoming.as_ref().filter(|it| !it.shared && !it.sender.is_bot) {
                self.direct.lock().insert(incoming.room.conversation().into(), incoming.sender.id.clone());
            }
            if let Some(incoming) = incoming
                && !inbox.deliver(incoming).await
            {
                return;
            }
            // Only now: if the connection breaks during `deliver`, the event is handed over again.
            self.queue.remove(number);
        }
    }

    fn read(&self, heard: &SlackEvent) -> Option<Incoming> {
        match heard {
            SlackEvent::Said(said) => Some(self.read_message(said)),
            SlackEvent::Edited(edited) => Some(self.edited(edited)),
            SlackEvent::Picked(picked) => self.picked(picked),
            SlackEvent::Slash(slash) => self.slash(slash),
            SlackEvent::Deleted(deleted) => Some(self.deleted(deleted)),
            SlackEvent::Uninstalled => None,
        }
    }

    fn read_message(&self, said: &SlackMessage) -> Incoming {
        let me = self.bot_identity();
        let (addressed, text) = self.address(said, &me);
        let reply_to = said.parent.as_ref().filter(|parent| **parent == me.user);
        let reply_to = reply_to.and(said.place.thread.as_deref()).map(MessageId::new);
        // A person may answer a question in the thread below it; the answer belongs to the room of the question.
        let asked = reply_to.as_ref().is_some_and(|id| self.asked.contains(&said.place.channel, id));
        let place = if asked {
            ConversationAddress { thread: None, ..said.place.clone() }
        } else {
            said.place.clone()
        };
        Incoming {
            id: MessageId::new(said.ts.as_str()),
            room: place.room(),
            sender: self.sender(&said.user, &said.user),
            act: PersonAct::Said { text },
            addressed,
            shared: !said.place.is_direct(),
            reply_to,
            sent_at: time_of(&said.ts),
            enclosed: Enclosed {
                files: said.files.clone(),
                quotes: said.shared.iter().filter_map(|shared| self.quoted(shared)).collect(),
            },
        }
    }

    fn quoted(&self, shared: &SharedMessage) -> Option<Quotation> {
        let author = self.quoted_author(shared.author.as_deref(), &shared.author_name);
        let text = excerpt(&self.decode(&shared.text), QUOTED_MAX);
        (!text.is_empty()).then_some(Quotation { author, text })
    }

    /// Who wrote a message of which Slack names the author; `called` for a name that Slack does not tell otherwise.
    pub fn quoted_author(&self, author: Option<&str>, called: &str) -> QuotedAuthor {
        match author {
            None => QuotedAuthor::Unknown,
            Some(id) if id == self.me.read().user => QuotedAuthor::Bot,
            Some(id) => {
                let name = self.names.of(id).unwrap_or_else(|| called.to_owned());
                let name = if name.trim().is_empty() { id.into() } else { name.into() };
                QuotedAuthor::Person { id: id.into(), name }
            }
        }
    }

    /// How a message addresses the bot, and its text without the address.
    fn address(&self, said: &SlackMessage, me: &BotIdentity) -> (Option<Addressed>, String) {
        let taken = mentions::take(&said.text, |text| unescape::mention_at_start(text, &me.user));
        let text = self.decode(&taken.text);
        let direct = said.place.is_direct();
        let by_name = if taken.at_start {
            let prefixed = address::strip_prefix_of(&text, &self.identity);
            prefixed.map(|text| (Addressed::Prefix, text.to_owned()))
        } else {
            address::strip(&text, &self.identity, &[&me.name, &me.user])
        };
        match by_name {
            Some((Addressed::Prefix, text)) => (Some(Addressed::Prefix), text),
            Some((_, text)) if direct => (Some(Addressed::Direct), text),
            Some((how, text)) => (Some(how), text),
            None if direct => (Some(Addressed::Direct), text.trim().to_owned()),
            None if taken.mentioned => (Some(Addressed::Name), text.trim().to_owned()),
            None => (self.address_by_thread(said, me), text.trim().to_owned()),
        }
    }

    fn address_by_thread(&self, said: &SlackMessage, me: &BotIdentity) -> Option<Addressed> {
        // A message that begins with a mention of somebody else is not for the bot, even in the bot's thread.
        let to_another = unescape::first_mention(&said.text).is_some();
        let in_our_thread =
            said.parent.as_deref() == Some(me.user.as_str()) || self.threads.contains(&said.place);
        (in_our_thread && !to_another).then_some(Addressed::Reply)
    }

    /// The text as a person reads it, with the names that are known.
    pub fn decode(&self, raw: &str) -> String {
        let me = self.bot_identity().user;
        unescape::decode(raw, |user| match user == me {
            true => Some(self.identity.display_name.clone()),
            false => self.names.of(user),
        })
    }

    fn picked(&self, picked: &ButtonPress) -> Option<Incoming> {
        if !self.is_allowed(&picked.user) {
            self.refuse_press(picked);
            return None;
        }
        Some(Incoming {
            id: pick_id(picked),
            room: picked.place.room(),
            sender: self.sender(&picked.user, &picked.user_name),
            act: PersonAct::Chose { on: MessageId::new(picked.on.as_str()), key: picked.key.clone() },
            // A press is always meant for the bot whose button it is.
            addressed: Some(Addressed::Reply),
            shared: !picked.place.is_direct(),
            reply_to: None,
            sent_at: time_of(&picked.at),
            enclosed: Enclosed::default(),
        })
    }

    fn slash(&self, slash: &SlashCommand) -> Option<Incoming> {
        let place = ConversationAddress { channel: slash.channel.clone(), thread: None };
        if !self.is_allowed(&slash.user) {
            self.refuse_slash(slash, notices::stranger(&slash.user));
            return None;
        }
        if !self.is_served(&place, slash.group) {
            self.refuse_slash(slash, notices::not_served(&slash.channel));
            return None;
        }
        let id = slash_id(slash);
        self.urls.add(id.clone(), &slash.response_url, Instant::now());
        let text = self.decode(&self.slash_text(slash));
        Some(Incoming {
            id,
            room: place.room(),
            sender: self.sender(&slash.user, &slash.user_name),
            act: PersonAct::Said { text },
            addressed: Some(Addressed::Slash),
            shared: !place.is_direct(),
            reply_to: None,
            sent_at: std::time::SystemTime::now(),
            enclosed: Enclosed::default(),
        })
    }

    // `/storkit status` and `/storkit-status` mean the same. Only the part after the first dash counts, since an
    // operator may rename the commands.
    fn slash_text(&self, slash: &SlashCommand) -> String {
        let command = slash.command.trim_start_matches('/');
        let named = command.split_once('-').map(|(_, name)| name.to_lowercase());
        let named = named.filter(|name| self.identity.commands.iter().any(|command| command.name == *name));
        named.map_or_else(|| slash.text.clone(), |name| format!("{name} {}", slash.text).trim().to_owned())
    }

    fn edited(&self, edited: &EditedMessage) -> Incoming {
        let now = self.read_message(&edited.said);
        let text = match now.act {
            PersonAct::Said { text } => text,
            _ => String::new(),
        };
        let message = MessageId::new(edited.said.ts.as_str());
        Incoming {
            id: MessageId::new(format!("edit:{}:{}", edited.said.ts, edited.at)),
            act: PersonAct::Edited { message, text },
            sent_at: time_of(&edited.at),
            ..now
        }
    }

    fn deleted(&self, deleted: &DeletedMessage) -> Incoming {
        Incoming {
            id: MessageId::new(format!("del:{}", deleted.ts)),
            room: deleted.place.room(),
            sender: self.sender(&deleted.user, &deleted.user),
            act: PersonAct::Redacted { message: MessageId::new(deleted.ts.as_str()) },
            addressed: None,
            shared: !deleted.place.is_direct(),
            reply_to: None,
            sent_at: std::time::SystemTime::now(),
            enclosed: Enclosed::default(),
        }
    }

    // Channels are in `bot.toml`, because everybody there reads along. Whoever begins a direct conversation, of two or more, chooses
    // who does.
    fn is_served(&self, place: &ConversationAddress, group: bool) -> bool {
        group || place.is_direct() || self.config.channel_ids.contains(&place.channel)
    }

    fn sender(&self, user: &str, fallback: &str) -> Sender {
        let name = self.names.of(user);
        Sender { id: user.into(), name: name.as_deref().unwrap_or(fallback).into(), is_bot: false }
    }

    // The bot does not answer strangers, but a button without any reaction would look broken.
    fn refuse_press(&self, picked: &ButtonPress) {
        let mut body = json!({
            "channel": picked.place.channel, "user": picked.user, "text": notices::stranger(&picked.user),
        });
        if let Some(thread) = &picked.place.thread {
            body["thread_ts"] = thread.as_str().into();
        }
        tracing::info!(user = picked.user, "a button pressed by somebody who is not on the allow-list");
        let web = self.web.clone();
        self.refuse(async move { web.call("chat.postEphemeral", &body).await.map(drop) });
    }

    fn refuse_slash(&self, slash: &SlashCommand, sentence: String) {
        tracing::info!(user = slash.user, channel = slash.channel, "a slash command that is not heard");
        let (web, url) = (self.web.clone(), slash.response_url.clone());
        let body = json!({ "response_type": "ephemeral", "text": sentence });
        self.refuse(async move { web.respond(&url, &body).await });
    }

    fn refuse(
        &self,
        say: impl Future<Output = Result<(), crate::slack::call_failure::CallFailure>> + Send + 'static,
    ) {
        let Ok(permit) = self.refusals.clone().try_acquire_owned() else { return };
        tokio::spawn(async move {
            if let Err(trouble) = say.await {
                tracing::debug!(?trouble, "a stranger could not be told");
            }
            drop(permit);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Secret;

    fn receiver() -> EventReceiver {
        let command = |name: &str| crate::CommandInfo {
            name: name.into(),
            args: String::new(),
            summary: String::new(),
        };
        let identity = Identity {
            display_name: "Timmy".into(),
            prefixes: vec!["!".into()],
            commands: vec![command("status")],
        };
        let config = SlackConfig {
            bot_token: Secret::new("xoxb-1"),
            channel_ids: vec!["C1".into()],
            people: AllowedPeople { allowed_users: vec!["U1".into()], ..AllowedPeople::default() },
            // Nobody answers there: names stay ids.
            api_url: "http://127.0.0.1:9/api".into(),
            ..SlackConfig::default()
        };
        let web = Arc::new(WebApi::new(&config).unwrap());
        let state = tempfile::tempdir().unwrap().path().join("slack");
        let receiver = EventReceiver::new(config, AdapterContext { identity, state }, web);
        receiver.set_me(BotIdentity {
            user: "UBOT".into(),
            name: "timmy_bot".into(),
            workspace: "https://team.slack.com/".into(),
        });
        receiver
    }

    fn said(channel: &str, text: &str) -> SlackMessage {
        SlackMessage {
            place: ConversationAddress { channel: channel.into(), thread: None },
            ts: "5.1".into(),
            user: "U1".into(),
            text: text.into(),
            files: Vec::new(),
            shared: Vec::new(),
            parent: None,
            group: false,
        }
    }

    fn read(receiver: &EventReceiver, said: SlackMessage) -> Option<(Option<Addressed>, String)> {
        let said = SlackEvent::Said(said);
        let incoming = receiver.is_handled(&said).then(|| receiver.read(&said))??;
        let PersonAct::Said { text } = incoming.act else { panic!("not words") };
        Some((incoming.addressed, text))
    }

    #[tokio::test]
    async fn each_way_to_address_the_bot_is_seen() {
        let receiver = receiver();
        let name = |text: &str| Some((Some(Addressed::Name), text.to_owned()));
        assert_eq!(read(&receiver, said("C1", "<@UBOT> status")), name("status"));
        assert_eq!(read(&receiver, said("C1", "<@UBOT|timmy>: a &lt; b")), name("a < b"));
        assert_eq!(read(&receiver, said("C1", "thanks <@UBOT> again")), name("thanks @Timmy again"));
        assert_eq!(read(&receiver, said("C1", "status <@UBOT>")), name("status"));
        for quoted in ["&gt; <@UBOT> status\nI agree", "type `<@UBOT> status`", "```\n<@UBOT> status\n```"] {
            let (addressed, text) = read(&receiver, said("C1", quoted)).unwrap();
            assert_eq!(addressed, None, "{text}");
        }
        assert_eq!(read(&receiver, said("C1", "timmy, status")), name("status"));
        let prefix = Some((Some(Addressed::Prefix), "status".to_owned()));
        assert_eq!(read(&receiver, said("C1", "!status")), prefix);
        assert_eq!(read(&receiver, said("C1", "<@UBOT> !status")), prefix);
        let direct = Some((Some(Addressed::Direct), "hello".to_owned()));
        assert_eq!(read(&receiver, said("D1", "hello")), direct);
        assert_eq!(read(&receiver, said("D1", "Timmy hello")), direct);
        assert_eq!(read(&receiver, said("C1", "hello all")), Some((None, "hello all".into())));
        assert_eq!(read(&receiver, said("C2", "<@UBOT> status")), None, "a channel that is not served");
        let group = SlackMessage { group: true, ..said("C2", "<@UBOT> status") };
        assert_eq!(read(&receiver, group), name("status"), "a group conversation needs no entry");
        assert_eq!(read(&receiver, SlackMessage { user: "UBOT".into(), ..said("C1", "!status") }), None);
    }

    #[tokio::test]
    async fn in_a_thread_of_the_bot_no_address_is_needed() {
        let receiver = receiver();
        let place = ConversationAddress { channel: "C1".into(), thread: Some("4.1".into()) };
        let reply = |text: &str| SlackMessage { place: place.clone(), ..said("C1", text) };
        assert_eq!(read(&receiver, reply("and then?")).unwrap().0, None, "a thread of people");
        receiver.threads.add(&place);
        assert_eq!(read(&receiver, reply("and then?")).unwrap().0, Some(Addressed::Reply));
        assert_eq!(read(&receiver, reply("<@U2> what do you say?")).unwrap().0, None);
        let below_bot = SlackMessage { parent: Some("UBOT".into()), ..reply("ok") };
        let incoming = receiver.read(&SlackEvent::Said(below_bot.clone())).unwrap();
        assert_eq!(incoming.reply_to, Some(MessageId::new("4.1")));
        assert_eq!(incoming.room.id(), "C1/4.1");
        receiver.asked.add("C1", &MessageId::new("4.1"));
        assert_eq!(receiver.read(&SlackEvent::Said(below_bot)).unwrap().room.id(), "C1");
    }

    #[tokio::test]
    async fn slash_commands_come_in_both_forms_and_under_any_name() {
        let receiver = receiver();
        let slash = |command: &str, text: &str| SlashCommand {
            channel: "C1".into(),
            user: "U1".into(),
            user_name: "ann".into(),
            command: command.into(),
            text: text.into(),
            response_url: String::new(),
            trigger: "t".into(),
            group: false,
        };
        for (command, text, expected) in [
            ("/storkit", "status now", "status now"),
            ("/storkit-status", "now", "status now"),
            ("/storkit-STATUS", "", "status"),
            ("/timmy", "status", "status"),
            ("/my-bot", "status", "status"),
            ("/storkit", "", ""),
        ] {
            let incoming = receiver.read(&SlackEvent::Slash(slash(command, text))).unwrap();
            assert_eq!(incoming.act, PersonAct::Said { text: expected.into() }, "{command} {text}");
            assert_eq!((incoming.addressed, incoming.id.as_str()), (Some(Addressed::Slash), "cmd:U1:t"));
        }
        let elsewhere = SlashCommand { channel: "C2".into(), ..slash("/storkit", "status") };
        let group = SlashCommand { group: true, ..elsewhere.clone() };
        assert!(receiver.read(&SlackEvent::Slash(group)).is_some());
        assert!(receiver.read(&SlackEvent::Slash(elsewhere)).is_none());
    }
}
