//! Runs an adapter for as long as the bot runs: reconnects with a growing, jittered delay and records its health.

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt;
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::backoff::Backoff;
use crate::{Adapter, AdapterError, AdapterHealth, Inbox, Incoming};

// With the time that connecting takes, a messenger is back within half a minute, however often its connection breaks.
const RECONNECT: Backoff = Backoff::doubling(Duration::from_secs(1), Duration::from_secs(20));
// A connection that was up for this long counts as a good one: the delay starts over. A service that accepts and drops
// connections at once must not be called in a tight loop.
const STABLE_AFTER: Duration = Duration::from_secs(60);

/// An adapter that is being run.
#[derive(Debug)]
pub struct SupervisedAdapter {
    pub health: Arc<AdapterHealth>,
    /// Finishes on stop, after `Ok` from the adapter, or when its configuration is wrong.
    pub task: JoinHandle<()>,
}

/// Runs `adapter` until `stop`, or until it returns `Ok` or [`AdapterError::Config`].
///
/// After any other error, and after a panic, it runs again: after 1 s, 2 s, ... 20 s, each with jitter. The delay starts over
/// after a connection of at least a minute.
pub fn supervise(
    adapter: Arc<dyn Adapter>,
    sender: mpsc::Sender<Incoming>,
    stop: CancellationToken,
) -> SupervisedAdapter {
    let health = Arc::new(AdapterHealth::new(adapter.name()));
    let inbox = Inbox::new(sender, Arc::clone(&health));
    let task = tokio::spawn(keep_running(adapter, inbox, Arc::clone(&health), stop));
    SupervisedAdapter { health, task }
}

async fn keep_running(
    adapter: Arc<dyn Adapter>,
    inbox: Inbox,
    health: Arc<AdapterHealth>,
    stop: CancellationToken,
) {
    let name = adapter.name();
    let mut backoff = RECONNECT;
    loop {
        let ending = tokio::select! {
            // With `stop` first, a shutdown during a busy connection is never taken for a failure of it.
            biased;
            () = stop.cancelled() => return health.ended(),
            ending = run_once(&*adapter, inbox.clone()) => ending,
        };
        let failure = match ending {
            RunEnding::Done => {
                tracing::info!(adapter = name, "ended");
                return health.ended();
            }
            RunEnding::Failed(failure) => failure,
        };
        if health.uptime() >= STABLE_AFTER {
            backoff.reset();
        }
        health.set_down(&failure.to_string());
        // Only a person can fix the configuration, so a retry would repeat the same failure for ever.
        if let ConnectionFailure::Error(error @ AdapterError::Config { .. }) = &failure {
            tracing::error!(adapter = name, %error, "not tried again: its configuration is wrong");
            return;
        }
        let wait = delay(&mut backoff, &failure);
        tracing::warn!(adapter = name, error = %failure, wait_ms = wait.as_millis(), "down, will connect again");
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

enum RunEnding {
    Done,
    Failed(ConnectionFailure),
}

#[derive(Debug, thiserror::Error)]
enum ConnectionFailure {
    #[error(transparent)]
    Error(AdapterError),
    #[error("panicked: {0}")]
    Panic(String),
}

async fn run_once(adapter: &dyn Adapter, inbox: Inbox) -> RunEnding {
    // The call itself is inside the block: an adapter without `async_trait` may panic before its first await.
    let run = AssertUnwindSafe(async { adapter.run(inbox).await }).catch_unwind();
    match run.await {
        Ok(Ok(())) => RunEnding::Done,
        Ok(Err(error)) => RunEnding::Failed(ConnectionFailure::Error(error)),
        Err(panic) => RunEnding::Failed(ConnectionFailure::Panic(panic_text(&*panic))),
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "without a message".to_owned())
}

fn delay(backoff: &mut Backoff, failure: &ConnectionFailure) -> Duration {
    let delay = backoff.next_jittered();
    match failure {
        ConnectionFailure::Error(AdapterError::RateLimited { retry_after }) => delay.max(*retry_after),
        _ => delay,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;
    use tokio::time::Instant;

    use super::*;
    use crate::{Capabilities, MessageId, Outgoing, Room, testing::fake::Fake};

    /// Fails in its own way at each run, after it was connected for a while.
    struct Faulty {
        stands: Duration,
        runs: AtomicUsize,
        end: fn(usize) -> Result<(), AdapterError>,
        started: mpsc::UnboundedSender<Instant>,
    }

    #[async_trait]
    impl Adapter for Faulty {
        fn name(&self) -> &'static str {
            "faulty"
        }

        fn capabilities(&self) -> Capabilities {
            Fake::plain("faulty").capabilities()
        }

        async fn run(&self, inbox: Inbox) -> Result<(), AdapterError> {
            let _ = self.started.send(Instant::now());
            if !self.stands.is_zero() {
                inbox.set_connected();
                tokio::time::sleep(self.stands).await;
            }
            (self.end)(self.runs.fetch_add(1, Ordering::SeqCst))
        }

        async fn send(&self, _: &Room, _: &Outgoing) -> Result<MessageId, AdapterError> {
            Err(AdapterError::Unsupported("sending"))
        }
    }

    struct Bench {
        supervised: SupervisedAdapter,
        starts: mpsc::UnboundedReceiver<Instant>,
        stop: CancellationToken,
        _inbox: mpsc::Receiver<Incoming>,
    }

    fn run(stands: Duration, end: fn(usize) -> Result<(), AdapterError>) -> Bench {
        let (started, starts) = mpsc::unbounded_channel();
        let (sender, inbox) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let faulty = Faulty { stands, runs: AtomicUsize::new(0), end, started };
        let supervised = supervise(Arc::new(faulty), sender, stop.clone());
        Bench { supervised, starts, stop, _inbox: inbox }
    }

    impl Bench {
        /// The times between the next `count` starts and the one before each, in seconds.
        async fn gaps(&mut self, count: usize) -> Vec<f64> {
            let mut before = self.starts.recv().await.expect("it starts");
            let mut gaps = Vec::new();
            for _ in 0..count {
                let next = self.starts.recv().await.expect("it starts again");
                gaps.push((next - before).as_secs_f64());
                before = next;
            }
            gaps
        }
    }

    fn unreachable_now(_: usize) -> Result<(), AdapterError> {
        Err(AdapterError::Unreachable("no route".into()))
    }

    #[tokio::test(start_paused = true)]
    async fn the_delay_grows_to_twenty_seconds_with_jitter() {
        let gaps = run(Duration::ZERO, unreachable_now).gaps(9).await;
        for (gap, nominal) in gaps.iter().zip([1.0, 2.0, 4.0, 8.0, 16.0, 20.0, 20.0, 20.0, 20.0]) {
            assert!((nominal * 0.79..=(nominal * 1.21)).contains(gap) && *gap < 20.1, "{gap} for {nominal}");
        }
        let rounded = gaps.iter().filter(|gap| gap.fract() < 0.01).count();
        assert!(rounded < gaps.len(), "no jitter: {gaps:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_stood_for_a_minute_starts_the_delay_over() {
        let short = run(Duration::from_secs(30), unreachable_now).gaps(5).await;
        assert!(short[4] > 30.0 + 16.0 * 0.7, "{short:?}");
        let long = run(Duration::from_secs(61), unreachable_now).gaps(5).await;
        assert!(long.iter().all(|gap| *gap < 61.0 + 1.5), "{long:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_breaks_again_and_again_is_back_within_half_a_minute() {
        let gaps = run(Duration::from_secs(3), unreachable_now).gaps(12).await;
        assert!(gaps.iter().all(|gap| *gap < 3.0 + 30.0), "{gaps:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn health_tells_when_and_why_it_went_down() {
        let mut bench = run(Duration::from_secs(1), unreachable_now);
        bench.gaps(3).await;
        tokio::task::yield_now().await;
        let health = bench.supervised.health.snapshot();
        assert!(health.up);
        assert_eq!((health.name, health.reconnects), ("faulty", 3));
        assert_eq!(health.last_error.as_deref(), Some("not reachable: no route"));
        assert_eq!(health.last_event, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_an_error_like_others_and_is_tried_again() {
        let mut bench = run(Duration::ZERO, |run| if run == 0 { panic!("oh no {run}") } else { Ok(()) });
        bench.gaps(1).await;
        (&mut bench.supervised.task).await.expect("the supervisor itself does not panic");
        assert_eq!(bench.supervised.health.snapshot().last_error.as_deref(), Some("panicked: oh no 0"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_configuration_is_not_tried_again() {
        let wrong = |_| Err(AdapterError::Config { key: "faulty.token", why: "is empty".into() });
        let mut bench = run(Duration::ZERO, wrong);
        (&mut bench.supervised.task).await.expect("it ends");
        assert_eq!(bench.starts.len(), 1);
        let error = bench.supervised.health.snapshot().last_error;
        assert_eq!(error.as_deref(), Some("`faulty.token` in bot.toml: is empty"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_limit_is_waited_out() {
        let limited = |_| Err(AdapterError::RateLimited { retry_after: Duration::from_secs(300) });
        let gaps = run(Duration::ZERO, limited).gaps(1).await;
        assert!(gaps[0] >= 300.0, "{gaps:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn stop_ends_a_connection_and_a_wait() {
        let mut connected = run(Duration::from_secs(1_000_000), unreachable_now);
        connected.starts.recv().await;
        let mut waiting = run(Duration::ZERO, unreachable_now);
        waiting.gaps(8).await;
        for mut bench in [connected, waiting] {
            bench.stop.cancel();
            let before = Instant::now();
            (&mut bench.supervised.task).await.expect("it ends");
            assert_eq!(before.elapsed(), Duration::ZERO);
            assert!(!bench.supervised.health.snapshot().up);
        }
    }
}
