//! One picture of `htop`: the machine and its agents in a table that fits a phone.

use std::{fmt::Write as _, time::Duration};

use adapters::markdown::inert;
use agents::usage::{MachineUsage, TreeUsage};
use settings::duration::human;
use unicode_width::UnicodeWidthStr as _;

/// Columns of a phone in portrait that most messengers show without wrapping or scrolling.
const WIDTH: usize = 46;
const NAME: usize = 13;
const BAR: usize = 20;
/// More agents than a screen holds are only counted.
const MOST_ROWS: usize = 12;
const UNITS: [char; 5] = ['B', 'K', 'M', 'G', 'T'];

/// One agent in the table.
pub struct AgentRow {
    /// How people call it.
    pub name: String,
    /// Its story, on a line of its own; empty for none.
    pub doing: String,
    /// The CPU and memory of its process tree.
    pub usage: TreeUsage,
    /// Time since its start.
    pub elapsed: Duration,
    /// Its cost so far, in US dollars; `None` if unknown.
    pub cost_usd: Option<f64>,
}

/// Markdown with one code block; `left` is the remaining time of the live message, `None` for its last picture.
pub fn htop_frame(machine: &MachineUsage, rows: &[AgentRow], left: Option<Duration>) -> String {
    let end = left.map_or_else(|| "ended".into(), |left| format!("ends in {}", human(left)));
    format!("**htop** · {end}\n\n```\n{}\n{}```", head(machine), table(rows))
}

fn head(machine: &MachineUsage) -> String {
    let [one, five, fifteen] = machine.load;
    let share = machine.memory_used as f64 / machine.memory_total.max(1) as f64;
    let filled = ((share * BAR as f64).round() as usize).min(BAR);
    format!(
        "load {one:.2} {five:.2} {fifteen:.2} on {} core{}\nmem  [{:<BAR$}] {} of {}\nup   {}\n",
        machine.cores,
        if machine.cores == 1 { "" } else { "s" },
        "|".repeat(filled),
        bytes(machine.memory_used),
        bytes(machine.memory_total),
        human(Duration::from_secs(machine.uptime)),
    )
}

fn table(rows: &[AgentRow]) -> String {
    if rows.is_empty() {
        return "no agents\n".into();
    }
    let mut text = line("agent", "CPU%", "mem", "proc", "time", "cost");
    for row in rows.iter().take(MOST_ROWS) {
        text.push_str(&agent(row));
    }
    let more = rows.len().saturating_sub(MOST_ROWS);
    if more > 0 {
        let _ = writeln!(text, "and {more} more");
    }
    text
}

fn agent(row: &AgentRow) -> String {
    let usage = &row.usage;
    let cost = row.cost_usd.map_or_else(|| "-".into(), dollars);
    let (time, name) = (human(row.elapsed), one_line(&row.name));
    let mut text = if usage.processes == 0 {
        line(&name, "-", "-", "0", &time, &cost)
    } else {
        let percent = format!("{:.0}", usage.cpu_percent);
        line(&name, &percent, &bytes(usage.memory), &usage.processes.to_string(), &time, &cost)
    };
    let doing = one_line(&row.doing);
    if !doing.is_empty() {
        let _ = writeln!(text, "  {}", cut(&doing, WIDTH - 2));
    }
    text
}

fn line(name: &str, cpu: &str, memory: &str, processes: &str, time: &str, cost: &str) -> String {
    let name = cut(name, NAME);
    let pad = " ".repeat(NAME - name.width());
    format!("{name}{pad} {cpu:>4} {memory:>5} {processes:>4} {time:>7} {cost:>7}\n")
}

/// Three digits and a unit of 1,024, in at most 5 columns: `0B`, `9.5M`, `412M`, `1.4G`.
fn bytes(count: u64) -> String {
    let (mut value, mut unit) = (count as f64, 0);
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let decimals = usize::from(unit > 0 && value < 9.95);
    format!("{value:.decimals$}{}", UNITS[unit])
}

/// Cents while there is room for them.
fn dollars(usd: f64) -> String {
    if usd < 999.995 { format!("${usd:.2}") } else { format!("${usd:.0}") }
}

// A story's title must not close the code block or break the line.
fn one_line(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    inert(&words.join(" ").replace('`', "'")).into_owned()
}

/// At most `columns` wide, with an ellipsis where something is missing.
fn cut(text: &str, columns: usize) -> String {
    if text.width() <= columns {
        return text.into();
    }
    // A sign can widen the one before it (an emoji's variant), so the widths of single signs are no sum.
    let ends = text.char_indices().map(|(at, letter)| at + letter.len_utf8());
    let kept = ends.map(|end| &text[..end]).take_while(|kept| kept.width() < columns).last();
    format!("{}…", kept.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MACHINE: MachineUsage = MachineUsage {
        load: [0.52, 1.48, 12.4],
        cores: 2,
        memory_total: 8_323_596_288,
        memory_used: 3_329_438_515,
        uptime: 273_700,
    };

    fn row(name: &str, doing: &str, cpu_percent: f64, memory: u64, processes: usize) -> AgentRow {
        AgentRow {
            name: name.into(),
            doing: doing.into(),
            usage: TreeUsage { pid: 1, cpu_percent, memory, processes },
            elapsed: Duration::from_secs(270),
            cost_usd: Some(0.123),
        }
    }

    /// The widest line inside the code block.
    fn widest(frame: &str) -> usize {
        frame.lines().skip(2).map(|line| line.width()).max().unwrap()
    }

    #[test]
    fn a_frame_shows_the_machine_and_each_agent() {
        let mut unpaid = row("console:local", "", 0.4, 9_961_472, 1);
        unpaid.cost_usd = None;
        let mut gone = row("matrix:ops", "", 0.0, 0, 0);
        gone.elapsed = Duration::from_secs(100_000);
        let rows = [row("matrix:general", "story 12: a page", 102.3, 432_013_312, 7), unpaid, gone];
        insta::assert_snapshot!(htop_frame(&MACHINE, &rows, Some(Duration::from_secs(270))), @"
        **htop** · ends in 4m 30s

        ```
        load 0.52 1.48 12.40 on 2 cores
        mem  [||||||||            ] 3.1G of 7.8G
        up   3d 4h

        agent         CPU%   mem proc    time    cost
        matrix:gener…  102  412M    7  4m 30s   $0.12
          story 12: a page
        console:local    0  9.5M    1  4m 30s       -
        matrix:ops       -     -    0   1d 3h   $0.12
        ```
        ");
    }

    #[test]
    fn the_last_frame_says_that_it_ended() {
        let one_core = MachineUsage { cores: 1, ..MachineUsage::default() };
        insta::assert_snapshot!(htop_frame(&one_core, &[], None), @"
        **htop** · ended

        ```
        load 0.00 0.00 0.00 on 1 core
        mem  [                    ] 0B of 0B
        up   0s

        no agents
        ```
        ");
    }

    #[test]
    fn of_many_agents_the_rest_is_counted() {
        let rows: Vec<_> = (1..=100).map(|n| row(&format!("agent {n}"), "", 1.0, 1 << 20, 1)).collect();
        let frame = htop_frame(&MACHINE, &rows, None);
        assert!(frame.contains("agent 12 ") && !frame.contains("agent 13 "), "{frame}");
        assert!(frame.ends_with("\nand 88 more\n```"), "{frame}");
    }

    #[test]
    fn wide_letters_are_cut_by_columns() {
        let frame = htop_frame(&MACHINE, &[row("設計部屋の会話室", &"長".repeat(40), 1.0, 1 << 20, 1)], None);
        let lines: Vec<&str> = frame.lines().rev().skip(1).take(2).collect();
        insta::assert_snapshot!(lines.join("\n"), @"
          長長長長長長長長長長長長長長長長長長長長長…
        設計部屋の会…    1  1.0M    1  4m 30s   $0.12
        ");
    }

    #[test]
    fn a_sign_that_widens_the_one_before_it_is_counted() {
        let name = format!("{}x", "0\u{fe0f}".repeat(7));
        assert!(widest(&htop_frame(&MACHINE, &[row(&name, &name, 1.0, 1 << 20, 1)], None)) <= WIDTH);
    }

    #[test]
    fn foreign_names_cannot_leave_their_line_or_the_block() {
        let rows = [row("a\n```\n@room\u{202e}", "x ``` y\r\n# z", 1.0, 1, 1)];
        let frame = htop_frame(&MACHINE, &rows, None);
        assert_eq!(frame.matches("```").count(), 2, "{frame}");
        assert_eq!(frame.lines().count(), 11, "{frame}");
        assert!(!frame.contains("@room") && !frame.contains('\u{202e}'), "{frame}");
    }

    #[test]
    fn sizes_and_sums_keep_to_their_columns() {
        let sizes = [0, 999, 1000, 9_961_472, 1_047_527_424, 1_073_741_824, 5 << 40, u64::MAX].map(bytes);
        insta::assert_snapshot!(sizes.join(" "), @"0B 999B 1.0K 9.5M 999M 1.0G 5.0T 16777216T");
        insta::assert_snapshot!([0.0, 0.005, 999.99, 999.999, 12_345.6].map(dollars).join(" "), @"$0.00 $0.01 $999.99 $1000 $12346");
    }

    proptest! {
        #[test]
        fn no_frame_is_wider_than_a_phone(
            name in "\\PC{0,30}", doing in "\\PC{0,80}", cpu in 0.0..6400.0, memory in 0u64..1 << 50,
            processes in 0usize..9999, seconds in 0u64..8_000_000, cost in proptest::option::of(0.0..100_000.0),
        ) {
            let row = AgentRow { elapsed: Duration::from_secs(seconds), cost_usd: cost, ..row(&name, &doing, cpu, memory, processes) };
            let frame = htop_frame(&MACHINE, &[row], None);
            prop_assert!(widest(&frame) <= WIDTH, "{frame}");
        }
    }
}
