//! An agent that `project.toml` keeps from the network: the real CLI in the real sandbox, with the program itself as
//! its way out.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use e2e::{Program, git};
use needs::needs;
use scripted_model::{ModelScript, ScriptedModel};
use serde_json::json;

use crate::real::bash;

/// One coder and one reviewer; the gate asks somewhere else, and passes where that does not answer.
fn project_toml(elsewhere: SocketAddr) -> String {
    format!(
        "gates = [\"test -e door.txt && ! curl -sS --max-time 60 http://{elsewhere}/\"]\ngate_network = false\n\
         [[agent]]\nname = \"coder\"\nstage = \"coder\"\nnetwork = false\n\
         [[agent]]\nname = \"qa\"\nstage = \"qa\"\nnetwork = false\n"
    )
}

/// An address that clients go to by their proxy, and that leads to the model; and how many came.
struct Other(SocketAddr, Arc<AtomicUsize>);

impl Other {
    async fn start(model: &ScriptedModel) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.2:0").await.expect("a port");
        let (address, came) = (listener.local_addr().expect("an address"), Arc::new(AtomicUsize::new(0)));
        let (model, count) = (model.base_url().trim_start_matches("http://").to_owned(), Arc::clone(&came));
        tokio::spawn(async move {
            while let Ok((mut here, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let mut there = tokio::net::TcpStream::connect(&model).await.expect("the model serves");
                tokio::spawn(async move { tokio::io::copy_bidirectional(&mut here, &mut there).await });
            }
        });
        Self(address, came)
    }

    fn came(&self) -> usize {
        self.1.load(Ordering::SeqCst)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coder_kept_from_the_network_does_its_work_and_reaches_nothing_else() {
    needs!(Claude, Bubblewrap);
    let script = ModelScript::new()
        .on_start("Do story 1")
        .calls("mcp__storkit__get_version", json!({}))
        .calls("Bash", bash("curl -sS --max-time 60 $(cat elsewhere)secret"))
        .calls("Bash", bash("curl -sS --noproxy '*' $(cat elsewhere)secret || echo nobody answers"))
        .calls("Bash", bash("echo open > door.txt && git add door.txt && git commit -qm 'open the door'"))
        .then_says("The door is open.")
        .on_start("Review story")
        .calls("mcp__storkit__approve_qa", json!({}))
        .then_says("I approved it.");
    let model = ScriptedModel::start(script).expect("the model is served");
    let (api, elsewhere) = (Other::start(&model).await, Other::start(&model).await);
    let mut program = Program::with_real_cli(&model);
    program.set_env("ANTHROPIC_BASE_URL", &format!("http://{}", api.0));
    let project = program.project();
    std::fs::write(project.join("elsewhere"), format!("http://{}/", elsewhere.0)).expect("a file");
    git(&project, &["add", "elsewhere"]);
    git(&project, &["-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "begin"]);
    program.write_settings(&project_toml(elsewhere.0));
    program.write_config("[pipeline]\nrooms = [\"console:main\"]");
    let _serving = program.serve();
    let mut terminal = program.terminal();
    terminal.say("new story Fix the door");
    terminal.see("is in the backlog");
    terminal.say("start 1");
    for (asked, number) in ["curl -sS --max-time", "--noproxy", "git commit -qm"].into_iter().zip(1..) {
        terminal.see(asked);
        terminal.say(&format!("yes {number}"));
    }
    let told = terminal.see("Blocked access to");
    assert!(told.contains(&elsewhere.0.to_string()) && told.contains("of the agent `coder`"), "{told}");
    terminal.see("**1 Fix the door**: merged as");

    let requests = model.requests();
    let results = requests.iter().flat_map(|seen| &seen.conversation.tool_results);
    let read: Vec<&str> = results.map(|result| result.text.as_str()).collect();
    let has = |text: &str| read.iter().any(|result| result.contains(text));
    assert!(has(&format!("storkit refuses {}", elsewhere.0)) && has("nobody answers"), "{read:?}");
    assert!(has(env!("CARGO_PKG_VERSION")), "storkit's tools answer: {read:?}");
    assert!(api.came() > 0, "the model is asked by the way out");
    assert_eq!(elsewhere.came(), 0, "neither the agents nor the gates come there");
}
