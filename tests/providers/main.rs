//! The clients of providers against servers: scripted ones, validating ones, real ones.

mod mlflow;
