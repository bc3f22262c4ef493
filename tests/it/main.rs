//! The program as its users meet it: processes, files, exit codes.

mod bad_input;
mod campaign;
mod support;
mod verified;
