//! Append-only slabs: rows that never move, so that readers need no guard to look at them.

use std::sync::OnceLock;

use crate::sync::AtomicU64;

/// Rows of the first chunk; the chunks double from there.
const FIRST_ROWS_LOG2: u32 = if cfg!(loom) { 2 } else { 8 };
/// Rows of the largest chunks: after these the slab grows by a fixed amount, so little of it is idle.
const CHUNK_ROWS_LOG2: u32 = if cfg!(loom) { 3 } else { 15 };
/// Chunks before those of full size.
const SMALL_CHUNKS: usize = (CHUNK_ROWS_LOG2 - FIRST_ROWS_LOG2 + 1) as usize;

/// A cache line of words: the row of the slabs that every verification reads.
#[repr(align(64))]
#[derive(Debug, Default)]
pub(crate) struct Line(pub(crate) [AtomicU64; 8]);

/// Rows by number. They come into being by [`Slab::ensure`] in chunks, and stay where they are until
/// the slab is dropped.
pub(crate) struct Slab<T> {
    chunks: Box<[OnceLock<Box<[T]>>]>,
}

impl<T: Default> Slab<T> {
    /// A slab that can hold this many rows, and holds none yet.
    pub(crate) fn new(rows_max: usize) -> Self {
        let rows_max = if cfg!(loom) { 8 } else { rows_max };
        let chunks = SMALL_CHUNKS + (rows_max >> CHUNK_ROWS_LOG2);
        Self { chunks: (0..chunks).map(|_| OnceLock::new()).collect() }
    }

    /// The row, if its chunk exists.
    #[inline]
    pub(crate) fn get(&self, row: u32) -> Option<&T> {
        let (chunk, offset) = locate(row);
        self.chunks.get(chunk)?.get()?.get(offset)
    }

    /// The rows of one chunk from this row on.
    pub(crate) fn tail(&self, row: u32) -> &[T] {
        let (chunk, offset) = locate(row);
        let rows = self.chunks.get(chunk).and_then(OnceLock::get);
        rows.and_then(|rows| rows.get(offset..)).unwrap_or_default()
    }

    /// Makes the row exist. `None` when the slab is full.
    pub(crate) fn ensure(&self, row: u32) -> Option<&T> {
        let (chunk, offset) = locate(row);
        let rows = self.chunks.get(chunk)?.get_or_init(|| (0..chunk_rows(chunk)).map(|_| T::default()).collect());
        rows.get(offset)
    }

    /// How many rows follow this one in its chunk, itself included.
    pub(crate) fn rows_left_in_chunk(row: u32) -> usize {
        let (chunk, offset) = locate(row);
        chunk_rows(chunk) - offset
    }

    /// What it has allocated.
    pub(crate) fn memory_bytes(&self) -> usize {
        let rows: usize = self.chunks.iter().filter_map(OnceLock::get).map(|rows| rows.len()).sum();
        rows * size_of::<T>() + size_of_val(&*self.chunks)
    }
}

impl<T> std::fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Slab").field("chunks_max", &self.chunks.len()).finish_non_exhaustive()
    }
}

/// Chunk and offset of a row.
#[inline]
fn locate(row: u32) -> (usize, usize) {
    let chunk_mask = (1 << CHUNK_ROWS_LOG2) - 1;
    if row > chunk_mask {
        return ((row >> CHUNK_ROWS_LOG2) as usize + SMALL_CHUNKS - 1, (row & chunk_mask) as usize);
    }
    let first_mask = (1 << FIRST_ROWS_LOG2) - 1;
    let doubling = (row | first_mask).ilog2();
    if doubling < FIRST_ROWS_LOG2 {
        (0, row as usize)
    } else {
        ((doubling - FIRST_ROWS_LOG2 + 1) as usize, (row - (1 << doubling)) as usize)
    }
}

/// Rows of a chunk.
fn chunk_rows(chunk: usize) -> usize {
    let doubling = (FIRST_ROWS_LOG2 as usize + chunk).saturating_sub(1);
    1 << doubling.clamp(FIRST_ROWS_LOG2 as usize, CHUNK_ROWS_LOG2 as usize)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_a_place_of_its_own() {
        let mut expected = (0, 0);
        for row in 0..200_000 {
            assert_eq!(locate(row), expected, "row {row}");
            expected.1 += 1;
            if expected.1 == chunk_rows(expected.0) {
                expected = (expected.0 + 1, 0);
            }
            assert!(Slab::<u8>::rows_left_in_chunk(row) >= 1);
        }
    }

    #[test]
    fn a_slab_ends_where_it_was_told() {
        let slab = Slab::<u8>::new(100_000);
        assert!(slab.get(5).is_none());
        assert!(slab.ensure(99_999).is_some() && slab.get(99_999).is_some());
        assert!(slab.ensure(200_000).is_none() && slab.get(u32::MAX).is_none());
    }
}
