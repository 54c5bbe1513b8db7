//! Figure 3: the cost of a later prompt in a live session, compared with the CLI alone.

use std::{ffi::OsString, fs, os::unix::ffi::OsStringExt as _, path::PathBuf, time::Instant};

use anyhow::Context as _;
use futures::FutureExt as _;
use scripted_model::{ModelScript, ScriptedModel};

use super::Figure;
use crate::{
    Effort,
    bare::Bare,
    numbers::{median, millis, percentile},
    report::{Outcome, Row},
    world::{World, real_cli},
};

pub const FIGURE: Figure = Figure {
    number: 3,
    name: "turn",
    title: "A later prompt in a live session",
    method: "The real CLI on both sides, its model a script on loopback that answers at once (a server for each side). storkit: from the \
             person's text at the messenger in memory to the final message there. Beside it: a second CLI with the very arguments \
             and environment of storkit's own (its session id and storkit's tools aside), without a wall, in a PTY with its prompts through a FIFO, from the write of \
             the prompt to the read of its result line. Prompts alternate between the two.",
    measure: |effort| measure(effort).boxed(),
};

const PROMPT: &str = "Say it.";

async fn measure(effort: Effort) -> anyhow::Result<Outcome> {
    let (ours, theirs) = (ScriptedModel::start(script())?, ScriptedModel::start(script())?);
    let mut world = World::with_cli(&real_cli()?, &environment(&ours)).await?;
    let first = Instant::now();
    world.ask(PROMPT).await?;
    let first = first.elapsed();
    let mut bare = twin(&world, &theirs)?;
    let count = effort.pick(21, 5);
    let (mut through, mut alone) = (Vec::new(), Vec::new());
    for round in 0..count + WARM_UP {
        let start = Instant::now();
        world.ask(PROMPT).await?;
        let ours = start.elapsed();
        let start = Instant::now();
        tokio::task::block_in_place(|| bare.ask(PROMPT, |_| {}))?;
        let theirs = start.elapsed();
        if round >= WARM_UP {
            through.push(millis(ours));
            alone.push(millis(theirs));
        }
    }
    world.end().await;
    let slow = (percentile(&through, 0.9), percentile(&alone, 0.9));
    Ok(Outcome {
        rows: vec![
            Row::at_most("later prompt", (median(&through), median(&alone)), 1.3, "ms", "CLI alone"),
            Row::beside("later prompt, p90", slow, "ms", "CLI alone"),
            Row::alone("first prompt, the start of the process included", millis(first), "ms"),
        ],
        remarks: vec![format!("{count} prompts on either side after {WARM_UP} to warm up.")],
    })
}

const WARM_UP: usize = 3;

const PROXIES: [&str; 6] =
    ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"];

fn script() -> ModelScript {
    ModelScript::new().says("A short answer.")
}

fn environment(model: &ScriptedModel) -> [(&'static str, String); 4] {
    [
        ("ANTHROPIC_BASE_URL", model.base_url()),
        ("ANTHROPIC_API_KEY", "bench".to_owned()),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
        ("NO_PROXY", "127.0.0.1".to_owned()),
    ]
}

/// Starts the CLI that the bot has just started a second time: with the same program, arguments, environment and folder, but
/// with its own session and model.
fn twin(world: &World, model: &ScriptedModel) -> anyhow::Result<Bare> {
    let agents = world.app.services().commands.agents.all();
    let (leader, _) = agents.first().context("the bot has no living session")?;
    let pid = behind_the_wall(*leader)?;
    let mut argv = words(fs::read(format!("/proc/{pid}/cmdline"))?);
    let session = argv.iter().position(|word| word == "--session-id").context("no --session-id")?;
    *argv.get_mut(session + 1).context("no session id")? = uuid::Uuid::new_v4().to_string().into();
    let mut environment: Vec<(OsString, OsString)> =
        words(fs::read(format!("/proc/{pid}/environ"))?).into_iter().filter_map(pair).collect();
    for (name, value) in &mut environment {
        if name == "ANTHROPIC_BASE_URL" {
            *value = model.base_url().into();
        }
    }
    // The bot kills leftover processes that carry its mark. The wall's proxies are not there outside.
    environment.retain(|(name, _)| name != "STORKIT_RUN" && !PROXIES.iter().any(|proxy| name == proxy));
    let cwd: PathBuf = world.place.project();
    // Its settings lead to the model of storkit's own.
    let file = argv.iter().position(|word| word == "--settings").context("no --settings")? + 1;
    let mut settings: serde_json::Value =
        serde_json::from_slice(&fs::read(argv.get(file).context("no settings")?)?)?;
    settings["env"] = serde_json::json!({});
    let own = cwd.with_file_name("twin-settings.json");
    fs::write(&own, settings.to_string())?;
    *argv.get_mut(file).context("no settings")? = own.into();
    // storkit's own tools are answered by the bot, and nobody answers here.
    let file = argv.iter().position(|word| word == "--mcp-config").context("no --mcp-config")? + 1;
    let own = cwd.with_file_name("twin-mcp.json");
    fs::write(&own, r#"{"mcpServers":{}}"#)?;
    *argv.get_mut(file).context("no MCP servers")? = own.into();
    Bare::start(&argv, &environment, &cwd)
}

/// The CLI among a session's processes: the programs of the wall around it have its arguments, too, and it has no child with them.
fn behind_the_wall(leader: u32) -> anyhow::Result<u32> {
    let mut pid = leader;
    loop {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let has_session = |child: &u32| {
            let argv = fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            words(argv).iter().any(|word| word == "--session-id")
        };
        match children.split_whitespace().filter_map(|child| child.parse().ok()).find(has_session) {
            Some(child) => pid = child,
            None => return Ok(pid),
        }
    }
}

/// The NUL-ended words of a file in `/proc`.
fn words(bytes: Vec<u8>) -> Vec<OsString> {
    let bytes = bytes.strip_suffix(b"\0").unwrap_or(&bytes);
    bytes.split(|byte| *byte == 0).map(|word| OsString::from_vec(word.to_vec())).collect()
}

fn pair(word: OsString) -> Option<(OsString, OsString)> {
    let bytes = word.into_vec();
    let equals = bytes.iter().position(|byte| *byte == b'=')?;
    let value = bytes[equals + 1..].to_vec();
    Some((OsString::from_vec(bytes[..equals].to_vec()), OsString::from_vec(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_pairs_of_proc_are_read_as_they_are() {
        assert_eq!(words(b"a\0\0b c\0".to_vec()), ["a", "", "b c"]);
        assert_eq!(pair("A=b=c".into()), Some(("A".into(), "b=c".into())));
        assert_eq!(pair("broken".into()), None);
    }
}
