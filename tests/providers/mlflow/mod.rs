//! MLflow: campaigns are tracked on a server that keeps the protocol's rules ([`fake`]), on every run of the tests, and on a
//! real one, read back by its own Python client. The latter takes minutes (a package of 850 MB, 20 s to start), so it is
//! asked for, by `.ci/run` too: `cargo test --test providers mlflow -- --ignored`. It needs Python 3.10 or later with `venv`, and once the
//! network.

mod campaigns;
mod contract;
pub mod fake;
mod front;
mod lost;
mod real;
mod served;
mod workspace;

pub use self::campaigns::nobody;
