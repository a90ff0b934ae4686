//! Names and metadata: bytes that are only copied out, kept as ready JSON text in blocks of words.
//!
//! A block begins with two 16-bit lengths, of the name without its quotes and of the metadata; empty
//! metadata takes no room. Blocks of dead keys are reused by size. Reading happens under the protection of
//! the record that points at the block.

use claviger_domain::key::{Metadata, Name};

use crate::slab::Slab;
use crate::sync::{AtomicU64, Ordering, fence};

/// Words of all blocks together.
const WORDS_MAX: usize = 1 << 31;
/// Up to this size, blocks are reused for blocks of the same number of words; above, sizes are rounded up to it.
const EXACT_WORDS_MAX: usize = 32;
const HEADER_BYTES: usize = 4;

/// The blocks.
#[derive(Debug)]
pub(crate) struct Texts(Slab<AtomicU64>);

impl Texts {
    pub(crate) fn new() -> Self {
        Self(Slab::new(WORDS_MAX))
    }

    /// Appends `"name":"…","metadata":{…}`. False, with anything appended, if the block makes no sense: it is
    /// being reused.
    pub(crate) fn append(&self, block: u32, out: &mut Vec<u8>) -> bool {
        let words = self.0.tail(block);
        let Some(first) = words.first().map(|word| word.load(Ordering::Relaxed)) else {
            return false;
        };
        let (name_bytes, metadata_bytes) = lengths(first);
        let words_needed = (HEADER_BYTES + name_bytes + metadata_bytes).div_ceil(8);
        if words_needed > words.len() {
            return false;
        }
        let start = out.len();
        // The block's own header stands where the last four bytes before the name belong.
        out.extend_from_slice(b"\"nam");
        for word in &words[..words_needed] {
            out.extend_from_slice(&word.load(Ordering::Relaxed).to_le_bytes());
        }
        out[start + 4..start + 8].copy_from_slice(b"e\":\"");
        let name_end = start + 8 + name_bytes;
        let metadata = name_end..name_end + metadata_bytes;
        let between = b"\",\"metadata\":";
        out.resize(metadata.end + between.len(), 0);
        out.copy_within(metadata, name_end + between.len());
        out[name_end..name_end + between.len()].copy_from_slice(between);
        if metadata_bytes == 0 {
            out.extend_from_slice(b"{}");
        }
        true
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}

/// Lengths of name and metadata in a block's first word.
fn lengths(first: u64) -> (usize, usize) {
    (usize::from(first as u16), usize::from((first >> 16) as u16))
}

/// What the writer knows of the blocks.
#[derive(Debug, Default)]
pub(crate) struct TextsWriter {
    next: u32,
    free: Vec<Vec<u32>>,
    /// The block being written, kept for its memory.
    bytes: Vec<u8>,
}

impl TextsWriter {
    /// Writes a block. `None` when there is no room.
    pub(crate) fn insert(&mut self, texts: &Texts, name: &Name, metadata: &Metadata) -> Option<u32> {
        let name = serde_json::to_string(name.as_str()).ok()?;
        let name = &name[1..name.len() - 1];
        let metadata = if metadata.is_empty() { String::new() } else { metadata.to_json() };
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        bytes.extend_from_slice(&u16::try_from(name.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&u16::try_from(metadata.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(metadata.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        let block = self.allocate(texts, bytes.len() / 8);
        if let Some(block) = block {
            // Whoever sees one of these words also sees that the last record to use the block has left it.
            fence(Ordering::Release);
            for (word, chunk) in texts.0.tail(block).iter().zip(bytes.chunks_exact(8)) {
                let value = chunk.try_into().map_or(0, u64::from_le_bytes);
                word.store(value, Ordering::Relaxed);
            }
        }
        self.bytes = bytes;
        block
    }

    /// Gives a block back. No record may point at it any more.
    pub(crate) fn remove(&mut self, texts: &Texts, block: u32) {
        let Some(first) = texts.0.get(block) else { return };
        let (name_bytes, metadata_bytes) = lengths(first.load(Ordering::Relaxed));
        let words = rounded((HEADER_BYTES + name_bytes + metadata_bytes).div_ceil(8));
        self.free_list(words).push(block);
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.free.iter().map(|blocks| blocks.capacity() * size_of::<u32>() + size_of::<Vec<u32>>()).sum()
    }

    fn allocate(&mut self, texts: &Texts, words: usize) -> Option<u32> {
        let words = rounded(words);
        if let Some(block) = self.free_list(words).pop() {
            return Some(block);
        }
        let mut left = Slab::<AtomicU64>::rows_left_in_chunk(self.next);
        while left < words {
            // A block lies in one chunk. What is left of this one serves smaller blocks.
            if left > 0 && rounded(left) == left {
                let rest = self.next;
                self.free_list(left).push(rest);
            }
            self.next = self.next.checked_add(u32::try_from(left).ok()?)?;
            left = Slab::<AtomicU64>::rows_left_in_chunk(self.next);
        }
        let block = self.next;
        texts.0.ensure(block)?;
        self.next = block.checked_add(u32::try_from(words).ok()?)?;
        Some(block)
    }

    fn free_list(&mut self, words: usize) -> &mut Vec<u32> {
        if self.free.len() <= words {
            self.free.resize_with(words + 1, Vec::new);
        }
        &mut self.free[words]
    }
}

/// The size of the block for this many words.
fn rounded(words: usize) -> usize {
    if words <= EXACT_WORDS_MAX { words } else { words.next_multiple_of(EXACT_WORDS_MAX) }
}
