//! Scratch memory: what bytes lie in while they are on their way through a thread.
//!
//! Allocators give large pieces from the beginning of a page. Who copies on from there usually puts a few
//! bytes of its own in front (a TLS record has five, RFC 8446 §5.1), so that in their pages the destination
//! lies just above the source. There some processors (Zen, with `rep movsb`) take every load for one
//! that waits for the stores before it, and copy at a third of their speed: through TLS a gigabyte took
//! 1.16 CPU seconds in place of 0.8. Scratch memory therefore begins in the middle of a page.

use bytes::{Buf as _, BytesMut};

const PAGE: usize = 4096;
const MIDDLE: usize = PAGE / 2;
/// So near to a page's boundary counts as at it: more than what anybody puts in front.
const NEAR: usize = 512;

/// A buffer for one thread.
pub(crate) struct Scratch {
    memory: Box<[u8]>,
    begin: usize,
    size: usize,
}

impl Scratch {
    /// One of `size` bytes.
    pub(crate) fn new(size: usize) -> Self {
        let memory = vec![0; size + PAGE].into_boxed_slice();
        Self {
            begin: to_middle(memory.as_ptr()),
            memory,
            size,
        }
    }

    pub(crate) fn bytes(&mut self) -> &mut [u8] {
        &mut self.memory[self.begin..self.begin + self.size]
    }
}

/// Has `memory`, which is empty, begin in the middle of a page with room for `size` bytes, if it begins
/// near a boundary.
pub(crate) fn reserve(memory: &mut BytesMut, size: usize) {
    memory.reserve(size + PAGE);
    let skipped = to_middle(memory.as_ptr());
    if (MIDDLE - NEAR..=MIDDLE + NEAR).contains(&skipped) {
        memory.resize(skipped, 0);
        memory.advance(skipped);
    }
}

/// How many bytes after `begin` the next middle of a page is.
fn to_middle(begin: *const u8) -> usize {
    (begin.align_offset(PAGE) + MIDDLE) % PAGE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_its_size_and_begins_in_the_middle_of_a_page() {
        for size in [1, 4096, 64 << 10] {
            let mut scratch = Scratch::new(size);
            let bytes = scratch.bytes();
            assert_eq!((bytes.len(), bytes.as_ptr().addr() % PAGE), (size, MIDDLE));
        }
    }

    #[test]
    fn memory_that_is_given_away_does_not_begin_where_a_page_does() {
        let size = 64 << 10;
        let mut memory = BytesMut::new();
        let mut given = Vec::new();
        for round in 0..50 {
            reserve(&mut memory, size);
            assert!(memory.is_empty() && memory.capacity() >= size);
            let offset = memory.as_ptr().addr() % PAGE;
            assert!((NEAR..PAGE - NEAR).contains(&offset), "{offset}");
            memory.resize(1 + round * 1000, 1);
            given.push(memory.split());
            // What was given away comes back, or does not.
            if round % 3 == 0 {
                given.clear();
            }
        }
    }
}
