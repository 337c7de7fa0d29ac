//! What is inside an artifact, by its own documents: a CycloneDX bill of materials, or a wheel's metadata.
//!
//! These are lists of names and versions that somebody wrote down. Nothing is believed for them except
//! that they were there when the artifact was admitted; the night holds them against the ranges that the
//! manifest declares.

use std::io::{self, Read, Seek, SeekFrom};

use miniz_oxide::inflate::decompress_to_vec_with_limit;
use serde_json::Value;

/// Metadata larger than this is not read.
const MAX_METADATA_BYTES: usize = 4 << 20;
/// A central directory larger than this is not read.
const MAX_DIRECTORY_BYTES: u64 = 64 << 20;
/// Libraries listed at most; bills with more say nothing more here.
const MAX_COMPONENTS: usize = 10_000;
/// Names and versions longer than this are nobody's.
const MAX_TEXT_BYTES: usize = 200;

/// One library, as a document spells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Component {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl Component {
    fn new(name: &str, version: &str) -> Option<Self> {
        let plain = |text: &str| {
            !text.is_empty() && text.len() <= MAX_TEXT_BYTES && !text.chars().any(char::is_control)
        };
        (plain(name) && plain(version)).then(|| Self {
            name: name.to_owned(),
            version: version.to_owned(),
        })
    }
}

/// The libraries of a CycloneDX bill in JSON, those nested in others included; none where it is no such
/// document.
pub fn of_cyclonedx(bytes: &[u8]) -> Vec<Component> {
    let Ok(bill) = serde_json::from_slice::<Value>(bytes) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let mut waiting: Vec<&Value> = Vec::new();
    waiting.extend(bill.get("components"));
    while let Some(list) = waiting.pop() {
        for component in list.as_array().into_iter().flatten() {
            let text = |field| component.get(field).and_then(Value::as_str);
            if let (Some(name), Some(version)) = (text("name"), text("version")) {
                found.extend(Component::new(name, version));
            }
            waiting.extend(component.get("components"));
        }
        if found.len() >= MAX_COMPONENTS {
            break;
        }
    }
    tidy(found)
}

/// The libraries of a wheel by its `METADATA` (core metadata): itself, and what it pins to one version.
/// None where it is no wheel, or one that is packed in another way than wheels are.
///
/// # Errors
/// The file cannot be read.
pub fn of_wheel(file: &mut (impl Read + Seek)) -> io::Result<Vec<Component>> {
    let metadata = match metadata(file) {
        Ok(Some(metadata)) => metadata,
        Ok(None) => return Ok(Vec::new()),
        // Offsets that lead nowhere.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&metadata);
    let headers = text.lines().take_while(|line| !line.is_empty());
    let (mut name, mut version, mut found) = (None, None, Vec::new());
    for (field, value) in headers.filter_map(|line| line.split_once(": ")) {
        match field {
            "Name" => name = Some(value.trim()),
            "Version" => version = Some(value.trim()),
            "Requires-Dist" => found.extend(pinned(value)),
            _ => {}
        }
    }
    found.extend(
        name.zip(version)
            .and_then(|(name, version)| Component::new(name, version)),
    );
    Ok(tidy(found))
}

fn tidy(mut found: Vec<Component>) -> Vec<Component> {
    found.sort();
    found.dedup();
    found.truncate(MAX_COMPONENTS);
    found
}

/// `name==version`, without a marker and without a wildcard; anything else names no version.
fn pinned(requirement: &str) -> Option<Component> {
    let (name, version) = requirement.split_once("==")?;
    let name = name.split('[').next()?.trim().trim_end_matches('(').trim_end();
    let version = version.trim().trim_end_matches(')');
    let plain = |text: &str, more: &[char]| {
        text.chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '.' || more.contains(&c))
    };
    let exact = plain(name, &['-', '_']) && plain(version, &['+', '!']);
    exact.then(|| Component::new(name, version))?
}

/// The bytes of the one `*.dist-info/METADATA` in a ZIP file.
fn metadata(file: &mut (impl Read + Seek)) -> io::Result<Option<Vec<u8>>> {
    let Some(directory) = central_directory(file)? else {
        return Ok(None);
    };
    let mut rest = directory.as_slice();
    while let Some((entry, after)) = Entry::read(rest) {
        rest = after;
        let parts: Vec<&str> = entry.name.split('/').collect();
        if let [folder, "METADATA"] = parts.as_slice()
            && folder.ends_with(".dist-info")
        {
            return entry.bytes(file);
        }
    }
    Ok(None)
}

/// The central directory, by the record at the end of the file (APPNOTE 4.3.16).
fn central_directory(file: &mut (impl Read + Seek)) -> io::Result<Option<Vec<u8>>> {
    const RECORD: u64 = 22;
    const LONGEST_COMMENT: u64 = 0xffff;
    let size = file.seek(SeekFrom::End(0))?;
    let tail_len = size.min(RECORD + LONGEST_COMMENT);
    file.seek(SeekFrom::Start(size - tail_len))?;
    let mut tail = Vec::new();
    file.by_ref().take(tail_len).read_to_end(&mut tail)?;
    let record = tail.windows(4).rposition(|window| window == b"PK\x05\x06");
    let Some(record) = record.and_then(|at| tail.get(at..at + 22)) else {
        return Ok(None);
    };
    let (length, offset) = (u32_at(record, 12), u32_at(record, 16));
    if u64::from(length) > MAX_DIRECTORY_BYTES || u64::from(offset) + u64::from(length) > size {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(offset.into()))?;
    let mut directory = vec![0; length as usize];
    file.read_exact(&mut directory)?;
    Ok(Some(directory))
}

/// One header of the central directory (APPNOTE 4.3.12).
struct Entry {
    name: String,
    method: u16,
    packed: u32,
    offset: u32,
}

impl Entry {
    fn read(bytes: &[u8]) -> Option<(Self, &[u8])> {
        let header = bytes
            .get(..46)
            .filter(|header| header.starts_with(b"PK\x01\x02"))?;
        let length = |at| usize::from(u16_at(header, at));
        let (name, extra, comment) = (length(28), length(30), length(32));
        let entry = Self {
            name: String::from_utf8_lossy(bytes.get(46..46 + name)?).into_owned(),
            method: u16_at(header, 10),
            packed: u32_at(header, 20),
            offset: u32_at(header, 42),
        };
        Some((entry, bytes.get(46 + name + extra + comment..)?))
    }

    fn bytes(&self, file: &mut (impl Read + Seek)) -> io::Result<Option<Vec<u8>>> {
        if self.packed as usize > MAX_METADATA_BYTES {
            return Ok(None);
        }
        // The local header repeats the name and may have another extra field (APPNOTE 4.3.7).
        let mut header = [0; 30];
        file.seek(SeekFrom::Start(self.offset.into()))?;
        file.read_exact(&mut header)?;
        let skip = i64::from(u16_at(&header, 26)) + i64::from(u16_at(&header, 28));
        file.seek(SeekFrom::Current(skip))?;
        let mut packed = vec![0; self.packed as usize];
        file.read_exact(&mut packed)?;
        Ok(match self.method {
            0 => Some(packed),
            8 => decompress_to_vec_with_limit(&packed, MAX_METADATA_BYTES).ok(),
            _ => None,
        })
    }
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use miniz_oxide::deflate::compress_to_vec;
    use proptest::prelude::*;

    use super::*;

    /// A ZIP file of one member.
    fn zip(name: &str, content: &[u8], method: u16) -> Vec<u8> {
        let packed = if method == 8 {
            compress_to_vec(content, 6)
        } else {
            content.to_vec()
        };
        let (name_len, packed_len) = (name.len() as u16, packed.len() as u32);
        let mut file = b"PK\x03\x04".to_vec();
        file.extend([0; 14]);
        file.extend(packed_len.to_le_bytes());
        file.extend((content.len() as u32).to_le_bytes());
        file.extend(name_len.to_le_bytes());
        file.extend([0; 2]);
        file.extend(name.as_bytes());
        file.extend(&packed);
        let directory = file.len() as u32;
        file.extend(b"PK\x01\x02");
        file.extend([0; 6]);
        file.extend(method.to_le_bytes());
        file.extend([0; 8]);
        file.extend(packed_len.to_le_bytes());
        file.extend((content.len() as u32).to_le_bytes());
        file.extend(name_len.to_le_bytes());
        file.extend([0; 16]);
        file.extend(name.as_bytes());
        let length = file.len() as u32 - directory;
        file.extend(b"PK\x05\x06");
        file.extend([0; 8]);
        file.extend(length.to_le_bytes());
        file.extend(directory.to_le_bytes());
        file.extend([0; 2]);
        file
    }

    fn texts(found: &[Component]) -> Vec<String> {
        found
            .iter()
            .map(|c| format!("{} {}", c.name, c.version))
            .collect()
    }

    const METADATA: &[u8] = b"Metadata-Version: 2.1\nName: openai\nVersion: 3.54.1\n\
        Requires-Dist: httpx<1,>=0.23\nRequires-Dist: pinned[extra]==1.2.3\nRequires-Dist: any==1.*\n\
        Requires-Dist: marked==2.0; extra == \"x\"\n\nName: not a header any more\n";

    #[test]
    fn a_wheel_names_itself_and_what_it_pins() {
        for method in [0, 8] {
            let wheel = zip("openai-3.54.1.dist-info/METADATA", METADATA, method);
            let found = of_wheel(&mut Cursor::new(wheel)).unwrap();
            assert_eq!(texts(&found), ["openai 3.54.1", "pinned 1.2.3"]);
        }
    }

    #[test]
    fn what_is_no_wheel_names_nothing() {
        for bytes in [
            b"".to_vec(),
            b"no archive".to_vec(),
            zip("sub/x.dist-info/METADATA", METADATA, 0),
            zip("x.dist-info/METADATA", METADATA, 12),
        ] {
            assert_eq!(of_wheel(&mut Cursor::new(bytes)).unwrap(), []);
        }
        // A directory that leads beyond the file.
        let mut cut = zip("x.dist-info/METADATA", METADATA, 0);
        cut.drain(..40);
        assert_eq!(of_wheel(&mut Cursor::new(cut)).unwrap(), []);
    }

    #[test]
    fn a_bill_of_materials_names_what_is_nested_too() {
        let bill = br#"{"bomFormat": "CycloneDX", "components": [
            {"type": "library", "name": "openai", "version": "2.1.0", "components": [{"name": "httpx", "version": "0.27"}]},
            {"name": "unversioned"}, {"name": "openai", "version": "2.1.0"}]}"#;
        assert_eq!(texts(&of_cyclonedx(bill)), ["httpx 0.27", "openai 2.1.0"]);
        assert_eq!(of_cyclonedx(b"not json"), []);
        assert_eq!(of_cyclonedx(b"[]"), []);
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = of_wheel(&mut Cursor::new(&bytes));
            let _ = of_cyclonedx(&bytes);
        }

        #[test]
        fn no_changed_byte_makes_the_reader_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut wheel = zip("x.dist-info/METADATA", METADATA, 8);
            let at = at.index(wheel.len());
            wheel[at] = byte;
            let _ = of_wheel(&mut Cursor::new(wheel));
        }
    }
}
