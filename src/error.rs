//! How any command ends when it does not succeed.

use crate::domain::problem::Problem;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// What the user gave cannot be worked with. Nothing has been written. Exit code 2.
    #[error("{}", display_all(.0))]
    Input(Vec<Problem>),
    /// The input is fine, and the work could not be done. Exit code 1.
    #[error("{what}: {source}")]
    Failed { what: String, source: Box<dyn std::error::Error + Send + Sync> },
}

impl Error {
    pub fn failed(what: impl Into<String>, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Failed { what: what.into(), source: source.into() }
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Input(_) => 2,
            Self::Failed { .. } => 1,
        }
    }
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Input(vec![problem])
    }
}

impl From<Vec<Problem>> for Error {
    fn from(problems: Vec<Problem>) -> Self {
        Self::Input(problems)
    }
}

fn display_all(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}
