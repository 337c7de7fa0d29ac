//! Keys of canonical JSON, told apart by their first eight bytes.
//!
//! Keys rise within an entry, so each is sought from where the last was found; what is left to spare is
//! the comparing.

/// A field's key.
#[derive(Debug)]
pub(crate) struct Key {
    /// With the quotation mark that ends it.
    pub(crate) text: &'static [u8],
    /// The first eight bytes as one number, and which of its bits the key has.
    head: u64,
    mask: u64,
    /// What follows these bytes.
    rest: &'static [u8],
}

/// What comes after the quotation mark that begins a key.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoted<'a> {
    bytes: &'a [u8],
    head: u64,
}

impl Key {
    pub(crate) const fn new(text: &'static [u8]) -> Self {
        let (mut head, mut mask, mut at) = (0, 0, 0);
        while at < text.len() && at < 8 {
            head |= (text[at] as u64) << (8 * at);
            mask |= 0xff << (8 * at);
            at += 1;
        }
        let (_, rest) = text.split_at(at);
        Self {
            text,
            head,
            mask,
            rest,
        }
    }

    /// What follows this key and its colon, where it is the one that stands there.
    pub(crate) fn after<'a>(&self, quoted: Quoted<'a>) -> Option<&'a [u8]> {
        quoted.bytes.get(self.text.len()..)?.strip_prefix(b":")
    }

    pub(crate) fn is(&self, quoted: &Quoted<'_>) -> bool {
        quoted.head & self.mask == self.head
            && (self.rest.is_empty()
                || quoted
                    .bytes
                    .get(8..)
                    .is_some_and(|more| more.starts_with(self.rest)))
    }
}

impl<'a> Quoted<'a> {
    /// The key that `rest` begins with.
    pub(crate) fn of(rest: &'a [u8]) -> Option<Self> {
        let bytes = rest.strip_prefix(b"\"")?;
        let head = match bytes.first_chunk::<8>() {
            Some(head) => u64::from_le_bytes(*head),
            None => {
                let mut head = [0; 8];
                head[..bytes.len()].copy_from_slice(bytes);
                u64::from_le_bytes(head)
            }
        };
        Some(Self { bytes, head })
    }
}
