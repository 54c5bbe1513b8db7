//! Scripts: rules that match a prompt, each with a list of answers, one per position in the turn.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::sync::watch;

use super::conversation::ModelConversation;

/// Ordered rules; the first that matches answers. Steps that are added before the first rule answer all other prompts;
/// without such steps the answer is `You said: {prompt}`.
///
/// In texts and in the inputs of tools, `{prompt}`, `{number}` (the first one in the prompt), `{history}` (the earlier
/// prompts, one per line), `{last_tool_result}` and `{plan_file}` are filled in.
/// ```
/// use scripted_model::ModelScript;
/// use serde_json::json;
/// ModelScript::new()
///     .on("make a file").calls("Bash", json!({"command": "touch made"})).then_says("Result: {last_tool_result}")
///     .on("hello").says("Good morning.");
/// ```
pub struct ModelScript {
    fallback: ScriptRule,
    rules: Vec<ScriptRule>,
}

/// An API error instead of an answer, for the first requests that reach this point of the script.
#[derive(Debug, Clone)]
pub struct ApiFailure {
    pub(super) status: u16,
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) retry_after: Option<u64>,
    left: ErrorCountdown,
}

/// Holds an answer at one place until a test opens it.
#[derive(Debug, Clone)]
pub struct AnswerGate {
    state: Arc<watch::Sender<GateState>>,
}

#[derive(Debug, Default)]
struct GateState {
    reached: usize,
    open: bool,
}

/// The reply to a request.
#[derive(Debug)]
pub enum ModelReply {
    Error(ApiFailure),
    Message(Vec<ReplyPart>),
}

/// A part of an API message. Parts are played in order.
#[derive(Debug, Clone)]
pub enum ReplyPart {
    Say { text: String, pause: Duration },
    Call { tool: String, input: Value },
    Wait(AnswerGate),
    Cut(ErrorCountdown),
    Break { kind: String, left: ErrorCountdown },
}

/// How many more requests an error affects; shared by its clones.
#[derive(Debug, Clone)]
pub struct ErrorCountdown(Arc<AtomicUsize>);

/// One API message: errors first, then its parts.
#[derive(Default)]
struct ScriptedAnswer {
    failures: Vec<ApiFailure>,
    parts: Vec<ReplyPart>,
}

/// Gets the words to match, and the whole conversation.
type Condition = dyn Fn(&str, &ModelConversation) -> bool + Send + Sync;

struct ScriptRule {
    condition: Box<Condition>,
    answers: Vec<ScriptedAnswer>,
}

impl Default for ModelScript {
    fn default() -> Self {
        Self { fallback: ScriptRule::new(|_, _| true), rules: Vec::new() }
    }
}

impl ModelScript {
    /// A script without rules.
    pub fn new() -> Self {
        Self::default()
    }

    /// A rule for prompts that contain these words, in any case.
    pub fn on(self, words: &str) -> Self {
        let words = words.to_lowercase();
        self.rule(ScriptRule::new(move |prompt, _| prompt.to_lowercase().contains(&words)))
    }

    /// A rule for prompts that begin with these words, in any case.
    pub fn on_start(self, words: &str) -> Self {
        let words = words.to_lowercase();
        self.rule(ScriptRule::new(move |prompt, _| prompt.to_lowercase().starts_with(&words)))
    }

    /// A rule with any condition.
    pub fn when(self, condition: impl Fn(&ModelConversation) -> bool + Send + Sync + 'static) -> Self {
        self.rule(ScriptRule::new(move |_, conversation| condition(conversation)))
    }

    /// Adds text to the current answer.
    pub fn says(self, text: impl Into<String>) -> Self {
        self.drips(text, Duration::ZERO)
    }

    /// Adds text that is streamed word by word with a pause after each.
    pub fn drips(self, text: impl Into<String>, pause: Duration) -> Self {
        self.part(ReplyPart::Say { text: text.into(), pause })
    }

    /// Adds a tool call to the current answer; an answer may have several.
    pub fn calls(self, tool: impl Into<String>, input: Value) -> Self {
        self.part(ReplyPart::Call { tool: tool.into(), input })
    }

    /// Holds the current answer here, after streaming what precedes, until the gate is open.
    pub fn waits_for(self, gate: &AnswerGate) -> Self {
        self.part(ReplyPart::Wait(gate.clone()))
    }

    /// Cuts the connection here, for the first `times` streamed requests that reach this point. Requests without streaming are
    /// not cut: they are the CLI's last attempt.
    pub fn cuts_the_stream(self, times: usize) -> Self {
        self.part(ReplyPart::Cut(ErrorCountdown::new(times)))
    }

    /// Breaks off the stream here with an `error` event, for the first `times` streamed requests.
    pub fn breaks_the_stream(self, kind: impl Into<String>, times: usize) -> Self {
        self.part(ReplyPart::Break { kind: kind.into(), left: ErrorCountdown::new(times) })
    }

    /// Answers with an error before the current answer.
    pub fn fails(mut self, failure: ApiFailure) -> Self {
        self.current_answer().failures.push(failure);
        self
    }

    /// Begins the next answer of the turn: the one to the results of the current answer's tool calls.
    pub fn then(mut self) -> Self {
        self.current_answer();
        self.current_rule().answers.push(ScriptedAnswer::default());
        self
    }

    pub fn then_says(self, text: impl Into<String>) -> Self {
        self.then().says(text)
    }

    pub fn then_drips(self, text: impl Into<String>, pause: Duration) -> Self {
        self.then().drips(text, pause)
    }

    pub fn then_calls(self, tool: impl Into<String>, input: Value) -> Self {
        self.then().calls(tool, input)
    }

    /// The reply to this conversation. Each call uses up one error, if one is due.
    pub fn reply(&self, conversation: &ModelConversation, side: bool) -> ModelReply {
        // A request for a title, for example, must not use up an error of the script.
        if side {
            return ModelReply::Message(vec![ReplyPart::Say {
                text: "Scripted session".into(),
                pause: Duration::ZERO,
            }]);
        }
        let Some(answer) = self.rule_for(conversation).answers.get(conversation.position) else {
            return ModelReply::Message(vec![default_part(conversation)]);
        };
        if let Some(failure) = answer.failures.iter().find(|failure| failure.left.take()) {
            return ModelReply::Error(failure.clone());
        }
        if answer.parts.is_empty() {
            return ModelReply::Message(vec![default_part(conversation)]);
        }
        ModelReply::Message(answer.parts.iter().map(|part| part.filled(conversation)).collect())
    }

    fn rule_for(&self, conversation: &ModelConversation) -> &ScriptRule {
        // A relay may put names and earlier messages before the person's words, so rules match the last line first.
        let prompt = conversation.prompt.as_str();
        [conversation.last_line(), prompt]
            .into_iter()
            .find_map(|words| self.rules.iter().find(|rule| (rule.condition)(words, conversation)))
            .unwrap_or(&self.fallback)
    }

    fn rule(mut self, rule: ScriptRule) -> Self {
        self.rules.push(rule);
        self
    }

    fn part(mut self, part: ReplyPart) -> Self {
        self.current_answer().parts.push(part);
        self
    }

    fn current_rule(&mut self) -> &mut ScriptRule {
        self.rules.last_mut().unwrap_or(&mut self.fallback)
    }

    fn current_answer(&mut self) -> &mut ScriptedAnswer {
        let answers = &mut self.current_rule().answers;
        if answers.is_empty() {
            answers.push(ScriptedAnswer::default());
        }
        let last = answers.len() - 1;
        &mut answers[last]
    }
}

impl ReplyPart {
    fn filled(&self, conversation: &ModelConversation) -> Self {
        match self {
            Self::Say { text, pause } => Self::Say { text: fill(text, conversation), pause: *pause },
            Self::Call { tool, input } => {
                Self::Call { tool: tool.clone(), input: fill_json(input, conversation) }
            }
            Self::Wait(_) | Self::Cut(_) | Self::Break { .. } => self.clone(),
        }
    }
}

impl ScriptRule {
    fn new(condition: impl Fn(&str, &ModelConversation) -> bool + Send + Sync + 'static) -> Self {
        Self { condition: Box::new(condition), answers: Vec::new() }
    }
}

impl ApiFailure {
    /// An error with this HTTP status and error type, for every request.
    pub fn new(status: u16, kind: impl Into<String>) -> Self {
        let kind = kind.into();
        let message = format!("scripted {kind}");
        Self { status, kind, message, retry_after: None, left: ErrorCountdown::new(usize::MAX) }
    }

    /// 401, as for a wrong key.
    pub fn unauthorized() -> Self {
        Self::new(401, "authentication_error").message("invalid x-api-key")
    }

    /// 429, as for a used-up limit.
    pub fn rate_limited() -> Self {
        Self::new(429, "rate_limit_error").message("This request would exceed your rate limit.")
    }

    /// 529, as for an overloaded service.
    pub fn overloaded() -> Self {
        Self::new(529, "overloaded_error").message("Overloaded")
    }

    /// The text of the error.
    pub fn message(mut self, message: impl Into<String>) -> Self {
        self.message = message.into();
        self
    }

    /// The `retry-after` header, in seconds.
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// For the first `times` requests only; later ones get the answer.
    pub fn times(mut self, times: usize) -> Self {
        self.left = ErrorCountdown::new(times);
        self
    }
}

impl Default for AnswerGate {
    fn default() -> Self {
        Self { state: Arc::new(watch::Sender::new(GateState::default())) }
    }
}

impl AnswerGate {
    /// A gate that is closed at first.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets all answers pass, those that wait and all later ones.
    pub fn open(&self) {
        self.state.send_modify(|state| state.open = true);
    }

    /// Waits until `count` answers have reached the gate.
    pub async fn reached(&self, count: usize) {
        // There is no error: the sender belongs to this gate.
        let _ = self.state.subscribe().wait_for(|state| state.reached >= count).await;
    }

    pub(super) async fn pass(&self) {
        // Counted before the wait, since `reached` reports answers that wait here.
        self.state.send_modify(|state| state.reached += 1);
        let _ = self.state.subscribe().wait_for(|state| state.open).await;
    }
}

impl ErrorCountdown {
    fn new(times: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(times)))
    }

    /// Uses one up; false if none is left. `usize::MAX` is never used up.
    pub fn take(&self) -> bool {
        let less = |left: usize| if left == usize::MAX { Some(left) } else { left.checked_sub(1) };
        self.0.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok()
    }
}

/// For a prompt without a rule, and for a turn with more answers than its rule.
fn default_part(conversation: &ModelConversation) -> ReplyPart {
    let text = match conversation.position {
        0 => "You said: {prompt}",
        _ => "The script of this answer ends here.",
    };
    ReplyPart::Say { text: fill(text, conversation), pause: Duration::ZERO }
}

/// Fills in the placeholders once, so that a `{prompt}` in the person's words stays as it is.
fn fill(text: &str, conversation: &ModelConversation) -> String {
    let values = [
        ("{prompt}", conversation.prompt.clone()),
        ("{number}", conversation.first_number().to_owned()),
        ("{history}", conversation.history.join("\n")),
        ("{last_tool_result}", conversation.last_tool_result().to_owned()),
        ("{plan_file}", conversation.plan_file().unwrap_or_default().to_owned()),
    ];
    let (mut filled, mut rest) = (String::new(), text);
    while let Some(brace) = rest.find('{') {
        filled.push_str(&rest[..brace]);
        rest = &rest[brace..];
        let found = values.iter().find(|(placeholder, _)| rest.starts_with(placeholder));
        let (placeholder, value) =
            found.map_or(("{", "{"), |(placeholder, value)| (*placeholder, value.as_str()));
        filled.push_str(value);
        rest = &rest[placeholder.len()..];
    }
    filled + rest
}

fn fill_json(value: &Value, conversation: &ModelConversation) -> Value {
    match value {
        Value::String(text) => fill(text, conversation).into(),
        Value::Array(items) => items.iter().map(|item| fill_json(item, conversation)).collect(),
        Value::Object(fields) => {
            fields.iter().map(|(name, field)| (name.clone(), fill_json(field, conversation))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::ToolResult, *};

    fn prompt(text: &str) -> ModelConversation {
        ModelConversation { prompt: text.into(), ..ModelConversation::default() }
    }

    fn said(script: &ModelScript, conversation: &ModelConversation) -> String {
        match script.reply(conversation, false) {
            ModelReply::Error(failure) => format!("fails with {}", failure.status),
            ModelReply::Message(parts) => match &parts[0] {
                ReplyPart::Say { text, .. } => text.clone(),
                ReplyPart::Call { tool, .. } => format!("calls {tool}"),
                other => format!("{other:?}"),
            },
        }
    }

    #[test]
    fn the_first_rule_that_fits_answers() {
        let script = ModelScript::new()
            .on("file")
            .says("one")
            .on("make a file")
            .says("two")
            .on_start("plan")
            .says("three");
        assert_eq!(said(&script, &prompt("Make a FILE")), "one");
        assert_eq!(said(&script, &prompt("plan it")), "three");
        assert_eq!(said(&script, &prompt("no plan")), "You said: no plan");
    }

    #[test]
    fn earlier_talk_in_front_of_the_last_line_does_not_choose_the_rule() {
        let script = ModelScript::new()
            .on("make a file")
            .says("file")
            .on("hello")
            .says("hello")
            .on("recent")
            .says("all");
        assert_eq!(said(&script, &prompt("Recent talk:\nann: make a file\n\nben: hello\n")), "hello");
        assert_eq!(said(&script, &prompt("make a file\nplease")), "file");
    }

    #[test]
    fn the_position_in_the_turn_chooses_the_answer() {
        let script = ModelScript::new().on("go").calls("Bash", json!({})).then_says("done").on("x").says("y");
        let at = |position| ModelConversation { position, ..prompt("go") };
        assert_eq!(said(&script, &at(0)), "calls Bash");
        assert_eq!(said(&script, &at(1)), "done");
        assert_eq!(said(&script, &at(2)), "The script of this answer ends here.");
    }

    #[test]
    fn steps_before_the_first_rule_are_for_all_other_prompts() {
        let script = ModelScript::new()
            .says("other")
            .when(|conversation| conversation.history.len() == 1)
            .says("second");
        assert_eq!(said(&script, &prompt("anything")), "other");
        let second = ModelConversation { history: vec!["before".into()], ..prompt("anything") };
        assert_eq!(said(&script, &second), "second");
    }

    #[test]
    fn a_failure_with_a_number_ends_and_one_without_does_not() {
        let failing = |failure| ModelScript::new().on("go").fails(failure).says("well");
        let said = |script: ModelScript| [(); 4].map(|()| said(&script, &prompt("go")));
        let twice = said(failing(ApiFailure::overloaded().times(2)));
        assert_eq!(twice, ["fails with 529", "fails with 529", "well", "well"]);
        assert_eq!(said(failing(ApiFailure::unauthorized())), ["fails with 401"; 4]);
    }

    #[test]
    fn a_condition_may_choose_by_the_result_of_a_tool() {
        let script = ModelScript::new()
            .when(|conversation| conversation.last_call_failed())
            .then_says("It failed.")
            .on("go")
            .calls("Bash", json!({}))
            .then_says("It ran.");
        let after = |is_error| ModelConversation {
            position: 1,
            tool_results: vec![ToolResult { is_error, ..ToolResult::default() }],
            ..prompt("go")
        };
        assert_eq!([true, false].map(|failed| said(&script, &after(failed))), ["It failed.", "It ran."]);
    }

    #[test]
    fn the_input_of_a_tool_is_filled_in_at_every_depth() {
        let conversation =
            ModelConversation { reminders: "Write /c/plans/a-b.md using".into(), ..prompt("x") };
        let filled = fill_json(
            &json!({"file": "{plan_file}", "list": [{"text": "={prompt}", "n": 1}]}),
            &conversation,
        );
        assert_eq!(filled, json!({"file": "/c/plans/a-b.md", "list": [{"text": "=x", "n": 1}]}));
    }

    #[test]
    fn placeholders_are_filled_once_and_other_braces_stay() {
        let conversation = ModelConversation {
            history: vec!["a".into(), "b".into()],
            tool_results: vec![ToolResult { text: "made {history}".into(), is_error: false }],
            ..prompt("say {prompt}")
        };
        let text = "{prompt} | {history} | {last_tool_result} | {other} | {number} {";
        assert_eq!(fill(text, &conversation), "say {prompt} | a\nb | made {history} | {other} |  {");
        assert_eq!(fill("{number}", &prompt("Do story 12. It is story 3.")), "12");
    }
}
