//! The HTTP API over campaigns of the product, without a server: requests go straight to the routes.

mod api;
mod hostile;
mod support;
