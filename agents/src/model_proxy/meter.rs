//! Counts the usage that the model's service reports, in tokens and US dollars, from the events of a stream or from a whole message.

use std::{borrow::Cow, fmt, sync::Arc, time::SystemTime};

use parking_lot::Mutex;
use serde::Deserialize;
use tokio::sync::watch;

use super::price::ModelPrice;

/// About how many bytes of text or JSON are a token. Low, so that an estimate is rather too high: it only counts where the agent
/// cut the answer off before its end.
const BYTES_PER_TOKEN: u64 = 3;

/// A line that is longer reports no usage: only content is so long.
const MAX_LINE: usize = 256 * 1024;

/// A whole message that is longer is counted by its length.
const MAX_MESSAGE: usize = 8 * 1024 * 1024;

/// Tokens by how they are paid for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TokenCount {
    pub input: u64,
    pub output: u64,
    /// Written to the cache for five minutes, and for an hour.
    pub cache_write: u64,
    pub cache_write_1h: u64,
    pub cache_read: u64,
    /// Searches of the web that the service ran.
    pub searches: u64,
    /// Whether the service ran the model in its faster, dearer way.
    pub fast: bool,
}

/// A run's spending by the service's own count.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ModelSpending {
    pub usd: f64,
    /// All that was read, the cache included.
    pub input_tokens: u64,
    pub output_tokens: u64,
}

/// The purpose of a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetScope {
    Run,
    /// One prompt in a chat room, with all that follows from it.
    Turn,
    /// All chat rooms together.
    Day,
}

/// US dollars that may be spent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SpendingBudget {
    pub scope: BudgetScope,
    pub usd: f64,
}

/// Counts what the model's service reports, for one run or for one chat room, and knows when a budget is spent.
#[derive(Debug, Default)]
pub struct SpendingMeter {
    spent: Mutex<ModelSpending>,
    limit: Mutex<Option<SpendingLimit>>,
    /// Counts the same spending, and its budget holds, too.
    above: Option<Arc<SpendingMeter>>,
    refused: watch::Sender<Option<SpendingBudget>>,
    /// When the service's own limit is lifted, while it holds.
    limit_ends: Mutex<Option<SystemTime>>,
}

#[derive(Clone, Copy, Debug)]
struct SpendingLimit {
    budget: SpendingBudget,
    /// Of everything that this meter has counted.
    stops_at_usd: f64,
}

impl SpendingMeter {
    /// A meter whose spending counts for `above` as well.
    pub fn below(above: Arc<SpendingMeter>) -> Self {
        Self { above: Some(above), ..Self::default() }
    }

    /// From now on so much of the budget is left. Refusals are forgotten.
    pub fn begin(&self, budget: Option<SpendingBudget>, left_usd: f64) {
        let stops_at_usd = self.spent.lock().usd + left_usd;
        *self.limit.lock() = budget.map(|budget| SpendingLimit { budget, stops_at_usd });
        self.refused.send_replace(None);
    }

    /// Everything since the meter was made.
    pub fn spending(&self) -> ModelSpending {
        *self.spent.lock()
    }

    /// The budget that is spent, its own before the one above.
    pub fn spent_budget(&self) -> Option<SpendingBudget> {
        let limit = *self.limit.lock();
        let own = limit.filter(|limit| self.spent.lock().usd >= limit.stops_at_usd);
        own.map(|limit| limit.budget).or_else(|| self.above.as_ref()?.spent_budget())
    }

    pub(super) fn note_refusal(&self, budget: SpendingBudget) {
        self.refused.send_replace(Some(budget));
    }

    /// The budget because of which a request was refused.
    pub fn refusal(&self) -> Option<SpendingBudget> {
        *self.refused.borrow()
    }

    /// Waits until a request is refused because a budget is spent.
    pub async fn refused(&self) {
        // The sender lives as long as `self`.
        let _ = self.refused.subscribe().wait_for(Option::is_some).await;
    }

    /// The service refused a request because of its own limit, until this time; or it took one (`None`).
    pub(super) fn set_limit_ends(&self, ends: Option<SystemTime>) {
        *self.limit_ends.lock() = ends;
    }

    /// When the service's own limit is lifted, if it named a time with its last refusal.
    pub fn limit_ends(&self) -> Option<SystemTime> {
        *self.limit_ends.lock()
    }

    fn add(&self, tokens: TokenCount, usd: f64) {
        if let Some(above) = &self.above {
            above.add(tokens, usd);
        }
        let mut spent = self.spent.lock();
        spent.usd += usd;
        spent.input_tokens += tokens.input + tokens.cache_write + tokens.cache_write_1h + tokens.cache_read;
        spent.output_tokens += tokens.output;
    }
}

/// As the agent reads it.
impl fmt::Display for SpendingBudget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let usd = self.usd;
        match self.scope {
            BudgetScope::Run => write!(f, "storkit stopped this run: its budget of ${usd:.2} is spent."),
            BudgetScope::Turn => write!(f, "storkit stopped this turn: its budget of ${usd:.2} is spent."),
            BudgetScope::Day => write!(
                f,
                "storkit stopped this turn: today's budget of ${usd:.2} for all chat rooms is spent."
            ),
        }
    }
}

/// The cost of one request. It is settled when this is dropped: after the answer, or when the agent cut it off.
#[derive(Debug)]
pub(super) struct RequestCost {
    meter: Arc<SpendingMeter>,
    /// As the request names it, until the answer does.
    model: String,
    request_bytes: u64,
    tokens: TokenCount,
    /// Whether the service has reported what it read, and what it wrote to the end.
    has_input: bool,
    has_output: bool,
    answer_bytes: u64,
    /// Whether the service took the request; a refused one costs nothing.
    counts: bool,
}

impl RequestCost {
    pub(super) fn new(meter: Arc<SpendingMeter>, model: String, request_bytes: usize) -> Self {
        Self {
            meter,
            model,
            request_bytes: request_bytes as u64,
            tokens: TokenCount::default(),
            has_input: false,
            has_output: false,
            answer_bytes: 0,
            // Until the service answers: an agent that goes away before would else read for nothing.
            counts: true,
        }
    }

    /// The service refused the request, or could not be reached.
    pub(super) fn is_free(&mut self) {
        self.counts = false;
    }

    fn report(&mut self, usage: &Usage, is_end: bool) {
        usage.count_into(&mut self.tokens);
        self.has_input = true;
        self.has_output |= is_end;
    }
}

impl Drop for RequestCost {
    fn drop(&mut self) {
        if !self.counts {
            return;
        }
        let estimate = |bytes: u64| bytes.div_ceil(BYTES_PER_TOKEN);
        if !self.has_input {
            self.tokens.input = estimate(self.request_bytes);
        }
        if !self.has_output {
            self.tokens.output = self.tokens.output.max(estimate(self.answer_bytes));
        }
        self.meter.add(self.tokens, ModelPrice::of(&self.model).usd(&self.tokens));
    }
}

/// Reads an answer as it passes by.
#[derive(Debug)]
pub(super) struct AnswerReader {
    cost: RequestCost,
    form: MeteredAnswer,
}

#[derive(Debug)]
enum MeteredAnswer {
    /// Server-sent events; the beginning of a line, and whether its rest is skipped.
    Events { line: Vec<u8>, skips: bool },
    /// One JSON message, as far as it came.
    Message(Vec<u8>),
}

impl AnswerReader {
    pub(super) fn events(cost: RequestCost) -> Self {
        Self { cost, form: MeteredAnswer::Events { line: Vec::new(), skips: false } }
    }

    pub(super) fn message(cost: RequestCost) -> Self {
        Self { cost, form: MeteredAnswer::Message(Vec::new()) }
    }

    pub(super) fn read(&mut self, bytes: &[u8]) {
        match &mut self.form {
            MeteredAnswer::Events { line, skips } => {
                for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                    let ends = piece.ends_with(b"\n");
                    *skips |= line.len() + piece.len() > MAX_LINE;
                    match *skips {
                        true => {
                            self.cost.answer_bytes += (line.len() + piece.len()) as u64;
                            line.clear();
                        }
                        false => line.extend_from_slice(piece),
                    }
                    if ends {
                        if !*skips {
                            read_event(&mut self.cost, line);
                        }
                        line.clear();
                        *skips = false;
                    }
                }
            }
            MeteredAnswer::Message(text) => {
                self.cost.answer_bytes += bytes.len() as u64;
                if text.len() + bytes.len() <= MAX_MESSAGE {
                    text.extend_from_slice(bytes);
                }
            }
        }
    }

    fn finish(&mut self) {
        match &mut self.form {
            MeteredAnswer::Events { line, .. } => read_event(&mut self.cost, &std::mem::take(line)),
            MeteredAnswer::Message(text) => {
                if let Ok(MeteredMessage { model, usage: Some(usage) }) = serde_json::from_slice(text) {
                    self.cost.note_model(model);
                    self.cost.report(&usage, true);
                }
            }
        }
    }
}

impl Drop for AnswerReader {
    // The end of an answer whose length is known is not always asked for.
    fn drop(&mut self) {
        self.finish();
    }
}

impl RequestCost {
    fn note_model(&mut self, model: Option<Cow<'_, str>>) {
        if let Some(model) = model {
            self.model = model.into_owned();
        }
    }
}

fn read_event(cost: &mut RequestCost, line: &[u8]) {
    let Some(data) = line.strip_prefix(b"data:") else { return };
    let Ok(event) = serde_json::from_slice::<MeteredEvent>(data) else { return };
    match event.kind.as_ref() {
        "message_start" => {
            if let Some(MeteredMessage { model, usage: Some(usage) }) = event.message {
                cost.note_model(model);
                cost.report(&usage, false);
            }
        }
        "message_delta" => {
            if let Some(usage) = event.usage {
                cost.report(&usage, true);
            }
        }
        _ => {
            let pieces = event.delta.unwrap_or_default();
            let pieces = [pieces.text, pieces.partial_json, pieces.thinking];
            cost.answer_bytes += pieces.iter().flatten().map(|piece| piece.len() as u64).sum::<u64>();
        }
    }
}

#[derive(Deserialize)]
struct MeteredEvent<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    message: Option<MeteredMessage<'a>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(borrow, default)]
    delta: Option<Delta<'a>>,
}

#[derive(Deserialize)]
struct MeteredMessage<'a> {
    #[serde(borrow, default)]
    model: Option<Cow<'a, str>>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Default, Deserialize)]
struct Delta<'a> {
    #[serde(borrow, default)]
    text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    partial_json: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    thinking: Option<Cow<'a, str>>,
}

/// Of a message's start and, cumulative, of its end; absent numbers stay as they were.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Usage {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation: Option<CacheCreation>,
    server_tool_use: Option<ServerToolUse>,
    speed: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct CacheCreation {
    ephemeral_1h_input_tokens: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ServerToolUse {
    web_search_requests: Option<u64>,
}

impl Usage {
    fn count_into(&self, tokens: &mut TokenCount) {
        tokens.input = self.input_tokens.unwrap_or(tokens.input);
        tokens.output = self.output_tokens.unwrap_or(tokens.output);
        tokens.cache_read = self.cache_read_input_tokens.unwrap_or(tokens.cache_read);
        if let Some(written) = self.cache_creation_input_tokens {
            let for_an_hour = self.cache_creation.as_ref().map_or(0, |made| made.ephemeral_1h_input_tokens);
            tokens.cache_write_1h = for_an_hour.min(written);
            tokens.cache_write = written - tokens.cache_write_1h;
        }
        let searches = self.server_tool_use.as_ref().and_then(|used| used.web_search_requests);
        tokens.searches = searches.unwrap_or(tokens.searches);
        tokens.fast |= self.speed.as_deref() == Some("fast");
    }
}
