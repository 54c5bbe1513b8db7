//! All processes as `/proc` shows them (Linux, proc_pid_stat(5)).

use std::{
    fs::{self, File},
    io::Read as _,
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use super::process_table::{ProcessTable, ProcessUsage};

/// A `stat` line is some 350 bytes; with every number at its longest it stays below this.
const LONGEST_LINE: usize = 2048;

/// The units in which the kernel counts.
#[derive(Clone, Copy)]
struct KernelUnits {
    ticks_per_second: u64,
    page_size: u64,
}

/// Reads every process. One that vanishes meanwhile is left out; without a readable `/proc` there are none.
pub(super) fn snapshot() -> ProcessTable {
    let units = KernelUnits {
        ticks_per_second: rustix::param::clock_ticks_per_second().max(1),
        page_size: rustix::param::page_size() as u64,
    };
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let processes = pids.filter_map(|pid| Some((pid, read(pid, units)?))).collect();
    // Read last, so that no process is younger than the snapshot.
    ProcessTable { at: since_boot(), processes }
}

fn read(pid: u32, units: KernelUnits) -> Option<ProcessUsage> {
    let mut line = [0; LONGEST_LINE];
    let length = File::open(format!("/proc/{pid}/stat")).and_then(|mut file| file.read(&mut line)).ok()?;
    parse(&line[..length], units)
}

/// Parses the fields after the name, which is in brackets and may itself hold brackets, blanks and any byte.
fn parse(line: &[u8], units: KernelUnits) -> Option<ProcessUsage> {
    let name_end = line.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&line[name_end + 1..]).ok()?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // By their numbers in the manual page; the name is field 2. `cutime` and `cstime` are signed there.
    let field = |number: usize| fields.get(number - 3)?.parse::<i64>().ok().map(|value| value.max(0) as u64);
    let ticks = |number| {
        let ticks = field(number)?;
        let nanoseconds = u128::from(ticks) * 1_000_000_000 / u128::from(units.ticks_per_second);
        Some(Duration::from_nanos(nanoseconds.try_into().ok()?))
    };
    Some(ProcessUsage {
        parent: field(4)? as u32,
        session: field(6)? as u32,
        own: ticks(14)? + ticks(15)?,
        reaped: ticks(16)? + ticks(17)?,
        started: ticks(22)?,
        memory: field(24)?.saturating_mul(units.page_size),
        zombie: matches!(fields.first(), Some(&("Z" | "X" | "x"))),
    })
}

/// The clock of the processes' start times; `/proc/uptime` is another one in a container under lxcfs.
fn since_boot() -> Duration {
    clock_gettime(ClockId::Boottime).try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNITS: KernelUnits = KernelUnits { ticks_per_second: 100, page_size: 4096 };
    const FIELDS: &str = "S 7 8 9 0 -1 4194304 1 2 3 4 150 50 400 -1 20 0 1 0 12345 9999999 300 1844674407";

    #[test]
    fn a_line_is_read_by_its_field_numbers() {
        let process = parse(format!("42 (sleep) {FIELDS} 0 0\n").as_bytes(), UNITS).unwrap();
        insta::assert_debug_snapshot!(process, @"
        ProcessUsage {
            parent: 7,
            session: 9,
            started: 123.45s,
            own: 2s,
            reaped: 4s,
            memory: 1228800,
            zombie: false,
        }
        ");
    }

    #[test]
    fn a_name_may_hold_brackets_blanks_and_broken_utf8() {
        let plain = parse(format!("42 (sleep) {FIELDS}").as_bytes(), UNITS);
        let mut odd = b"42 (a) R 1 \xff) (b) ".to_vec();
        odd.extend(FIELDS.as_bytes());
        assert_eq!(parse(&odd, UNITS), plain);
        assert!(plain.is_some());
    }

    #[test]
    fn a_line_that_breaks_off_or_is_no_such_line_is_no_process() {
        for line in ["", "42", "42 (sleep", "42 (sleep) S 7 8 9", "42 (sleep) S x 8 9"] {
            assert_eq!(parse(line.as_bytes(), UNITS), None, "{line:?}");
        }
    }

    #[test]
    fn this_process_is_in_the_snapshot_and_not_younger_than_it() {
        let snapshot = snapshot();
        let own = &snapshot.processes[&std::process::id()];
        assert!(own.memory > 0 && !own.zombie, "{own:?}");
        assert!(own.started <= snapshot.at, "{own:?} at {:?}", snapshot.at);
        assert!(snapshot.at - own.started < Duration::from_secs(24 * 3600), "the same clock");
    }
}
