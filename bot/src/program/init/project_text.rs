//! The text of a new `project.toml`, and of the parts that are added to one later.

use std::fmt::Write as _;

use pipeline::{config::Agent, project::TEMPLATE_MARK, stage::Role};
use toml::Value;

use super::InitChoices;
use crate::program::detect::DetectedComponent;

/// The team with its prompts, every one to be changed.
pub fn project_toml(choices: &InitChoices) -> String {
    let mut text = format!(
        "# {TEMPLATE_MARK}: written by `storkit init`. Change any value; the prompts below are the ones in use.\n\n\
         # Stories merge to this branch.\nbase_branch = {}\n\n{}\
         # How many runs of a story may fail in one stage before it is blocked.\nmax_retries = 3\n\n\
         # Commands that must pass in the worktree, and again on the merged result. An empty list tests nothing.\ngates = {}\n\
         gate_timeout = \"1h\"\n\
         # What gates can reach: true (everything), false (nothing), or hosts like [\"crates.io\", \"*.crates.io\", \"github.com:443\"].\n\
         # Components have the same access unless they set their own `network`.\n# gate_network = true\n\n# A done story is archived after this; \"0\" never archives.\nsweep_after = \"4h\"\n\n\
         # US dollars. When a budget is spent, no new run starts and the rooms are asked.\n[budget]\n# run_usd = 5.0\n# story_usd = 20.0\n# day_usd = 100.0\n",
        Value::from(choices.base.as_str()),
        folder(&choices.folder),
        list(&choices.gates),
    );
    text.push_str(match choices.components.is_empty() {
        true => {
            "\n# Parts of the project that need setup in a new worktree, and again when one of the inputs has changed. `copy` names\n\
             # ignored files of the main checkout that the part needs.\n# [[component]]\n# name = \"frontend\"\n# path = \"web\"\n# setup = [\"npm ci\"]\n\
             # inputs = [\"package-lock.json\"]\n# copy = [\".env.test\"]\n# teardown = []\n# network = [\"ask\", \"registry.npmjs.org\"]\n"
        }
        false => {
            "\n# Parts of the project that need setup in a new worktree, and again when one of the inputs has changed. More keys:\n\
             # `copy` (ignored files of the main checkout that the part needs, like [\".env.test\"]), `teardown`, `network`.\n"
        }
    });
    choices.components.iter().for_each(|part| text.push_str(&component(part)));
    // Each is called by its stage.
    let team = [
        ("coder", Role::Coder, choices.coders),
        ("qa", Role::Qa, 1),
        ("mergemaster", Role::Mergemaster, 1),
        ("supervisor", Role::Supervisor, 1),
    ];
    for (name, role, count) in team {
        agent(&mut text, &Agent { count, ..Agent::new(name, role) });
    }
    text
}

fn folder(folder: &str) -> String {
    if folder.is_empty() {
        return String::new();
    }
    format!(
        "# The folder of this repository that stories are about. Gates run at the top of the repository all the same.\nfolder = {}\n\n",
        Value::from(folder)
    )
}

/// One `[[component]]`, with an empty line before it.
pub fn component(part: &DetectedComponent) -> String {
    let mut text = format!("\n[[component]]\nname = {}\n", Value::from(part.name()));
    if !part.path.is_empty() {
        let _ = writeln!(text, "path = {}", Value::from(part.path.as_str()));
    }
    let _ = writeln!(text, "setup = {}\ninputs = {}", list(&part.setup), list(&part.inputs));
    let (listed, open) = (part.listed_hosts(), part.registries());
    if !listed.is_empty() {
        let hosts: Vec<String> = ["ask".to_owned()].into_iter().chain(listed).collect();
        let _ = writeln!(text, "network = {}", list(&hosts));
    } else if !open.is_empty() {
        let _ = writeln!(text, "# Its registries are open: {}.", open.join(", "));
    }
    text
}

fn list(items: &[String]) -> Value {
    Value::Array(items.iter().map(|item| Value::from(item.as_str())).collect())
}

fn agent(text: &mut String, agent: &Agent) {
    let _ = write!(
        text,
        "\n[[agent]]\nname = \"{0}\"\nstage = \"{0}\"\ncount = {1}\n# model = \"\"          # the CLI's default\n# max_turns = 200\n# max_budget_usd = 5.0\n\
         # network = true       # or false (the model's API and storkit's tools only), or more hosts, like [\"crates.io\"]\n\
         prompt = '''\n{2}'''\nsystem_prompt = '''\n{3}'''\n",
        agent.name, agent.count, agent.prompt, agent.system_prompt
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_that_the_project_is_is_written_down() {
        let choices = InitChoices { folder: "packages/api".into(), ..InitChoices::default() };
        assert!(project_toml(&choices).contains("\nfolder = \"packages/api\"\n"));
        assert!(!project_toml(&InitChoices::default()).contains("folder ="));
    }

    #[test]
    fn a_part_is_written_with_its_inputs_and_the_hosts_that_are_not_open_by_themselves() {
        let part = DetectedComponent {
            tool: "gradle",
            path: "apps/it's".into(),
            setup: vec!["./gradlew testClasses".into()],
            inputs: vec!["build.gradle".into()],
            manifest: "build.gradle",
            more_hosts: vec!["services.gradle.org".into()],
            ..DetectedComponent::default()
        };
        insta::assert_snapshot!(component(&part), @r#"

        [[component]]
        name = "apps/it's gradle"
        path = "apps/it's"
        setup = ["./gradlew testClasses"]
        inputs = ["build.gradle"]
        network = ["ask", "repo.maven.apache.org", "repo1.maven.org", "plugins.gradle.org", "plugins-artifacts.gradle.org", "services.gradle.org"]
        "#);
        let npm = DetectedComponent { tool: "npm", manifest: "package.json", ..DetectedComponent::default() };
        insta::assert_snapshot!(component(&npm), @r#"

        [[component]]
        name = "npm"
        setup = []
        inputs = []
        # Its registries are open: registry.npmjs.org, registry.yarnpkg.com.
        "#);
    }
}
