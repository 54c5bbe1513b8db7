//! The crash harness: `storkit serve` is killed at random moments of whole story lives, and started again. What must
//! hold while it is dead is looked at after each kill, and in the end all stories are done.
//!
//! `STORKIT_KILLS` sets how many kills (300), `STORKIT_CRASH_SEED` the seed. A failure prints both.

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

/// SplitMix64: the same seed gives the same moments.
struct Moments(u64);

impl Moments {
    fn next(&mut self) -> Duration {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Duration::from_millis(LIFE.start + (mixed ^ (mixed >> 31)) % (LIFE.end - LIFE.start))
    }
}

#[test]
fn three_hundred_kills_lose_no_story_and_leave_base_green() {
    let (kills, seed) = (setting("STORKIT_KILLS", KILLS), setting("STORKIT_CRASH_SEED", SEED));
    let mut world = World::new();
    let mut moments = Moments(seed);
    for kill in 1..=kills {
        world.feed();
        let moment = moments.next();
        let child = world.spawn();
        // The moment of the kill is what is random here: nothing is waited for.
        std::thread::sleep(moment);
        world.kill(child);
        if let Err(broken) = world.check(kill % 25 == 0) {
            panic!(
                "after kill {kill} of {kills}, {moment:?} into its life, seed {seed}: {broken}\n{}",
                world.report()
            );
        }
    }
    if let Err(broken) = world.finish() {
        panic!("after {kills} kills, seed {seed}: {broken}\n{}", world.report());
    }
    world.told();
}
