//! W3C trace context: who asked for what is being done, across processes.

use std::collections::HashMap;

use opentelemetry::{global, propagation::Extractor};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

const TRACEPARENT: &str = "traceparent";

struct Parent<'a>(&'a str);

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

/// The header `traceparent` of whatever the current span sends; `None` where nothing is traced.
pub fn parent() -> Option<String> {
    let mut headers = HashMap::new();
    let context = Span::current().context();
    global::get_text_map_propagator(|propagator| propagator.inject_context(&context, &mut headers));
    headers.remove(TRACEPARENT)
}

/// Makes the span a part of the trace that its caller is in. A header that says nothing is ignored.
pub fn continue_from(span: &Span, traceparent: &str) {
    let context = global::get_text_map_propagator(|propagator| propagator.extract(&Parent(traceparent)));
    // A span that nobody records has no place in a trace.
    let _ = span.set_parent(context);
}
