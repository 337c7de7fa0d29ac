//! Targets: whatever is read has one canonical spelling, and that spelling reads back as itself.

#![no_main]

use base::Target;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(target) = Target::from_authority(data) {
        let text = target.to_string();
        assert_eq!(Target::from_authority(text.as_bytes()), Ok(target));
    }
    if let Some((port, name)) = data.split_first_chunk::<2>()
        && let Ok(port) = u16::from_be_bytes(*port).to_string().parse()
    {
        let _ = Target::from_name(name, port);
    }
    let escaped = base::escape_untrusted(data, 200);
    assert!(
        escaped.len() <= 200
            && escaped
                .bytes()
                .all(|byte| byte.is_ascii_graphic() || byte == b' ')
    );
});
