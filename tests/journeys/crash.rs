//! The crash harness: `storkit serve` is killed at random moments of whole story lives, and started again. What must
//! hold while it is dead is looked at after each kill, and in the end all stories are done. The moments in which slots change hands
//! are short, so half of the kills wait for one.
//!
//! `STORKIT_KILLS` sets how many kills (300), `STORKIT_CRASH_SEED` the seed. A failure prints both.

mod slots;
mod world;

use std::time::Duration;

use self::world::World;

/// Kills without a word.
const KILLS: u32 = 300;

/// The seed without a word.
const SEED: u64 = 20_261_124;

/// A storkit lives so long, in milliseconds from its start: from before it has begun to amid merges.
const LIFE: std::ops::Range<u64> = 20..1_400;

fn setting<T: std::str::FromStr>(name: &str, usual: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// How long a kill waits for a slot that is taken or vacated; whole lives of stories are shorter.
const PATIENCE: Duration = Duration::from_secs(4);

/// A kill comes so long after that, in milliseconds: amid the files, and just behind them.
const AFTER: std::ops::Range<u64> = 0..40;

/// So many kills certainly meet slots.
const CERTAIN: u32 = 100;

/// When a kill comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    Any,
    /// A story gets a slot.
    SlotTaken,
    /// A story's slot is made ready for the next one.
    SlotVacated,
}

impl Moment {
    fn of(kill: u32) -> Self {
        match kill % 4 {
            1 => Self::SlotTaken,
            3 => Self::SlotVacated,
            _ => Self::Any,
        }
    }
}

/// SplitMix64: the same seed gives the same moments.
struct Moments(u64);

impl Moments {
    fn next(&mut self, range: std::ops::Range<u64>) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Duration::from_millis(range.start + (mixed ^ (mixed >> 31)) % (range.end - range.start))
    }
}

#[test]
fn three_hundred_kills_lose_no_story_and_leave_base_green() {
    let (kills, seed) = (setting("STORKIT_KILLS", KILLS), setting("STORKIT_CRASH_SEED", SEED));
    let mut world = World::new();
    let mut moments = Moments(seed);
    for kill in 1..=kills {
        world.feed();
        let moment = Moment::of(kill);
        let child = world.spawn();
        let life = match moment {
            Moment::Any => LIFE,
            Moment::SlotTaken | Moment::SlotVacated => {
                world.wait_for_slot(moment, PATIENCE);
                AFTER
            }
        };
        let life = moments.next(life);
        // The moment of the kill is what is random here: nothing is waited for.
        std::thread::sleep(life);
        world.kill(child);
        if let Err(broken) = world.check(kill % 25 == 0) {
            panic!(
                "after kill {kill} of {kills}, {life:?} into {moment:?}, seed {seed}: {broken}\n{}",
                world.report()
            );
        }
    }
    if let Err(broken) = world.finish() {
        panic!("after {kills} kills, seed {seed}: {broken}\n{}", world.report());
    }
    world.told();
    assert!(kills < CERTAIN || world.kills_met_slots(), "the kills say nothing about slots");
}
