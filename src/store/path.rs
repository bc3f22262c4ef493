//! Checked names of blobs.

use std::fmt;

/// `/`-separated segments, each non-empty, without `..`, control characters or a backslash: it can never leave its
/// container or folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BlobPath(String);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot be the path of a blob")]
pub struct InvalidPath(String);

impl BlobPath {
    pub fn new(path: impl Into<String>) -> Result<Self, InvalidPath> {
        let path = path.into();
        let segment_is_valid = |segment: &str| {
            !segment.is_empty()
                && segment != "."
                && segment != ".."
                && !segment.chars().any(|c| c.is_control() || c == '\\')
        };
        if path.len() <= 1_024 && path.split('/').all(segment_is_valid) {
            Ok(Self(path))
        } else {
            Err(InvalidPath(path))
        }
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for BlobPath {
    type Error = InvalidPath;

    fn try_from(path: String) -> Result<Self, InvalidPath> {
        Self::new(path)
    }
}

impl From<BlobPath> for String {
    fn from(path: BlobPath) -> Self {
        path.0
    }
}

impl fmt::Display for BlobPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_cannot_leave_its_root() {
        for bad in ["", "/a", "a/", "a//b", "../a", "a/../b", "a/./b", "a\\b", "a\nb"] {
            assert!(BlobPath::new(bad).is_err(), "{bad:?}");
        }
        assert!(BlobPath::new("campaigns/x/segments/labels/00001.parquet").is_ok());
    }
}
