//! Reproducible points between 0 and 1.

use sha2::{Digest as _, Sha256};

/// A source of points that depend on nothing but the texts they are made from.
///
/// Every text goes into SHA-256 after its length in bytes as a 4-byte big-endian number, so that no two lists of texts
/// share their bytes. The first 53 bits of the digest, as a whole number over 2^53, are the point: in [0, 1), exact
/// in an `f64`.
#[derive(Debug, Clone)]
pub struct Points {
    prefix: Sha256,
}

impl Points {
    /// The texts that all points of this source start with.
    pub fn new(prefix: &[&str]) -> Self {
        Self { prefix: prefix.iter().fold(Sha256::new(), append) }
    }

    pub fn at(&self, texts: &[&str]) -> f64 {
        let digest = texts.iter().fold(self.prefix.clone(), append).finalize();
        let (first, _) = digest.split_first_chunk::<8>().expect("a SHA-256 digest has 32 bytes");
        (u64::from_be_bytes(*first) >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Texts are names and ids of at most some hundred bytes.
fn append(hash: Sha256, text: &&str) -> Sha256 {
    hash.chain_update((text.len() as u32).to_be_bytes()).chain_update(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_one_text_ends_and_the_next_begins_matters() {
        let points = Points::new(&[]);
        assert_ne!(points.at(&["ab", "c"]), points.at(&["a", "bc"]));
        assert_eq!(Points::new(&["ab"]).at(&["c"]), points.at(&["ab", "c"]));
    }
}
