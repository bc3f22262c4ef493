//! From the file's encoding to UTF-8, as a stream.

use std::{
    io::{self, BufRead, Read},
    ops::Range,
};

use encoding_rs::{Decoder, DecoderResult, Encoding, UTF_8};

/// Stands in the decoded text for bytes that mean nothing in the encoding. Never valid in UTF-8, so the one check
/// for UTF-8 that every value goes through finds these too.
const INVALID: u8 = 0xff;
const BUFFER_BYTES: usize = 64 * 1024;

/// The text without its byte order mark, which overrides the declared encoding. UTF-8 is passed on as it is, valid
/// or not. `start` is what `bytes` begins with.
pub fn to_utf8<'r>(
    mut bytes: Box<dyn BufRead + 'r>,
    start: &[u8],
    declared: &'static Encoding,
) -> io::Result<(&'static Encoding, Box<dyn BufRead + 'r>)> {
    let (encoding, mark_len) = Encoding::for_bom(start).unwrap_or((declared, 0));
    io::copy(&mut bytes.by_ref().take(mark_len as u64), &mut io::sink())?;
    if encoding == UTF_8 {
        return Ok((encoding, bytes));
    }
    let decoder = encoding.new_decoder_without_bom_handling();
    let decoded = vec![0; BUFFER_BYTES].into_boxed_slice();
    Ok((encoding, Box::new(Transcoder { bytes, decoder, finished: false, decoded, unread: 0..0 })))
}

struct Transcoder<R> {
    bytes: R,
    decoder: Decoder,
    finished: bool,
    decoded: Box<[u8]>,
    /// What of `decoded` has not been consumed.
    unread: Range<usize>,
}

impl<R: BufRead> BufRead for Transcoder<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.unread.is_empty() && !self.finished {
            let input = self.bytes.fill_buf()?;
            let last = input.is_empty();
            // The last byte is room for the mark.
            let room = self.decoded.len() - 1;
            let (result, read, mut written) =
                self.decoder.decode_to_utf8_without_replacement(input, &mut self.decoded[..room], last);
            self.bytes.consume(read);
            match result {
                DecoderResult::Malformed(..) => {
                    self.decoded[written] = INVALID;
                    written += 1;
                }
                DecoderResult::InputEmpty => self.finished = last,
                DecoderResult::OutputFull => {}
            }
            self.unread = 0..written;
        }
        Ok(&self.decoded[self.unread.clone()])
    }

    fn consume(&mut self, read: usize) {
        self.unread.start += read;
    }
}

impl<R: BufRead> Read for Transcoder<R> {
    fn read(&mut self, output: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(output)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    fn decode(bytes: &'static [u8], label: &str) -> (&'static str, Vec<u8>) {
        let declared = Encoding::for_label(label.as_bytes()).unwrap();
        // A few bytes at a time: characters are cut at every place.
        let input = Box::new(BufReader::with_capacity(4, bytes));
        let (encoding, mut text) = to_utf8(input, bytes, declared).unwrap();
        let mut decoded = Vec::new();
        text.read_to_end(&mut decoded).unwrap();
        (encoding.name(), decoded)
    }

    #[test]
    fn a_byte_order_mark_overrides_the_declared_encoding_and_disappears() {
        assert_eq!(decode(b"\xff\xfeZ\x00\xfc\x00r\x00", "utf-8"), ("UTF-16LE", "Zür".into()));
        assert_eq!(decode(b"\xef\xbb\xbfZ\xc3\xbcr", "windows-1252"), ("UTF-8", "Zür".into()));
        assert_eq!(decode(b"Z\xfcrich \x80", "windows-1252"), ("windows-1252", "Zürich €".into()));
    }

    #[test]
    fn what_means_nothing_in_the_encoding_is_not_valid_afterwards() {
        for (bytes, label) in
            [(&b"a\x81\x20b"[..], "shift_jis"), (b"\x00\xd8a\x00", "utf-16le"), (b"a\x00b", "utf-16le")]
        {
            let (_, decoded) = decode(bytes, label);
            assert!(std::str::from_utf8(&decoded).is_err(), "{label}: {decoded:?}");
        }
    }
}
