//! What the program tells of itself: log lines always, traces and metrics where an OpenTelemetry collector is named.
//!
//! The standard settings say where to (`OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_EXPORTER_OTLP_HEADERS`,
//! `OTEL_SERVICE_NAME`, `OTEL_SDK_DISABLED`, ...); without an endpoint nothing is collected. Exporting is done on threads
//! of its own: a collector that is away costs what it would have been told, and nothing else.

mod metrics;
pub mod trace;

use std::{
    env,
    io::{self, IsTerminal as _},
};

use opentelemetry::{global, trace::TracerProvider as _};
use opentelemetry_otlp::{MetricExporter, SpanExporter};
use opentelemetry_sdk::{
    Resource, metrics::SdkMeterProvider, propagation::TraceContextPropagator, trace::SdkTracerProvider,
};
use tracing_subscriber::{EnvFilter, Layer, Registry, layer::SubscriberExt as _, util::SubscriberInitExt as _};

pub use self::metrics::{Outcome, metrics};
use crate::{Error, tls};

/// Where log lines go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lines {
    /// To standard error, for people.
    People,
    /// To standard output, one JSON object each with the call that it belongs to, for a Functions host: it takes every
    /// line of standard error for an error.
    Host,
}

/// Alive for as long as anything is told; what is not exported yet is when it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Telemetry(Option<(SdkTracerProvider, SdkMeterProvider)>);

/// Must be called outside of an async runtime, once. `CPO_LOG` says which lines there are (e.g. `CPO_LOG=debug`).
pub fn start(lines: Lines, by_default: &str) -> Result<Telemetry, Error> {
    let exported = exported()?;
    let traces = exported.as_ref().map(|(traces, _)| {
        let told = EnvFilter::new("info,cpo=debug");
        tracing_opentelemetry::layer().with_tracer(traces.tracer("cpo")).with_filter(told)
    });
    let filter = || EnvFilter::try_from_env("CPO_LOG").unwrap_or_else(|_| EnvFilter::new(by_default));
    let format = tracing_subscriber::fmt::layer();
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match lines {
        Lines::People => {
            let colours = io::stderr().is_terminal();
            format.with_writer(io::stderr).with_ansi(colours).with_filter(filter()).boxed()
        }
        Lines::Host => {
            let json = format.json().flatten_event(true).with_current_span(false).with_span_list(true);
            json.with_writer(io::stdout).with_filter(filter()).boxed()
        }
    };
    tracing_subscriber::registry().with(lines).with(traces).init();
    Ok(Telemetry(exported))
}

/// `None` where no collector is named.
fn exported() -> Result<Option<(SdkTracerProvider, SdkMeterProvider)>, Error> {
    let is_set = |name| env::var(name).is_ok_and(|value| !value.is_empty());
    let is_disabled = env::var("OTEL_SDK_DISABLED").is_ok_and(|value| value.eq_ignore_ascii_case("true"));
    if is_disabled || !is_set("OTEL_EXPORTER_OTLP_ENDPOINT") {
        return Ok(None);
    }
    tls::set_up();
    let wrong = |error| Error::failed("the settings OTEL_EXPORTER_OTLP_* cannot be used", error);
    let spans = SpanExporter::builder().with_http().build().map_err(wrong)?;
    let figures = MetricExporter::builder().with_http().build().map_err(wrong)?;
    let mut resource = Resource::builder();
    if !is_set("OTEL_SERVICE_NAME") {
        resource = resource.with_service_name("cpo");
    }
    let resource = resource.build();
    let traces = SdkTracerProvider::builder().with_resource(resource.clone()).with_batch_exporter(spans).build();
    let meters = SdkMeterProvider::builder().with_resource(resource).with_periodic_exporter(figures).build();
    global::set_text_map_propagator(TraceContextPropagator::new());
    global::set_tracer_provider(traces.clone());
    global::set_meter_provider(meters.clone());
    Ok(Some((traces, meters)))
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        let Some((traces, meters)) = &self.0 else { return };
        // The process ends: there is nobody left to tell that the collector is away.
        let _ = traces.shutdown();
        let _ = meters.shutdown();
    }
}
