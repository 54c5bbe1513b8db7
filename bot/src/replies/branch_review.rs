//! Reviews of people's branches.

use std::{collections::BTreeMap, fmt::Write as _, time::SystemTime};

use adapters::markdown::{code_span, inert};
use pipeline::{
    branch_review::{BranchNow, ReviewFinding, ReviewFindings, ReviewReport, ReviewResult},
    event::PipelineSnapshot,
};

use super::{
    board::worker,
    text::{count, sentence, shorten},
    visible::{visible, visible_line},
};

pub const WHICH_BRANCH: &str =
    "Which branch? Name it as git does: `feature/x`, or `origin/x` for a remote's.";

/// Characters of a finding in a room, and of a path.
const FINDING: usize = 600;
const PATH: usize = 120;

/// `review` begins.
pub fn looking_for_branch(branch: &str) -> String {
    format!(
        "Review of {}: I report here what is found; `stop branch-review` ends it.",
        code_span(&visible_line(branch, PATH))
    )
}

/// The pipeline ended under a review.
pub fn review_lost(branch: &str) -> String {
    format!("The review of {} was lost. Ask for it again.", code_span(&visible_line(branch, PATH)))
}

/// What became of a review.
pub fn review_report(report: &ReviewReport) -> String {
    let branch = code_span(&visible_line(&report.branch.name, PATH));
    let commits = count(report.branch.commits, "commit", "commits");
    let about = format!("{branch} at `{:.10}` ({commits}, {})", report.branch.commit(), report.branch.diff);
    let mut text = match &report.result {
        ReviewResult::Found(found) => found_in(&about, found),
        ReviewResult::StoppedBy(who) => format!("The review of {branch} was stopped by {}.", inert(who)),
        ReviewResult::Failed(why) => {
            format!("The review of {branch} failed: {}", sentence(&inert(&shorten(why, FINDING))))
        }
        ReviewResult::Shutdown => {
            format!("The review of {branch} ended with me. Ask for it again when I am back.")
        }
    };
    match report.now {
        BranchNow::Unchanged => {}
        BranchNow::Moved => text.push_str("\n\nThe branch has other commits by now."),
        BranchNow::Gone => text.push_str("\n\nThe branch was deleted meanwhile."),
    }
    let usd = report.run.cost_usd;
    let cost = if usd > 0.0 { format!(", ${usd:.2}") } else { String::new() };
    let _ = write!(text, "\n\n(`{}`{cost})", report.run.id);
    text
}

fn found_in(about: &str, found: &ReviewFindings) -> String {
    let head = match found.findings.len() {
        0 => format!("**No findings** in {about}."),
        findings => format!("**{}** in {about}:", count(findings, "finding", "findings")),
    };
    let mut text = head;
    let mut files: BTreeMap<&str, Vec<&ReviewFinding>> = BTreeMap::new();
    found.findings.iter().for_each(|finding| files.entry(&finding.file).or_default().push(finding));
    for (file, findings) in files {
        let _ = write!(text, "\n\n{}\n", code_span(&visible_line(file, PATH)));
        for finding in findings {
            let problem = inert(&shorten(&visible(&finding.problem), FINDING)).into_owned();
            let _ = match finding.line {
                Some(line) => write!(text, "\n- line {line}: {problem}"),
                None => write!(text, "\n- {problem}"),
            };
        }
    }
    if !found.summary.trim().is_empty() {
        let _ = write!(text, "\n\n{}", inert(&shorten(&visible(&found.summary), 2 * FINDING)));
    }
    text
}

/// The reviews under way, for `status`; empty where there are none.
pub fn reviews(snapshot: &PipelineSnapshot, now: SystemTime) -> String {
    let runs = snapshot.runs.iter().filter(|run| run.branch.is_some());
    let lines: Vec<String> =
        runs.map(|run| format!("- {}: {}\n", inert(&run.subject()), worker(run, now))).collect();
    match lines.is_empty() {
        true => String::new(),
        false => format!("**Reviews of branches**\n{}\n", lines.concat()),
    }
}
