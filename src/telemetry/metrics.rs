//! The figures, by their names in OpenTelemetry.

use std::{sync::LazyLock, time::Duration};

use opentelemetry::{
    KeyValue, global,
    metrics::{Counter, Histogram},
};

use crate::domain::{variant::Usage, verdict::Decision};

/// All instruments. Each call costs next to nothing where nothing is exported.
#[derive(Debug)]
pub struct Metrics {
    queue_lag: Histogram<f64>,
    items: Histogram<f64>,
    provider: Histogram<f64>,
    tokens: Counter<u64>,
    cost: Counter<f64>,
    variants: Counter<u64>,
}

/// How something ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    Throttled,
    Failed,
}

impl Outcome {
    fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Throttled => "throttled",
            Self::Failed => "failed",
        }
    }
}

/// Made at the first call, which must come after [`start`](super::start).
pub fn metrics() -> &'static Metrics {
    static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);
    &METRICS
}

impl Metrics {
    fn new() -> Self {
        let meter = global::meter("cpo");
        let seconds = |name, what| meter.f64_histogram(name).with_unit("s").with_description(what).build();
        Self {
            queue_lag: seconds("cpo.queue.lag", "from when a message could be worked on until it was"),
            items: seconds("cpo.item.duration", "work on one item of a stage"),
            provider: seconds("cpo.provider.duration", "one call of a provider"),
            tokens: meter.u64_counter("cpo.tokens").with_description("tokens sent to and from models").build(),
            cost: meter.f64_counter("cpo.cost").with_unit("USD").with_description("what providers charge").build(),
            variants: meter.u64_counter("cpo.variants").with_description("messages that were judged").build(),
        }
    }

    pub fn message_came(&self, queue: &'static str, lag: Duration) {
        self.queue_lag.record(lag.as_secs_f64(), &[KeyValue::new("queue", queue)]);
    }

    pub fn item_ended(&self, stage: &'static str, time: Duration, outcome: Outcome) {
        let attributes = [KeyValue::new("stage", stage), KeyValue::new("outcome", outcome.as_str())];
        self.items.record(time.as_secs_f64(), &attributes);
    }

    pub fn spent(&self, stage: &'static str, usage: &Usage) {
        let stage = KeyValue::new("stage", stage);
        for (direction, tokens) in [("input", usage.input_tokens), ("output", usage.output_tokens)] {
            if tokens > 0 {
                self.tokens.add(tokens, &[stage.clone(), KeyValue::new("direction", direction)]);
            }
        }
        if usage.cost_usd.dollars() > 0.0 {
            self.cost.add(usage.cost_usd.dollars(), &[stage]);
        }
    }

    pub fn provider_answered(&self, agent: &'static str, time: Duration, outcome: Outcome) {
        let attributes = [KeyValue::new("agent", agent), KeyValue::new("outcome", outcome.as_str())];
        self.provider.record(time.as_secs_f64(), &attributes);
    }

    /// The blocked share is what `decision = blocked` has of all.
    pub fn variant_judged(&self, decision: Decision) {
        let decision = match decision {
            Decision::Approved => "approved",
            Decision::Blocked => "blocked",
            Decision::NeedsReview => "needs_review",
        };
        self.variants.add(1, &[KeyValue::new("decision", decision)]);
    }
}
