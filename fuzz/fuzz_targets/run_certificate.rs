//! Client certificates: no bytes panic the reader, and a name that is read is one of this site.

#![no_main]

use libfuzzer_sys::fuzz_target;
use seal::certificate::{expiry, read_run, server_names};

fuzz_target!(|data: &[u8]| {
    let site = "acme".parse().expect("a site's name");
    if let Ok(read) = read_run(data, &site) {
        assert_eq!(read.run.site, site);
        assert_eq!(expiry(data), Ok(read.expires));
    }
    let _ = server_names(data);
});
