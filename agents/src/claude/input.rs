//! Input of the CLI: prompts, control requests and answers, one JSON object per line, through a FIFO.

use std::{io, path::Path};

use base64::Engine as _;
use serde_json::{Value, json};
use tokio::{io::AsyncWriteExt, net::unix::pipe, sync::mpsc};
use tokio_util::sync::CancellationToken;

use super::error::ProcessError;
use crate::{
    event::PermissionAnswer,
    prompt::{AgentPrompt, PromptImage},
};

/// How many lines may wait for a CLI that does not read.
const QUEUE: usize = 64;

/// The queue of lines to the CLI. Putting a line in never waits.
#[derive(Clone, Debug)]
pub(super) struct LineQueue(mpsc::Sender<String>);

impl LineQueue {
    /// Opens the FIFO and starts the task that writes to it, until `over`.
    pub(super) fn open(fifo: &Path, over: CancellationToken) -> io::Result<Self> {
        // Opened for reading too: on Linux that never waits for the other side, and a CLI that dies, before or after it
        // opens the FIFO, causes no error here.
        let pipe = pipe::OpenOptions::new().read_write(true).open_sender(fifo)?;
        let (queue, lines) = mpsc::channel(QUEUE);
        tokio::spawn(async move {
            tokio::select! {
                () = over.cancelled() => {}
                result = write(pipe, lines) => if let Err(error) = result {
                    tracing::warn!(%error, "cannot write to a Claude Code process");
                }
            }
        });
        Ok(Self(queue))
    }

    /// Puts a line into the queue.
    pub(super) fn push(&self, line: String) -> Result<(), ProcessError> {
        self.0.try_send(line).map_err(|error| match error {
            mpsc::error::TrySendError::Closed(_) => ProcessError::Gone,
            mpsc::error::TrySendError::Full(_) => {
                let source = io::Error::new(io::ErrorKind::WouldBlock, "the process does not read its input");
                ProcessError::Io { what: "sending to Claude Code", source }
            }
        })
    }
}

async fn write(mut pipe: pipe::Sender, mut lines: mpsc::Receiver<String>) -> io::Result<()> {
    while let Some(line) = lines.recv().await {
        pipe.write_all(line.as_bytes()).await?;
    }
    Ok(())
}

/// A prompt. Text that would be a command of the CLI's own, such as `/config`, is made plain text.
pub(super) fn prompt(prompt: &AgentPrompt) -> String {
    let content: Value = match prompt {
        AgentPrompt::Message { text, images } if images.is_empty() => as_plain_prompt(text).as_ref().into(),
        AgentPrompt::Message { text, images } => {
            let text = json!({"type": "text", "text": as_plain_prompt(text)});
            std::iter::once(text).chain(images.iter().map(image_block)).collect()
        }
        AgentPrompt::Command(command) => command.line().into(),
    };
    to_line(&json!({"type": "user", "message": {"role": "user", "content": content}}))
}

// The CLI scales an image down that is larger than the model takes, and says so to the model (2.1.330).
fn image_block(image: &PromptImage) -> Value {
    let data = base64::engine::general_purpose::STANDARD.encode(&image.bytes);
    json!({"type": "image", "source": {"type": "base64", "media_type": image.media_type, "data": data}})
}

/// The text in a form that the CLI passes to the model, whatever it begins with.
pub(super) fn as_plain_prompt(text: &str) -> std::borrow::Cow<'_, str> {
    // `/compact` runs a command of the CLI; `!`, `#` and `@` have no such meaning in a prompt (2.1.330).
    if text.trim_start().starts_with('/') { format!("Message: {text}").into() } else { text.into() }
}

/// A control request under a fresh id.
pub(super) fn request(request: &Value) -> String {
    let id = uuid::Uuid::new_v4().to_string();
    to_line(&json!({"type": "control_request", "request_id": id, "request": request}))
}

/// The answer to a permission request.
pub(super) fn answer(request_id: &str, answer: &PermissionAnswer) -> String {
    let response = json!({"subtype": "success", "request_id": request_id, "response": answer});
    to_line(&json!({"type": "control_response", "response": response}))
}

/// The answer to a message to storkit's own tools.
pub(super) fn own_tools_answer(request_id: &str, answer: &Value) -> String {
    let response =
        json!({"subtype": "success", "request_id": request_id, "response": {"mcp_response": answer}});
    to_line(&json!({"type": "control_response", "response": response}))
}

/// Refuses a request that nobody can answer.
pub(super) fn refusal(request_id: &str, why: &str) -> String {
    let response = json!({"subtype": "error", "request_id": request_id, "error": why});
    to_line(&json!({"type": "control_response", "response": response}))
}

fn to_line(value: &Value) -> String {
    format!("{value}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_goes_along_as_a_block_of_the_message() {
        let image = PromptImage { media_type: "image/png", bytes: [1_u8, 2, 3].as_slice().into() };
        let written = prompt(&AgentPrompt::Message { text: "/look".into(), images: vec![image] });
        let read: Value = serde_json::from_str(&written).expect("JSON");
        let source = json!({"type": "base64", "media_type": "image/png", "data": "AQID"});
        let expected =
            json!([{"type": "text", "text": "Message: /look"}, {"type": "image", "source": source}]);
        assert_eq!(read["message"]["content"], expected);
    }

    #[test]
    fn a_prompt_is_one_line_whatever_it_holds() {
        let written = prompt(&"a \"b\"\nc \u{2028} ✓".into());
        assert_eq!(written.matches('\n').count(), 1);
        let read: Value = serde_json::from_str(&written).expect("JSON");
        assert_eq!(read["message"]["content"], "a \"b\"\nc \u{2028} ✓");
    }

    #[test]
    fn a_prompt_cannot_run_a_command_of_the_cli() {
        assert_eq!(as_plain_prompt("/compact now"), "Message: /compact now");
        assert_eq!(as_plain_prompt("\n  /clear"), "Message: \n  /clear");
        assert_eq!(as_plain_prompt("what is /etc?"), "what is /etc?");
    }

    #[test]
    fn answers_have_the_shape_of_the_recording() {
        let allow = PermissionAnswer::Allow { updated_input: json!({"command": "ls"}) };
        let read = |line: String| serde_json::from_str::<Value>(&line).expect("JSON");
        let allowed = json!({"behavior": "allow", "updatedInput": {"command": "ls"}});
        let expected = json!({"subtype": "success", "request_id": "r1", "response": allowed});
        assert_eq!(read(answer("r1", &allow)), json!({"type": "control_response", "response": expected}));
        let deny = PermissionAnswer::Deny { message: "No.".into() };
        let denied = json!({"behavior": "deny", "message": "No."});
        assert_eq!(read(answer("r1", &deny))["response"]["response"], denied);
    }

    #[test]
    fn every_request_has_its_own_id() {
        let id = |line: String| serde_json::from_str::<Value>(&line).expect("JSON")["request_id"].to_string();
        let interrupt = json!({"subtype": "interrupt"});
        assert_ne!(id(request(&interrupt)), id(request(&interrupt)));
    }
}
