//! Figure 9: Matrix.

use futures::FutureExt as _;

use super::Figure;

pub const FIGURE: Figure = Figure {
    number: 9,
    name: "matrix",
    title: "Matrix on one Synapse",
    method: "Three bots on one Synapse, each in a room without encryption with the same person: storkit (`!whoami`), a bare loop on \
             matrix-sdk's `sync_once` with the same stores (`!ping`), and maubot without a crypto store (`!ping`). A proxy before each notes \
             when it is handed an answer of `/sync` with the command, and when it begins to send its reply: the bot's own part of a \
             round trip, without Synapse's. Round trip as the person sees it: from the call that says it until the person's `/sync` shows the reply. \
             CPU is taken from schedstat. Burst: one answer of `/sync` with 500 copies of a command, and replies that the proxy answers itself, so that \
             Synapse's own speed is not measured; none lost is also counted with 500 commands through Synapse.",
    measure: |effort| measure(effort).boxed(),
};

#[cfg(not(feature = "matrix"))]
async fn measure(_: crate::Effort) -> anyhow::Result<crate::report::Outcome> {
    anyhow::bail!("this build has no Matrix; run `script/bench matrix`")
}

#[cfg(feature = "matrix")]
use with_matrix::measure;

#[cfg(feature = "matrix")]
mod with_matrix {
    use std::time::{Duration, Instant};

    use anyhow::{Context as _, ensure};
    use futures::{StreamExt as _, TryStreamExt as _, stream};
    use services::matrix::{Limits, Synapse};

    use crate::{
        Effort,
        matrix::{Bot, Kind, Person},
        numbers::{median, millis, percentile},
        report::{Outcome, Row},
    };

    const BURST: usize = 500;

    /// Measurements of one bot, by round.
    #[derive(Default)]
    struct Seen {
        idle: f64,
        own_p50: Vec<f64>,
        own_p99: Vec<f64>,
        whole_p50: Vec<f64>,
        whole_p99: Vec<f64>,
        cpu: Vec<f64>,
        burst: Vec<f64>,
        lost: usize,
        used: f64,
    }

    pub async fn measure(effort: Effort) -> anyhow::Result<Outcome> {
        let synapse = Synapse::start(Limits::Off).await;
        let mut person = Person::new(&synapse).await?;
        let mut bots = Vec::new();
        for kind in Kind::ALL {
            bots.push((Bot::start(kind, &synapse, &person).await?, Seen::default()));
        }
        for (bot, seen) in &mut bots {
            // The first answers are slow: it connects, makes keys, and so on.
            pings(bot, &mut person, effort.pick(20, 5)).await.with_context(|| bot.log())?;
            tokio::time::sleep(Duration::from_secs(effort.pick(5, 1))).await;
            seen.idle = bot.process().resident()?;
        }
        let pings_a_round = effort.pick(200, 20);
        // The bots take turns in every round, so that a change of the machine's load hits all of them.
        for _ in 0..effort.rounds() {
            for (bot, seen) in &mut bots {
                let before = bot.process().cpu()?;
                let (own, whole) = pings(bot, &mut person, pings_a_round).await.with_context(|| bot.log())?;
                let used = bot.process().cpu()?.since(&before);
                seen.cpu.push(millis(used) / pings_a_round as f64);
                seen.own_p50.push(median(&own));
                seen.own_p99.push(percentile(&own, 0.99));
                seen.whole_p50.push(median(&whole));
                seen.whole_p99.push(percentile(&whole, 0.99));
            }
            for (bot, seen) in &mut bots {
                seen.burst.push(copied_burst(bot, &person).await.with_context(|| bot.log())?);
            }
        }
        for (bot, seen) in &mut bots {
            seen.lost = lost(bot, &person, effort.pick(BURST, 50)).await?;
            seen.used = bot.process().resident()?;
        }
        let of = |kind: Kind| bots.iter().find(|(bot, _)| bot.kind == kind).map(|(_, seen)| seen);
        let [Some(ours), Some(bare), Some(maubot)] = Kind::ALL.map(of) else {
            anyhow::bail!("a bot is missing");
        };
        Ok(outcome(ours, bare, maubot))
    }

    fn outcome(ours: &Seen, bare: &Seen, maubot: &Seen) -> Outcome {
        let both = |field: fn(&Seen) -> &Vec<f64>, other: &Seen| (median(field(ours)), median(field(other)));
        let (sdk, python) = ("matrix-sdk", "maubot");
        Outcome {
            rows: vec![
                Row::at_most("own part of a round trip, p50", both(|it| &it.own_p50, bare), 1.15, "ms", sdk),
                Row::at_most("own part of a round trip, p99", both(|it| &it.own_p99, bare), 1.15, "ms", sdk),
                Row::bound("own part of a round trip, p99", median(&ours.own_p99), 50.0, "ms"),
                Row::at_most("CPU for one command", both(|it| &it.cpu, bare), 1.15, "ms", sdk),
                Row::at_most("idle resident memory", (ours.idle, maubot.idle), 1.0, "MB", python),
                Row::at_least("burst", both(|it| &it.burst, maubot), 1.3, "commands/s", python),
                Row::bound(
                    "commands of a burst through Synapse without a reply",
                    ours.lost as f64,
                    0.0,
                    "commands",
                ),
                Row::beside(
                    "round trip as the person sees it, p50",
                    both(|it| &it.whole_p50, bare),
                    "ms",
                    sdk,
                ),
                Row::beside(
                    "round trip as the person sees it, p99",
                    both(|it| &it.whole_p99, bare),
                    "ms",
                    sdk,
                ),
                Row::beside("own part of a round trip, p50", both(|it| &it.own_p50, maubot), "ms", python),
                Row::beside("own part of a round trip, p99", both(|it| &it.own_p99, maubot), "ms", python),
                Row::beside("CPU for one command", both(|it| &it.cpu, maubot), "ms", python),
                Row::beside("idle resident memory", (ours.idle, bare.idle), "MB", sdk),
                Row::beside("resident memory after all", (ours.used, bare.used), "MB", sdk),
                Row::beside("resident memory after all", (ours.used, maubot.used), "MB", python),
                Row::beside("burst", both(|it| &it.burst, bare), "commands/s", sdk),
            ],
            remarks: vec![format!(
                "storkit also marks what it has read and keeps each command's id and where it was for a restart; the other two \
                 only answer. Without a reply in the burst through Synapse: matrix-sdk {}, maubot {}.",
                bare.lost, maubot.lost
            )],
        }
    }

    /// ms of the bot's own part, and of the whole, of so many commands one after the other.
    async fn pings(bot: &Bot, person: &mut Person, count: usize) -> anyhow::Result<(Vec<f64>, Vec<f64>)> {
        person.skip().await?;
        let (mut own, mut whole) = (Vec::new(), Vec::new());
        for _ in 0..count {
            bot.between.begin();
            let start = Instant::now();
            let event = person.say(&bot.room, bot.kind.command()).await?;
            let reply = bot.between.first_taken().await?;
            person.hear(&bot.room, &reply).await?;
            whole.push(millis(start.elapsed()));
            own.push(millis(bot.between.own_part(&event)?));
        }
        Ok((own, whole))
    }

    /// Commands answered in a second, Synapse's part left out.
    async fn copied_burst(bot: &Bot, person: &Person) -> anyhow::Result<f64> {
        bot.between.copy_next(BURST);
        person.say(&bot.room, bot.kind.command()).await?;
        let sent = bot.between.until_sent(BURST).await;
        ensure!(sent.is_ok(), "only {sent:?} of {BURST} commands of a burst were answered");
        let whole = bot.between.whole()?;
        bot.between.begin();
        Ok(BURST as f64 / whole.as_secs_f64())
    }

    /// How many of so many commands, eight on their way at once, are never answered.
    async fn lost(bot: &Bot, person: &Person, count: usize) -> anyhow::Result<usize> {
        bot.between.begin();
        let said = stream::iter(0..count).map(|_| person.say(&bot.room, bot.kind.command()));
        said.buffer_unordered(8).try_collect::<Vec<_>>().await?;
        Ok(bot.between.until_taken(count).await.err().map_or(0, |taken| count - taken))
    }
}
