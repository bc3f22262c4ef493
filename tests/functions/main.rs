//! The app behind an Azure Functions host: a double of the host that was recorded, and the handler under it.

mod answers;
mod double;
mod life;
mod recorded;
