//! One turn: the prompt's directive, and everything that the stand-in prints for it.

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use super::{
    lines::{FAILURES, result_block, text_block, tool_block},
    shell,
    talk::{Interrupted, Talk},
};

/// The words that a prompt may begin with; the rest of its line is their argument.
const DIRECTIVES: [&str; 31] = [
    "echo",
    "history",
    "bash",
    "twice",
    "ask",
    "plan",
    "slow",
    "spam",
    "longline",
    "garbage",
    "badutf8",
    "die",
    "kill9",
    "silent",
    "stubborn",
    "error",
    "background",
    "lines",
    "wait",
    "model",
    "system",
    "env",
    "cwd",
    "args",
    "subagent",
    "limit",
    "long",
    "flaky",
    "busy",
    "pid",
    "stamps",
];

/// The outcome of a turn without an interrupt.
enum Outcome {
    /// This answer, which is printed already.
    Said(String),
    /// The result line is printed.
    Printed { is_error: bool },
}

impl Talk {
    /// Answers a prompt; true if its result is an error.
    pub fn turn(&mut self, prompt: &str) -> bool {
        let (word, rest) = directive(prompt);
        if ["silent", "stubborn"].contains(&word) {
            self.fall_silent(word == "stubborn");
        }
        self.session.add_prompt(prompt);
        self.begin_turn();
        match self.act(word, rest, prompt) {
            Ok(Outcome::Said(answer)) => {
                self.end_turn("completed", false, json!({"result": answer}));
                false
            }
            Ok(Outcome::Printed { is_error }) => is_error,
            Err(interrupted) => {
                self.interrupted(&interrupted);
                true
            }
        }
    }

    fn act(&mut self, word: &str, rest: &str, prompt: &str) -> Result<Outcome, Interrupted> {
        let answer = match word {
            "echo" => format!("echo: {rest}"),
            "history" => self.history(),
            "model" => self.stamp.model.clone(),
            "system" => self.arguments.system_prompt.clone(),
            "env" => std::env::var(rest).unwrap_or_else(|_| "(unset)".into()),
            "cwd" => std::env::current_dir().unwrap_or_default().display().to_string(),
            "args" => self.arguments.all.join(" "),
            "pid" => std::process::id().to_string(),
            "long" => "long answer ".repeat(number(rest).saturating_mul(1024) / 12),
            "bash" => self.bash(0, rest)?,
            "twice" => self.twice(rest)?,
            "ask" => self.ask_colour()?,
            "plan" => self.plan()?,
            "slow" => return self.slow(),
            "wait" => self.wait_for_file(rest)?,
            "stamps" => self.stamps(number(rest))?,
            "lines" => return Ok(Outcome::Said(self.many_lines(number(rest)))),
            "spam" => self.spam(number(rest)),
            "longline" => self.long_line(number(rest)),
            "garbage" => self.garbage(),
            "badutf8" => self.broken_utf8(),
            "subagent" => self.sub_agent(),
            "limit" => self.limit(rest),
            "flaky" => self.flaky(),
            "busy" => return Ok(self.busy(rest)),
            "error" => return Ok(self.fail(rest)),
            "background" => return Ok(self.background()),
            "die" => self.die(rest),
            "kill9" => self.kill_itself(),
            _ => format!("You said: {prompt}"),
        };
        self.say(&answer);
        Ok(Outcome::Said(answer))
    }

    fn history(&self) -> String {
        let earlier = &self.session.prompts[..self.session.prompts.len().saturating_sub(1)];
        if earlier.is_empty() {
            return "nothing yet".into();
        }
        let numbered = earlier.iter().enumerate().map(|(at, prompt)| format!("{}. {prompt}", at + 1));
        numbered.collect::<Vec<_>>().join("\n")
    }

    /// A Bash call: its output, or the refusal.
    fn bash(&mut self, number: usize, command: &str) -> Result<String, Interrupted> {
        let (id, input) = (tool_id(number), json!({"command": command, "description": "Run it"}));
        self.print(&self.stamp.assistant(tool_block(&id, "Bash", &input)));
        let answer = self.ask_or_void(&id, "Bash", &input)?;
        if answer["behavior"] != "allow" {
            return Ok(self.refused(&id, "Bash", &input, &answer));
        }
        let command = answer["updatedInput"]["command"].as_str().unwrap_or_default().to_owned();
        let ran = match self.run(&command) {
            Ok(ran) => ran,
            Err(interrupted) => {
                self.print(&self.stamp.user(result_block(&id, "Exit code 137", true)));
                return Err(interrupted);
            }
        };
        let output =
            if ran.output.is_empty() { "(Bash completed with no output)".into() } else { ran.output };
        self.print(&self.stamp.user(result_block(&id, &output, ran.failed)));
        self.call();
        Ok(output)
    }

    fn twice(&mut self, commands: &str) -> Result<String, Interrupted> {
        let mut answers = Vec::new();
        for (at, command) in commands.split(";;").enumerate() {
            answers.push(self.bash(at, command.trim())?);
        }
        Ok(answers.join("\n"))
    }

    fn ask_colour(&mut self) -> Result<String, Interrupted> {
        let options =
            json!([{"label": "Red", "description": "warm"}, {"label": "Blue", "description": "cold"}]);
        let question = json!({"question": "Which colour?", "header": "Colour", "options": options, "multiSelect": false});
        let (id, input) = (tool_id(0), json!({"questions": [question]}));
        self.print(&self.stamp.assistant(tool_block(&id, "AskUserQuestion", &input)));
        let answer = self.ask_or_void(&id, "AskUserQuestion", &input)?;
        if answer["behavior"] != "allow" {
            return Ok(self.refused(&id, "AskUserQuestion", &input, &answer));
        }
        let said = match answer["updatedInput"]["answers"]["Which colour?"].as_str() {
            Some(choice) => format!(
                "Your questions have been answered: \"Which colour?\"=\"{choice}\". You can now continue with these answers in mind."
            ),
            None => "The user did not answer the questions.".into(),
        };
        self.print(&self.stamp.user(result_block(&id, &said, false)));
        self.call();
        Ok(said)
    }

    fn plan(&mut self) -> Result<String, Interrupted> {
        let input = json!({"plan": "# Plan\n1. do it\n2. test it\n", "planFilePath": "/tmp/plan.md"});
        let id = tool_id(0);
        self.print(&self.stamp.assistant(tool_block(&id, "ExitPlanMode", &input)));
        let answer = self.ask_or_void(&id, "ExitPlanMode", &input)?;
        if answer["behavior"] != "allow" {
            return Ok(self.refused(&id, "ExitPlanMode", &input, &answer));
        }
        self.print(&self.stamp.system("status", json!({"status": null, "permissionMode": "default"})));
        let said = "User has approved your plan. You can now start coding.";
        self.print(&self.stamp.user(result_block(&id, said, false)));
        self.call();
        Ok(said.into())
    }

    /// Asks; an interrupt meanwhile also voids the tool call.
    fn ask_or_void(&mut self, id: &str, tool: &str, input: &Value) -> Result<Value, Interrupted> {
        let answer = self.ask(id, tool, input);
        if answer.is_err() {
            let said = "The user doesn't want to proceed with this tool use.";
            self.print(&self.stamp.user(result_block(id, said, true)));
        }
        answer
    }

    fn refused(&mut self, id: &str, tool: &str, input: &Value, answer: &Value) -> String {
        let message = answer["message"].as_str().unwrap_or_default().to_owned();
        self.denials.push(json!({"tool_name": tool, "tool_use_id": id, "tool_input": input}));
        self.print(&self.stamp.user(result_block(id, &message, true)));
        self.call();
        message
    }

    /// One piece of text, then nothing until an interrupt.
    fn slow(&mut self) -> Result<Outcome, Interrupted> {
        self.piece("slow answer ");
        let waited = self.wait(|| false);
        let mut partial = self.stamp.assistant(text_block("slow answer "));
        partial["aborted"] = true.into();
        self.print(&partial);
        waited.map(|()| Outcome::Said("slow answer ".into()))
    }

    fn wait_for_file(&mut self, file: &str) -> Result<String, Interrupted> {
        self.piece("waiting ");
        self.wait(|| std::path::Path::new(file).exists())?;
        Ok("waited".into())
    }

    /// Pieces a few milliseconds apart, each the time of its writing (CLOCK_MONOTONIC, nanoseconds).
    fn stamps(&mut self, count: usize) -> Result<String, Interrupted> {
        let mut stamps = String::new();
        for _ in 0..count {
            let mut looked = false;
            self.wait(|| std::mem::replace(&mut looked, true))?;
            let now = clock_gettime(ClockId::Monotonic);
            let stamp = format!("{} ", now.tv_sec * 1_000_000_000 + now.tv_nsec);
            self.piece(&stamp);
            stamps.push_str(&stamp);
        }
        self.print(&self.stamp.assistant(text_block(&stamps)));
        Ok(stamps)
    }

    fn many_lines(&mut self, count: usize) -> String {
        let lines: Vec<String> = (1..=count).map(|line| format!("line {line}")).collect();
        for line in &lines {
            self.piece(&format!("{line}\n"));
        }
        let text = lines.join("\n");
        self.print(&self.stamp.assistant(text_block(&text)));
        text
    }

    /// So many MB of small pieces of text.
    fn spam(&mut self, megabytes: usize) -> String {
        let line = format!("{}\n", self.stamp.delta(&"spam ".repeat(100)));
        let count = megabytes * 1_000_000 / line.len();
        let block = line.repeat(100);
        for _ in 0..count / 100 {
            self.raw(block.as_bytes());
        }
        format!("{} pieces", count / 100 * 100)
    }

    /// A single line of so many MB.
    fn long_line(&mut self, megabytes: usize) -> String {
        self.raw(b"{\"type\":\"assistant\",\"parent_tool_use_id\":null,\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"");
        let piece = vec![b'x'; 1_000_000];
        (0..megabytes).for_each(|_| self.raw(&piece));
        self.raw(b"\"}]}}\n");
        "after the long line".into()
    }

    fn garbage(&mut self) -> String {
        self.raw(b"Segmentation fault?\n{\"type\":\"assis\n\x1b[31m[1,2]\x1b[0m\n\x00\x01\x02\n");
        self.print(&json!({"type": "assistant", "message": "of another shape"}));
        "after the garbage".into()
    }

    fn broken_utf8(&mut self) -> String {
        self.raw(b"{\"type\":\"assistant\",\"parent_tool_use_id\":null,\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"broken \xff\xfe text\"}]}}\n");
        "after the broken text".into()
    }

    fn sub_agent(&mut self) -> String {
        let call = tool_id(0);
        let input =
            json!({"description": "look around", "prompt": "look", "subagent_type": "general-purpose"});
        self.print(&self.stamp.assistant(tool_block(&call, "Agent", &input)));
        let inner = tool_block("toolu_inner", "Bash", &json!({"command": "echo seen by the child"}));
        let inner = self.stamp.assistant(inner);
        self.print(&self.stamp.of_sub_agent(inner, &call));
        let seen = self.stamp.user(result_block("toolu_inner", "seen by the child", false));
        self.print(&self.stamp.of_sub_agent(seen, &call));
        self.print(&self.stamp.user(result_block(&call, "the child has looked", false)));
        self.call();
        "the child has looked".into()
    }

    /// A notice of a usage limit: `limit STATUS EPOCH`. From the Agent SDK's documentation, not recorded.
    fn limit(&mut self, rest: &str) -> String {
        let (status, resets) = rest.split_once(' ').unwrap_or((rest, "0"));
        let info = json!({"status": status, "resetsAt": number(resets), "rateLimitType": "five_hour"});
        self.print(
            &json!({"type": "rate_limit_event", "rate_limit_info": info, "session_id": self.session.id}),
        );
        format!("limit {status}")
    }

    /// Two retries, then an answer.
    fn flaky(&mut self) -> String {
        for attempt in 1..=2 {
            self.print(&self.stamp.api_retry(&FAILURES[3], attempt, 3));
        }
        "after two retries".into()
    }

    /// An overloaded API for so many tries: `busy TRIES [STATUS EPOCH]`, with a notice of a usage limit.
    fn busy(&mut self, rest: &str) -> Outcome {
        let (tries, limit) = rest.split_once(' ').unwrap_or((rest, ""));
        let of_this = |prompt: &&String| directive(prompt).0 == "busy";
        let tried = self.session.prompts.iter().rev().take_while(of_this).count();
        if tried > number(tries) {
            self.say("no longer busy");
            return Outcome::Said("no longer busy".into());
        }
        if !limit.is_empty() {
            self.limit(limit);
        }
        self.fail("529")
    }

    /// A failing API: `error STATUS`.
    fn fail(&mut self, status: &str) -> Outcome {
        let failure =
            FAILURES.iter().find(|failure| failure.status.to_string() == status).unwrap_or(&FAILURES[2]);
        let retries = std::env::var("CLAUDE_CODE_MAX_RETRIES").ok().and_then(|count| count.parse().ok());
        let max = retries.unwrap_or(10);
        for attempt in 1..=max {
            self.print(&self.stamp.api_retry(failure, attempt, max));
        }
        self.print(&self.stamp.api_error(failure));
        let rest = json!({
            "result": failure.text, "api_error_status": failure.status, "stop_reason": "stop_sequence",
        });
        self.end_turn("api_error", true, rest);
        Outcome::Printed { is_error: true }
    }

    /// Two results: the second begins by itself.
    fn background(&mut self) -> Outcome {
        self.say("Started it.");
        self.end_turn("completed", false, json!({"result": "Started it."}));
        let task = json!({"task_id": "bdb2xt7d0", "run_id": "0mwrr05lx-9c2830c6", "status": "completed"});
        self.print(&self.stamp.system("task_notification", task));
        self.begin_turn();
        self.say("The task has ended.");
        let origin = json!({"kind": "task-notification", "producer": "session-task"});
        self.end_turn("completed", false, json!({"result": "The task has ended.", "origin": origin}));
        Outcome::Printed { is_error: false }
    }

    fn die(&mut self, code: &str) -> ! {
        eprintln!("the stand-in dies as it was told");
        self.leave(number(code) as i32)
    }

    fn kill_itself(&mut self) -> ! {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        unreachable!("SIGKILL cannot be outlived")
    }

    fn fall_silent(&mut self, stubborn: bool) -> ! {
        if stubborn {
            shell::be_stubborn();
            self.begin_turn();
            self.piece("no signal ends me");
        }
        loop {
            std::thread::park();
        }
    }

    fn interrupted(&mut self, interrupted: &Interrupted) {
        let in_tool = interrupted.reason == "aborted_tools";
        let said = if in_tool {
            "[Request interrupted by user for tool use]"
        } else {
            "[Request interrupted by user]"
        };
        self.print(&self.stamp.user(text_block(said)));
        let why = "[ede_diagnostic] result_type=user last_content_type=n/a stop_reason=null";
        let rest = json!({"subtype": "error_during_execution", "errors": [why], "stop_reason": null});
        self.end_turn(interrupted.reason, true, rest);
    }
}

/// The directive of a prompt and its argument: on the last line that has one, after a sender's name or not.
pub fn directive(prompt: &str) -> (&str, &str) {
    let of = |line: &'_ str| -> bool { DIRECTIVES.contains(&line.split(' ').next().unwrap_or_default()) };
    for line in prompt.lines().rev().map(str::trim).filter(|line| !line.is_empty()) {
        let after_name = line.split_once(": ").map_or("", |(_, rest)| rest.trim());
        if let Some(found) = [line, after_name].into_iter().find(|line| of(line)) {
            return found.split_once(' ').map_or((found, ""), |(word, rest)| (word, rest.trim()));
        }
    }
    ("", prompt)
}

fn number(text: &str) -> usize {
    text.trim().parse().unwrap_or(1)
}

fn tool_id(number: usize) -> String {
    format!("toolu_{}_{number}", uuid::Uuid::new_v4().simple())
}
