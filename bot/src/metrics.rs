//! What `/metrics` counts, in Prometheus' text format.

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// The bot's counters; a registry of its own, so that tests can run many bots in one process.
pub struct BotMetrics {
    registry: Registry,
    /// Messages that reached the bot.
    pub messages: Counter,
    /// Messages dropped: repeated, from bots, from people who are not on the allow-list.
    pub dropped: Counter,
    /// Turns that ended, however.
    pub turns: Counter,
    /// Waits for the model's service.
    pub rate_limits: Counter,
    /// Output lines of the CLI that are no event.
    pub noise: Counter,
    /// Claude Code processes alive.
    pub sessions: Gauge,
    pub questions: Gauge,
}

impl Default for BotMetrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("storkit");
        let mut counter = |name: &str, help: &str| {
            let counter = Counter::default();
            registry.register(name, help, counter.clone());
            counter
        };
        let messages = counter("messages", "Messages that reached the bot");
        let dropped = counter("messages_dropped", "Messages not acted on: repeated, from bots or strangers");
        let turns = counter("turns", "Turns that ended");
        let rate_limits = counter("rate_limit_waits", "Waits for the model's service");
        let noise = counter("cli_noise_lines", "Output lines of the CLI that are no event");
        let (sessions, questions) = (Gauge::default(), Gauge::default());
        registry.register("sessions", "Claude Code processes alive", sessions.clone());
        registry.register("open_questions", "Permission questions that wait", questions.clone());
        Self { registry, messages, dropped, turns, rate_limits, noise, sessions, questions }
    }
}

impl BotMetrics {
    /// The text that Prometheus reads.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
