//! The vectors of a library's passages: computed once, kept in the store for all who work on the library.

use std::{fmt, sync::Arc};

use super::{embedder::Embedder, library::Library};
use crate::{
    domain::{
        content::{Approval, Document, Passage},
        money::Usd,
    },
    providers::{ErrorKind, Forecast, Meter, ProviderError},
    store::{self, BlobPath, Blobs, Precondition},
};

/// How a file of vectors begins. Then their length, and all their numbers as `f32`, little end first.
const MARK: &[u8] = b"cpo vectors 1\n";

/// What is searched without an index for it, and kept in memory: as many numbers as 50,000 passages of 1,536.
const MOST_NUMBERS: usize = 50_000 * 1_536;

/// The passages that are embedded, and uploaded: of approved documents, whatever the date. Drafts stay in the house, and
/// what was withdrawn goes nowhere any more.
pub fn passages(library: &Library) -> impl Iterator<Item = (&Document, &Passage)> {
    let approved = library.documents().iter().filter(|document| document.approval == Approval::Approved);
    approved.flat_map(|document| document.passages.iter().map(move |passage| (document, passage)))
}

/// One for each of [`passages`], in their order.
#[derive(PartialEq)]
pub struct Vectors {
    dimensions: usize,
    numbers: Vec<f32>,
}

impl fmt::Debug for Vectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vectors").field("dimensions", &self.dimensions).finish_non_exhaustive()
    }
}

impl Vectors {
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.numbers.chunks_exact(self.dimensions.max(1))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let dimensions = u32::try_from(self.dimensions).expect("a vector was once JSON of at most 8 MiB");
        let numbers = self.numbers.iter().flat_map(|number| number.to_le_bytes());
        MARK.iter().copied().chain(dimensions.to_le_bytes()).chain(numbers).collect()
    }

    /// `None` for what is not the vectors of so many passages.
    fn from_bytes(bytes: &[u8], passages: usize) -> Option<Self> {
        let (dimensions, numbers) = bytes.strip_prefix(MARK)?.split_first_chunk()?;
        let dimensions = usize::try_from(u32::from_le_bytes(*dimensions)).ok()?;
        let (numbers, rest) = numbers.as_chunks();
        let numbers: Vec<f32> = numbers.iter().map(|number| f32::from_le_bytes(*number)).collect();
        let is_whole = rest.is_empty() && numbers.len() == dimensions.checked_mul(passages)?;
        (is_whole && numbers.iter().all(|number| number.is_finite())).then_some(Self { dimensions, numbers })
    }
}

/// Of prose, as a rule.
const BYTES_PER_TOKEN: u64 = 4;

/// Who makes a library's vectors, and where they are kept.
#[derive(Debug, Clone)]
pub struct Embeddings {
    pub embedder: Embedder,
    pub blobs: Arc<dyn Blobs>,
    /// Of this library and this model alone.
    pub path: BlobPath,
}

impl Embeddings {
    /// What it costs at most to embed the library, should nobody have done so yet, and one question.
    pub fn most(&self, library: &Library) -> Usd {
        let lengths = passages(library).map(|(document, passage)| document.title.len() + 1 + passage.text.len());
        self.embedder.most(lengths.chain([MOST_QUESTION]))
    }

    /// What it costs as a rule to embed the library once, and one question.
    pub fn forecast(&self, library: &Library) -> Forecast {
        /// Bytes of a segment's words and the campaign's name.
        const QUESTION: usize = 100;
        // At most every byte is a token.
        let usual = |most| Usd::priced_per(BYTES_PER_TOKEN, &[(most, 1)]);
        let how = format!(
            "each passage embedded once by {}, a token for every {BYTES_PER_TOKEN} bytes",
            self.embedder.model()
        );
        Forecast {
            expected: usual(self.embedder.most([QUESTION])),
            once: usual(self.most(library)),
            assumes: vec![how],
        }
    }

    /// The vectors that are kept; else they are computed now, and kept. Two who do so at once both pay, and the first one's
    /// are everybody's.
    pub async fn of_library(&self, library: &Library, meter: &Meter) -> Result<Vectors, ProviderError> {
        let count = passages(library).count();
        if let Some(kept) = self.kept(count).await? {
            return Ok(kept);
        }
        let texts: Vec<String> = passages(library).map(text_of).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut made = Vectors { dimensions: 0, numbers: Vec::new() };
        for batch in texts.chunks(BATCH) {
            for vector in self.embedder.embed(batch, meter).await? {
                made.dimensions = if made.numbers.is_empty() { vector.len() } else { made.dimensions };
                if vector.len() != made.dimensions {
                    return Err(self.another_model(vector.len(), made.dimensions));
                }
                made.numbers.extend(vector);
            }
            if made.dimensions * count > MOST_NUMBERS {
                let message = format!("{count} passages of {} numbers are too many vectors", made.dimensions);
                return Err(ProviderError { provider: PROVIDER, kind: ErrorKind::Misconfigured, message });
            }
        }
        match self.blobs.put(&self.path, made.to_bytes(), Precondition::Absent).await {
            Ok(_) => Ok(made),
            Err(store::Error::AlreadyExists { .. }) => match self.kept(count).await? {
                Some(theirs) => Ok(theirs),
                // What stands there is no vectors: ours are written over it.
                None => {
                    self.blobs.put(&self.path, made.to_bytes(), Precondition::None).await.map_err(not_kept)?;
                    Ok(made)
                }
            },
            Err(error) => Err(not_kept(error)),
        }
    }

    /// A question's vector, as long as those of the library.
    pub async fn of_question(&self, text: &str, dimensions: usize, meter: &Meter) -> Result<Vec<f32>, ProviderError> {
        let text = &text[..text.floor_char_boundary(MOST_QUESTION)];
        let vector = self.embedder.embed(&[text], meter).await?.pop().unwrap_or_default();
        if vector.len() != dimensions {
            return Err(self.another_model(vector.len(), dimensions));
        }
        Ok(vector)
    }

    async fn kept(&self, passages: usize) -> Result<Option<Vectors>, ProviderError> {
        match self.blobs.get(&self.path).await {
            Ok(blob) => Ok(Vectors::from_bytes(&blob.bytes, passages)),
            Err(store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(not_kept(error)),
        }
    }

    fn another_model(&self, numbers: usize, before: usize) -> ProviderError {
        let message = format!(
            "the model `{}` gives vectors of {numbers} numbers, and gave {before} before: it is not the same any more; \
             give the new one another name",
            self.embedder.model()
        );
        ProviderError { provider: PROVIDER, kind: ErrorKind::Misconfigured, message }
    }
}

const PROVIDER: &str = "embeddings";

/// Texts that are embedded before their vectors are copied together.
const BATCH: usize = 1_024;

/// Bytes of the longest question; what is longer is cut.
const MOST_QUESTION: usize = 2_000;

fn text_of((document, passage): (&Document, &Passage)) -> String {
    format!("{}\n{}", document.title, passage.text)
}

fn not_kept(error: store::Error) -> ProviderError {
    let message = format!("the vectors of the library: {error}");
    ProviderError { provider: PROVIDER, kind: ErrorKind::Unavailable, message }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn vectors_come_back_as_they_were_and_nothing_else_is_taken_for_them(
            (dimensions, count, numbers) in (1..5_usize, 0..6_usize).prop_flat_map(|(dimensions, count)| {
                let numbers = prop::collection::vec(-1e6_f32..1e6, dimensions * count);
                (Just(dimensions), Just(count), numbers)
            }),
        ) {
            let vectors = Vectors { dimensions, numbers };
            let bytes = vectors.to_bytes();
            prop_assert_eq!(vectors.iter().len(), count);
            let read = Vectors::from_bytes(&bytes, count);
            prop_assert_eq!(read.as_ref(), Some(&vectors));
            prop_assert!(Vectors::from_bytes(&bytes, count + 1).is_none());
            for cut in 0..bytes.len() {
                prop_assert!(Vectors::from_bytes(&bytes[..cut], count).is_none());
            }
        }
    }
}
