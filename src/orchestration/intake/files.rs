//! Names of files as clients write them.

use crate::store::BlobPath;

/// Customer files and suppression lists.
pub const CUSTOMERS: &str = "customers";
/// Approved documents.
pub const CONTENT: &str = "content";
/// `outcomes/<campaign>/...`: what customers did.
pub const OUTCOMES: &str = "outcomes";

/// Room for what names of ours put around a client's.
const MAX_BYTES: usize = 900;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFile {
    #[error("this is not a path in the container `{0}`")]
    Elsewhere(&'static str),
    #[error(
        "each part of a path has letters, digits, blanks and `._-+=,()@`, and begins with a letter, a digit or `_`"
    )]
    Name,
    #[error("the path is longer than {MAX_BYTES} bytes")]
    TooLong,
}

/// A client's path of a file in a container, container included. What could lead elsewhere is refused rather than
/// mended: `..`, backslashes, percent signs (somebody may decode them again), hidden names.
pub fn within(container: &'static str, path: &str) -> Result<BlobPath, InvalidFile> {
    let rest = path.strip_prefix(container).and_then(|rest| rest.strip_prefix('/'));
    let rest = rest.ok_or(InvalidFile::Elsewhere(container))?;
    if path.len() > MAX_BYTES {
        return Err(InvalidFile::TooLong);
    }
    let is_name = |name: &str| {
        name.starts_with(|c: char| c.is_alphanumeric() || c == '_')
            && !name.ends_with([' ', '.'])
            && name.chars().all(|c| c.is_alphanumeric() || " ._-+=,()@".contains(c))
    };
    if !rest.split('/').all(is_name) {
        return Err(InvalidFile::Name);
    }
    BlobPath::new(path).map_err(|_| InvalidFile::Name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_could_lead_elsewhere_is_refused() {
        for bad in [
            "",
            "customers",
            "customers/",
            "customersx/a",
            "content/a",
            "/customers/a",
            "customers//a",
            "customers/../content/a",
            "customers/./a",
            "customers/a/..",
            "customers/a\\b",
            "customers/%2e%2e/a",
            "customers/a%2fb",
            "customers/a\u{0}b",
            "customers/.state.sqlite",
            "customers/a?sig=x",
            "customers/a#b",
            "customers/a:b",
            "customers/a ",
            "customers/a.",
            "Customers/a",
            "customers/\u{202e}a",
        ] {
            assert!(within(CUSTOMERS, bad).is_err(), "{bad:?}");
        }
        for good in ["customers/a.csv", "customers/0192/Kunden März (2).csv.gz", "customers/_a/b_c-d@e.jsonl"] {
            assert_eq!(within(CUSTOMERS, good).unwrap().as_str(), good);
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_stays_in_its_container(path in "(customers|content|)[-/a.\\\\%~ é\u{0}]{0,24}") {
            if let Ok(taken) = within(CUSTOMERS, &path) {
                let root = std::path::Path::new("/root");
                let joined = root.join(taken.as_str());
                let is_plain = |part| matches!(part, std::path::Component::Normal(_) | std::path::Component::RootDir);
                prop_assert!(joined.starts_with("/root/customers") && joined.components().all(is_plain));
            }
        }
    }
}
