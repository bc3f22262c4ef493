//! The timer of the sweeper.

use axum::{body::Bytes, extract::State};

use crate::functions::{
    App,
    envelope::{Done, Envelope, Failed},
};

/// The binding's name.
pub(super) const TIMER: &str = "timer";

/// One that is late does what it would have done: to sweep twice does no harm, and once is enough for all that it missed.
pub(super) async fn sweep(State(app): State<App>, body: Bytes) -> Result<Done, Failed> {
    if Envelope::parse(&body)?.is_past_due(TIMER)? {
        tracing::info!("the timer comes late");
    }
    app.engine.sweep().await?;
    Ok(Done::default())
}
