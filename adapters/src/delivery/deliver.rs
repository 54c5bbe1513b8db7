//! Sends a message of any length: splits it, puts choices where they belong, waits out limits, retries.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use futures::future::BoxFuture;

use super::backoff::Backoff;
use crate::{
    Adapter, AdapterError, Attachment, Choice, ChoiceForm, MessageId, Outgoing, Room,
    text::{markdown, split::split},
};

// More parts than this become a file, where the messenger has files: a wall of messages buries the chat.
const MOST_PARTS: usize = 5;
const FILE_NAME: &str = "answer.md";
const FILE_NOTICE: &str = "\n\n… the whole text is in `answer.md`";
// Shown by a part whose text became shorter. Not deleted, since no messenger has to be able to delete.
const EMPTIED: &str = "…";

const RATE_LIMIT_TRIES: u32 = 10;
const UNREACHABLE_TRIES: u32 = 5;
const RETRY: Backoff = Backoff::doubling(Duration::from_millis(500), Duration::from_secs(8));

/// A message that is shown in the room: one or more parts, which [`show_frame`] and [`update`] change.
#[derive(Clone, Debug, Default)]
pub struct PostedMessage {
    parts: Vec<PostedPart>,
    // The index of the last part with text: a text that became shorter leaves emptied parts behind it.
    end: usize,
    /// The last file with the whole text, and the digest of that text.
    file: Option<(MessageId, u64)>,
}

#[derive(Clone, Debug)]
struct PostedPart {
    id: MessageId,
    shows: u64,
}

impl PostedMessage {
    /// The ids of the parts, in reading order, without the file.
    pub fn ids(&self) -> impl Iterator<Item = &MessageId> {
        self.parts.iter().map(|part| &part.id)
    }

    /// The last part with text, which carries the choices.
    pub fn last(&self) -> Option<&MessageId> {
        self.parts.get(self.end).map(|part| &part.id)
    }
}

/// Sends `message`, in parts if it is long, and returns the ids of all that was sent; the last one is the
/// message that carries the choices.
///
/// A text of over five parts becomes a file and one message with its beginning, where files can be sent. What
/// cannot be picked here is named in the text. Waits out rate limits (10 tries) and unreachability (5 tries), then fails with
/// the adapter's last error; parts sent before it stay in the room.
pub async fn deliver(
    adapter: &dyn Adapter,
    room: &Room,
    message: &Outgoing,
) -> Result<Vec<MessageId>, AdapterError> {
    let posted = post(adapter, room, message).await?;
    let file = posted.file.into_iter().map(|(id, _)| id);
    Ok(file.chain(posted.parts.into_iter().map(|part| part.id)).collect())
}

/// Like [`deliver`], for a message that will change.
pub async fn post(
    adapter: &dyn Adapter,
    room: &Room,
    message: &Outgoing,
) -> Result<PostedMessage, AdapterError> {
    post_watched(adapter, room, message, &|_| {}).await
}

/// Like [`post`]; calls `on_retry` before each wait for another try.
pub async fn post_watched(
    adapter: &dyn Adapter,
    room: &Room,
    message: &Outgoing,
    on_retry: OnRetry<'_>,
) -> Result<PostedMessage, AdapterError> {
    let mut posted = PostedMessage::default();
    show(adapter, room, &mut posted, message, on_retry).await?;
    Ok(posted)
}

/// Makes `posted` show the whole of `message`: edits the parts that differ, sends the ones that are missing.
/// Waits and retries as [`deliver`]; use it for the final state. After an error `posted` still describes what the room shows,
/// so the call may be repeated.
pub async fn update(
    adapter: &dyn Adapter,
    room: &Room,
    posted: &mut PostedMessage,
    message: &Outgoing,
) -> Result<(), AdapterError> {
    if adapter.capabilities().edit.is_none() {
        return Err(AdapterError::Unsupported("editing a message"));
    }
    show(adapter, room, posted, message, &|_| {}).await
}

/// Makes `posted` show a passing state of a message that still grows: one try for each part, no waiting, at
/// most five parts of the beginning, never a file. Fails at once, on rate limits too: a later frame will be the better one to
/// show. After the last frame call [`update`], which shows all.
pub async fn show_frame(
    adapter: &dyn Adapter,
    room: &Room,
    posted: &mut PostedMessage,
    message: &Outgoing,
) -> Result<(), AdapterError> {
    if adapter.capabilities().edit.is_none() {
        return Err(AdapterError::Unsupported("editing a message"));
    }
    let (message, answers) = fit_choices(adapter, message);
    let mut texts = parts_of(adapter, &format!("{}{answers}", message.markdown));
    texts.truncate(MOST_PARTS);
    show_parts(adapter, room, posted, &message, texts, RetryBudget::None).await
}

/// Is told why a message is not there yet.
pub type OnRetry<'a> = &'a (dyn Fn(&AdapterError) + Send + Sync);

#[derive(Clone, Copy)]
enum RetryBudget<'a> {
    None,
    Full(OnRetry<'a>),
}

type Attempt<'a, T> = BoxFuture<'a, Result<T, AdapterError>>;

async fn show(
    adapter: &dyn Adapter,
    room: &Room,
    posted: &mut PostedMessage,
    message: &Outgoing,
    on_retry: OnRetry<'_>,
) -> Result<(), AdapterError> {
    let (message, answers) = fit_choices(adapter, message);
    let mut texts = parts_of(adapter, &format!("{}{answers}", message.markdown));
    // A message that was sent in parts stays in parts: a file and an emptied message would be worse to read.
    let as_file = texts.len() > MOST_PARTS && adapter.capabilities().files;
    if as_file && upload_whole(adapter, room, posted, &message.markdown, on_retry).await? {
        let keep = posted.parts.len().clamp(1, MOST_PARTS);
        texts = first_parts(adapter, &message.markdown, keep, &format!("{FILE_NOTICE}{answers}"));
    }
    show_parts(adapter, room, posted, &message, texts, RetryBudget::Full(on_retry)).await
}

/// Sends the whole text as a file; `false` where the messenger refuses it, so that it must go in parts.
async fn upload_whole(
    adapter: &dyn Adapter,
    room: &Room,
    posted: &mut PostedMessage,
    text: &str,
    on_retry: OnRetry<'_>,
) -> Result<bool, AdapterError> {
    let digest = digest(&text);
    if posted.file.as_ref().is_some_and(|(_, sent)| *sent == digest) {
        return Ok(true);
    }
    let caption = "The whole text".to_owned();
    let file = Attachment { name: FILE_NAME.to_owned(), bytes: text.as_bytes().to_vec(), caption };
    let attempt = || -> Attempt<'_, _> { Box::pin(adapter.upload(room, &file)) };
    match retry(attempt, RetryBudget::Full(on_retry)).await {
        Ok(id) => {
            posted.file = Some((id, digest));
            Ok(true)
        }
        // For example, an administrator has disabled uploads. Many parts are still better than a lost answer.
        Err(error @ (AdapterError::Rejected(_) | AdapterError::Unsupported(_))) => {
            tracing::warn!(%room, %error, "the file was refused, sending all parts instead");
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

async fn show_parts(
    adapter: &dyn Adapter,
    room: &Room,
    posted: &mut PostedMessage,
    message: &Outgoing,
    mut texts: Vec<String>,
    patience: RetryBudget<'_>,
) -> Result<(), AdapterError> {
    let last = texts.len() - 1;
    // Parts that the shorter text no longer needs must not show their old text.
    let emptied = posted.parts.len().saturating_sub(texts.len());
    texts.extend(std::iter::repeat_n(EMPTIED.to_owned(), emptied));
    for (index, text) in texts.into_iter().enumerate() {
        let replies = index == 0 || adapter.capabilities().private_replies;
        let part = part_of(message, text, replies, index == last);
        show_part(adapter, room, posted, index, part, patience).await?;
    }
    posted.end = last;
    Ok(())
}

async fn show_part(
    adapter: &dyn Adapter,
    room: &Room,
    posted: &mut PostedMessage,
    index: usize,
    part: Outgoing,
    patience: RetryBudget<'_>,
) -> Result<(), AdapterError> {
    let shows = digest(&(&part.markdown, part.tone as u8, choice_texts(&part.choices), part.live));
    match posted.parts.get_mut(index) {
        // An unchanged part costs no call: of a long live message usually only the last part changes.
        Some(before) if before.shows == shows => {}
        Some(before) => {
            let id = before.id.clone();
            retry(|| -> Attempt<'_, _> { Box::pin(adapter.edit(room, &id, &part)) }, patience).await?;
            before.shows = shows;
        }
        None => {
            let id = retry(|| -> Attempt<'_, _> { Box::pin(adapter.send(room, &part)) }, patience).await?;
            posted.parts.push(PostedPart { id, shows });
        }
    }
    Ok(())
}

// The reply goes with the first part, choices and mentions with the last. Where replies are private every part is one, or
// everybody would see the second.
fn part_of(message: &Outgoing, markdown: String, replies: bool, last: bool) -> Outgoing {
    Outgoing {
        markdown,
        tone: message.tone,
        live: message.live,
        reply_to: message.reply_to.clone().filter(|_| replies),
        choices: if last { message.choices.clone() } else { Vec::new() },
        mentions: if last { message.mentions.clone() } else { Vec::new() },
        is_secret: message.is_secret,
    }
}

fn parts_of(adapter: &dyn Adapter, text: &str) -> Vec<String> {
    let mut parts = split(text, adapter.capabilities().max_len, str::len);
    if parts.is_empty() {
        parts.push(text.to_owned());
    }
    parts
}

fn first_parts(adapter: &dyn Adapter, text: &str, keep: usize, ending: &str) -> Vec<String> {
    let max = adapter.capabilities().max_len.saturating_sub(ending.len());
    let mut parts = split(text, max, str::len);
    parts.truncate(keep);
    if let Some(last) = parts.last_mut() {
        last.push_str(ending);
    }
    parts
}

/// The message without choices that the messenger cannot show, and the text that names those instead.
fn fit_choices(adapter: &dyn Adapter, message: &Outgoing) -> (Outgoing, String) {
    let fits = match adapter.capabilities().choices {
        ChoiceForm::None => message.choices.is_empty(),
        ChoiceForm::Buttons { max } => message.choices.len() <= max,
        ChoiceForm::Numbers | ChoiceForm::Reactions => true,
    };
    let mut message = message.clone();
    let answers = if fits { String::new() } else { format!("\n\n{}", answer_line(&message.choices)) };
    if !fits {
        message.choices.clear();
    }
    (message, answers)
}

fn answer_line(choices: &[Choice]) -> String {
    let keys: Vec<_> = choices.iter().map(|choice| markdown::code_span(&choice.key)).collect();
    format!("Answer with: {}", keys.join(", "))
}

fn choice_texts(choices: &[Choice]) -> Vec<(&str, &str)> {
    choices.iter().map(|choice| (choice.key.as_str(), choice.label.as_str())).collect()
}

fn digest(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

async fn retry<'a, T>(
    attempt: impl Fn() -> Attempt<'a, T>,
    patience: RetryBudget<'_>,
) -> Result<T, AdapterError> {
    let (mut limited, mut backoff) = (0, RETRY);
    loop {
        let (error, on_retry) = match (attempt().await, patience) {
            (Ok(value), _) => return Ok(value),
            // A frame is out of date by the time a retry would send it.
            (Err(error), RetryBudget::None) => return Err(error),
            (Err(error), RetryBudget::Full(on_retry)) => (error, on_retry),
        };
        let wait = match &error {
            // The service names the wait, so these tries do not count against the backoff for an unreachable one.
            AdapterError::RateLimited { retry_after } => {
                limited += 1;
                (limited < RATE_LIMIT_TRIES).then_some(*retry_after)
            }
            AdapterError::Unreachable(_) => {
                let delay = backoff.next_delay();
                (backoff.failures() < UNREACHABLE_TRIES).then_some(delay)
            }
            AdapterError::Unsupported(_) | AdapterError::Config { .. } | AdapterError::Rejected(_) => None,
        };
        let Some(wait) = wait else { return Err(error) };
        tracing::debug!(%error, wait_ms = wait.as_millis(), "will be tried again");
        on_retry(&error);
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::time::Instant;

    use super::*;
    use crate::{
        Capabilities, Tone,
        testing::fake::{Fake, FakeRoom},
    };

    fn narrow(capabilities: impl FnOnce(&mut Capabilities)) -> (Arc<Fake>, FakeRoom) {
        let mut narrow = Capabilities { max_len: 100, ..Fake::new("fake").capabilities() };
        capabilities(&mut narrow);
        let fake = Fake::with("fake", narrow);
        let room = fake.room("1");
        (fake, room)
    }

    fn paragraphs(count: usize) -> String {
        (1..=count).map(|n| format!("Paragraph {n} {}.\n\n", "is long ".repeat(8))).collect()
    }

    fn question(text: &str, keys: &[&str]) -> Outgoing {
        let choice = |key: &&str| Choice { key: (*key).into(), label: key.to_uppercase(), emoji: None };
        Outgoing {
            choices: keys.iter().map(choice).collect(),
            ..Outgoing::text(text).with_tone(Tone::Question)
        }
    }

    fn texts(room: &FakeRoom) -> Vec<String> {
        room.shown().into_iter().map(|shown| shown.text).collect()
    }

    #[tokio::test]
    async fn every_part_of_a_reply_that_may_be_private_is_one() {
        for private in [false, true] {
            let (fake, room) = narrow(|it| it.private_replies = private);
            let message = Outgoing::text(paragraphs(3)).replying_to(Some(MessageId::new("cmd")));
            deliver(&*fake, room.room(), &message).await.expect("delivered");
            let replies: Vec<bool> = room.shown().iter().map(|shown| shown.reply_to.is_some()).collect();
            assert_eq!(replies, [true, private, private]);
        }
    }

    #[tokio::test]
    async fn a_long_message_replies_with_its_first_part_and_asks_with_its_last() {
        let (fake, room) = narrow(|_| {});
        let message = Outgoing {
            reply_to: Some(MessageId::new("asked")),
            mentions: vec!["ann".into()],
            ..question(&paragraphs(3), &["yes", "no"])
        };
        let ids = deliver(&*fake, room.room(), &message).await.expect("delivered");
        let shown = room.shown();
        assert_eq!(ids, shown.iter().map(|shown| shown.id.clone()).collect::<Vec<_>>());
        let replies: Vec<_> = shown.iter().map(|shown| shown.reply_to.is_some()).collect();
        let choices: Vec<_> = shown.iter().map(|shown| shown.choices.len()).collect();
        let mentions: Vec<_> = shown.iter().map(|shown| shown.mentions.len()).collect();
        assert_eq!((replies, choices, mentions), (vec![true, false, false], vec![0, 0, 2], vec![0, 0, 1]));
        assert_eq!(texts(&room).join("\n\n"), paragraphs(3).trim_end());
    }

    #[tokio::test]
    async fn choices_that_cannot_be_shown_are_named_by_their_keys() {
        let (fake, room) = narrow(|it| it.choices = ChoiceForm::None);
        deliver(&*fake, room.room(), &question("Run it?", &["yes", "no"])).await.expect("delivered");
        let (fake, few) = narrow(|it| it.choices = ChoiceForm::Buttons { max: 2 });
        deliver(&*fake, few.room(), &question("Which?", &["a", "b", "c"])).await.expect("delivered");
        deliver(&*fake, few.room(), &question("Which?", &["a", "b"])).await.expect("delivered");
        insta::assert_snapshot!(format!("{}---\n{}", room.transcript(), few.transcript()), @r"
        bot (question): Run it?

        Answer with: `yes`, `no`
        ---
        bot (question): Which?

        Answer with: `a`, `b`, `c`
        bot (question): Which? [A] [B]
        ");
    }

    #[tokio::test]
    async fn more_than_five_parts_become_a_file_and_the_beginning() {
        let (fake, room) = narrow(|it| it.choices = ChoiceForm::None);
        let ids = deliver(&*fake, room.room(), &question(&paragraphs(6), &["y"])).await.expect("delivered");
        assert_eq!(room.uploads().len(), 1);
        assert_eq!(room.uploads()[0].bytes, paragraphs(6).as_bytes());
        assert_eq!(ids.len(), 2);
        assert_eq!(ids.last(), Some(&room.shown()[0].id));
        insta::assert_snapshot!(room.transcript(), @r"
        bot (file): answer.md, 474 bytes
        bot (question): Paragraph 1 is long is long is long is long

        … the whole text is in `answer.md`

        Answer with: `y`
        ");
    }

    #[tokio::test]
    async fn without_files_or_when_the_file_is_refused_all_parts_are_sent() {
        let (fake, room) = narrow(|it| it.files = false);
        deliver(&*fake, room.room(), &Outgoing::text(paragraphs(7))).await.expect("delivered");
        assert_eq!(room.shown().len(), 7);
        let (fake, room) = narrow(|_| {});
        fake.fail_next_upload(AdapterError::Rejected("no files today".into()));
        deliver(&*fake, room.room(), &Outgoing::text(paragraphs(7))).await.expect("delivered");
        assert_eq!((room.shown().len(), room.uploads().len()), (7, 0));
    }

    #[tokio::test]
    async fn a_message_without_text_is_still_sent() {
        let (fake, room) = narrow(|_| {});
        deliver(&*fake, room.room(), &question("", &["yes"])).await.expect("delivered");
        assert_eq!(room.shown()[0].choices.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_limit_is_waited_out_as_told_but_not_for_ever() {
        let (fake, room) = narrow(|_| {});
        fake.rate_limit_next(Duration::from_secs(30));
        let begin = Instant::now();
        deliver(&*fake, room.room(), &Outgoing::text("hi")).await.expect("delivered");
        assert_eq!((begin.elapsed().as_secs(), fake.sends()), (30, 1));

        let limited = || AdapterError::RateLimited { retry_after: Duration::from_secs(1) };
        (0..10).for_each(|_| fake.fail_next_send(limited()));
        let refused = deliver(&*fake, room.room(), &Outgoing::text("hi")).await;
        assert!(matches!(refused, Err(AdapterError::RateLimited { .. })));
        deliver(&*fake, room.room(), &Outgoing::text("ten tries were made")).await.expect("delivered");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_unreachable_is_tried_five_times_and_what_is_rejected_once() {
        let (fake, room) = narrow(|_| {});
        let gone = || AdapterError::Unreachable("gone".into());
        (0..4).for_each(|_| fake.fail_next_send(gone()));
        let begin = Instant::now();
        deliver(&*fake, room.room(), &Outgoing::text("hi")).await.expect("the fifth try arrives");
        assert_eq!(begin.elapsed().as_millis(), 500 + 1000 + 2000 + 4000);

        (0..5).for_each(|_| fake.fail_next_send(gone()));
        let refused = deliver(&*fake, room.room(), &Outgoing::text("hi")).await;
        assert!(matches!(refused, Err(AdapterError::Unreachable(_))));
        fake.fail_next_send(AdapterError::Rejected("no".into()));
        let refused = deliver(&*fake, room.room(), &Outgoing::text("hi")).await;
        assert!(matches!(refused, Err(AdapterError::Rejected(_))));
        assert_eq!(fake.sends(), 1);
    }

    #[tokio::test]
    async fn a_growing_message_edits_its_parts_and_sends_only_new_ones() {
        let (fake, room) = narrow(|_| {});
        let mut posted = post(&*fake, room.room(), &Outgoing::text("…")).await.expect("posted");
        for count in 1..=3 {
            let text = Outgoing::text(paragraphs(count));
            show_frame(&*fake, room.room(), &mut posted, &text).await.expect("shown");
            assert_eq!(texts(&room).join("\n\n"), paragraphs(count).trim_end());
        }
        assert_eq!((fake.sends(), fake.edits()), (3, 1));
        assert_eq!(posted.last(), Some(&room.shown()[2].id));
    }

    #[tokio::test]
    async fn choices_move_to_the_last_part_and_go_when_they_are_decided() {
        let (fake, room) = narrow(|_| {});
        let mut posted = post(&*fake, room.room(), &question("Run?", &["yes"])).await.expect("posted");
        update(&*fake, room.room(), &mut posted, &question(&paragraphs(2), &["yes"])).await.expect("shown");
        let choices = || room.shown().iter().map(|shown| shown.choices.len()).collect::<Vec<_>>();
        assert_eq!(choices(), [0, 1]);
        update(&*fake, room.room(), &mut posted, &Outgoing::text("allowed")).await.expect("shown");
        assert_eq!(choices(), [0, 0]);
        assert_eq!(texts(&room), ["allowed", "…"]);
        assert_eq!(posted.last(), Some(&room.shown()[0].id));
    }

    #[tokio::test(start_paused = true)]
    async fn frames_never_wait_nor_send_files_and_the_update_brings_all() {
        let (fake, room) = narrow(|_| {});
        let mut posted = post(&*fake, room.room(), &Outgoing::text("…")).await.expect("posted");
        let long = Outgoing::text(paragraphs(8));
        fake.rate_limit_next(Duration::from_secs(3));
        let limited = show_frame(&*fake, room.room(), &mut posted, &long).await;
        assert!(matches!(limited, Err(AdapterError::RateLimited { .. })));
        show_frame(&*fake, room.room(), &mut posted, &long).await.expect("shown");
        assert_eq!((room.shown().len(), room.uploads().len()), (5, 0));

        fake.rate_limit_next(Duration::from_secs(3));
        update(&*fake, room.room(), &mut posted, &long).await.expect("shown");
        update(&*fake, room.room(), &mut posted, &long).await.expect("shown");
        assert_eq!((room.shown().len(), room.uploads().len()), (5, 1));
        assert!(texts(&room)[4].ends_with("`answer.md`"));
    }

    #[tokio::test]
    async fn the_last_state_is_told_even_where_its_text_is_that_of_the_last_frame() {
        let (fake, room) = narrow(|_| {});
        let frame = Outgoing { live: true, ..Outgoing::text("load 1") };
        let mut posted = post(&*fake, room.room(), &frame).await.expect("posted");
        update(&*fake, room.room(), &mut posted, &Outgoing::text("load 1")).await.expect("shown");
        assert_eq!(room.shown()[0].edits, 1);
    }

    #[tokio::test]
    async fn a_failed_update_can_be_repeated_without_doubling_parts() {
        let (fake, room) = narrow(|_| {});
        let mut posted = post(&*fake, room.room(), &Outgoing::text("…")).await.expect("posted");
        fake.fail_next_send(AdapterError::Rejected("not now".into()));
        let text = Outgoing::text(paragraphs(2));
        update(&*fake, room.room(), &mut posted, &text).await.expect_err("the second part is refused");
        update(&*fake, room.room(), &mut posted, &text).await.expect("shown");
        assert_eq!(texts(&room).join("\n\n"), paragraphs(2).trim_end());
    }

    #[tokio::test]
    async fn where_nothing_can_be_edited_an_update_says_so() {
        let fake = Fake::plain("plain");
        let room = fake.room("1");
        let mut posted = post(&*fake, room.room(), &Outgoing::text("a")).await.expect("posted");
        let refused = update(&*fake, room.room(), &mut posted, &Outgoing::text("b")).await;
        assert!(matches!(refused, Err(AdapterError::Unsupported(_))));
    }
}
