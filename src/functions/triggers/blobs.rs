//! Blobs of which Event Grid tells the host. The host sends the whole blob along; what it is for is only the word that
//! the blob is there: whoever needs its content reads it from the store, by ranges.

use axum::{body::Bytes, extract::State};

use crate::functions::{
    App,
    envelope::{Done, Envelope, Failed, InvalidEnvelope},
};

pub(super) async fn arrived(container: &str, State(app): State<App>, body: Bytes) -> Result<Done, Failed> {
    let path = Envelope::parse(&body)?.blob()?;
    if path.as_str().split('/').next() != Some(container) {
        return Err(InvalidEnvelope::Wrong("Uri").into());
    }
    app.engine.file_arrived(&path).await?;
    Ok(Done::default())
}
