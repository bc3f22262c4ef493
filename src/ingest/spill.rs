//! Rows set aside on disk, by the customer's id, until the whole file is read.
//!
//! One unlinked temporary file holds all partitions in chunks, so that nothing is left behind however the process
//! ends. Memory is [`BUFFER_BYTES`], and one partition when they are taken back.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
};

use super::consent::{ChannelSet, Refusal};
use crate::domain::customer::IdPrefix;

/// The memory of all partitions together while rows are set aside.
const BUFFER_BYTES: usize = 16 << 20;
const MAX_CHUNK_BYTES: usize = 64 * 1024;
const MAX_PARTITIONS: u64 = 1_024;
/// What one partition should hold of a file's text; some ten thousand customers.
const PARTITION_TEXT_BYTES: u64 = 1 << 20;

/// What a row says about its customer, beside the row itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub id: IdPrefix,
    pub line: u64,
    pub refusal: Option<Refusal>,
    pub refused: ChannelSet,
    /// A bad row: it has no values, and is counted already.
    pub quarantined: bool,
}

/// A head with its row as bytes; no bytes where the row is quarantined.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    pub head: Head,
    pub row: &'a [u8],
}

const HEAD_BYTES: usize = 16 + 8 + 1 + 1 + 1 + 4;

impl<'a> Entry<'a> {
    fn write(&self, to: &mut Vec<u8>) {
        let Head { id, line, refusal, refused, quarantined } = self.head;
        let refusal = refusal.and_then(|refusal| Refusal::ALL.iter().position(|known| *known == refusal));
        to.extend_from_slice(&id.0.to_le_bytes());
        to.extend_from_slice(&line.to_le_bytes());
        to.extend_from_slice(&[refusal.map_or(0, |index| 1 + index as u8), refused.0, u8::from(quarantined)]);
        to.extend_from_slice(&(self.row.len() as u32).to_le_bytes());
        to.extend_from_slice(self.row);
    }

    fn read(from: &mut &'a [u8]) -> Option<Self> {
        let id = IdPrefix(u128::from_le_bytes(take(from)?));
        let line = u64::from_le_bytes(take(from)?);
        let [refusal, refused, quarantined] = take(from)?;
        let refusal = usize::from(refusal).checked_sub(1).and_then(|index| Refusal::ALL.get(index)).copied();
        let len = u32::from_le_bytes(take(from)?) as usize;
        let row = from.split_off(..len)?;
        let head = Head { id, line, refusal, refused: ChannelSet(refused), quarantined: quarantined == 1 };
        Some(Self { head, row })
    }
}

fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*first)
}

#[derive(Debug)]
pub struct Spill {
    file: File,
    end: u64,
    chunk_bytes: usize,
    partitions: Vec<Partition>,
}

#[derive(Debug, Default)]
struct Partition {
    buffer: Vec<u8>,
    /// Offset and length in the file.
    chunks: Vec<(u64, u32)>,
}

impl Spill {
    /// `expected_text_bytes`: the size of the input as text, as far as it is known. It decides how much memory a
    /// partition takes, and nothing else.
    pub fn new(scratch: &Path, expected_text_bytes: Option<u64>) -> io::Result<Self> {
        let partitions = expected_text_bytes.map_or(MAX_PARTITIONS / 4, |bytes| {
            (bytes / PARTITION_TEXT_BYTES).clamp(1, MAX_PARTITIONS).next_power_of_two()
        });
        Self::with_partitions(scratch, partitions)
    }

    fn with_partitions(scratch: &Path, partitions: u64) -> io::Result<Self> {
        let chunk_bytes = (BUFFER_BYTES / partitions as usize).min(MAX_CHUNK_BYTES);
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        Ok(Self { file: tempfile::tempfile_in(scratch)?, end: 0, chunk_bytes, partitions })
    }

    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Partitions are ranges of the id's digest: all rows of a customer meet in one, and reading partition after
    /// partition reads the digests in order.
    pub fn push(&mut self, entry: &Entry<'_>) -> io::Result<()> {
        let bits = self.partitions.len().trailing_zeros();
        let index = entry.head.id.0.checked_shr(u128::BITS - bits).unwrap_or(0) as usize;
        let partition = &mut self.partitions[index];
        if !partition.buffer.is_empty() && partition.buffer.len() + HEAD_BYTES + entry.row.len() > self.chunk_bytes {
            self.file.write_all(&partition.buffer)?;
            let len = partition.buffer.len() as u32;
            partition.chunks.push((self.end, len));
            self.end += u64::from(len);
            partition.buffer.clear();
        }
        entry.write(&mut partition.buffer);
        Ok(())
    }

    /// All entries of a partition, one after another; see [`entries`]. Each partition can be taken once.
    pub fn take(&mut self, partition: usize) -> io::Result<Vec<u8>> {
        let Partition { buffer, chunks } = std::mem::take(&mut self.partitions[partition]);
        let spilled: usize = chunks.iter().map(|(_, len)| *len as usize).sum();
        let mut bytes = Vec::with_capacity(spilled + buffer.len());
        for (offset, len) in chunks {
            self.file.seek(SeekFrom::Start(offset))?;
            let read = Read::take(&mut self.file, u64::from(len)).read_to_end(&mut bytes)?;
            if read != len as usize {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        bytes.extend_from_slice(&buffer);
        Ok(bytes)
    }
}

/// The entries of a taken partition, in the order they were pushed.
pub fn entries(mut bytes: &[u8]) -> io::Result<Vec<Entry<'_>>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        entries.push(Entry::read(&mut bytes).ok_or(io::ErrorKind::InvalidData)?);
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_come_back_whole_in_order_and_each_id_in_one_partition() {
        let folder = tempfile::tempdir().unwrap();
        let mut spill = Spill::with_partitions(folder.path(), 8).unwrap();
        let head = |n: u64| Head {
            id: IdPrefix::of(&(n % 700).to_string()),
            line: n,
            refusal: n.is_multiple_of(3).then_some(Refusal::NoPermittedChannel),
            refused: ChannelSet(n as u8 & 15),
            quarantined: n.is_multiple_of(5),
        };
        let row = |n: u64| vec![n as u8; (n % 1_000) as usize];
        for n in 0..3_000 {
            spill.push(&Entry { head: head(n), row: &row(n) }).unwrap();
        }
        assert!(spill.end > 0, "this much does not fit into memory");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the file has no name to be left behind");
        let (mut seen, mut last) = (Vec::new(), IdPrefix(0));
        for partition in 0..8 {
            let bytes = spill.take(partition).unwrap();
            let entries = entries(&bytes).unwrap();
            assert!(entries.iter().all(|entry| entry.head.id > last));
            assert!(entries.is_sorted_by_key(|entry| entry.head.line));
            last = entries.iter().map(|entry| entry.head.id).max().unwrap();
            for entry in entries {
                assert_eq!((entry.head, entry.row.to_vec()), (head(entry.head.line), row(entry.head.line)));
                seen.push(entry.head.line);
            }
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..3_000).collect::<Vec<_>>());
    }
}
