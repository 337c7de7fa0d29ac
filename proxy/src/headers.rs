//! Headers: which of them go on, and which end at the gateway.

/// Whether a header goes on to the server.
pub(crate) fn travels(name: &[u8], named_by_connection: &[&[u8]]) -> bool {
    const FRAMING: [&[u8]; 3] = [b"host", b"content-length", b"transfer-encoding"];
    // RFC 9110 §7.6.1, and names under which a client could speak for a proxy or steer one.
    const STAYS: [&[u8]; 9] = [
        b"connection",
        b"keep-alive",
        b"te",
        b"upgrade",
        b"forwarded",
        b"via",
        b"max-forwards",
        b"x-upstream-https-proxy",
        b"proxy",
    ];
    let among = |names: &[&[u8]]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    if among(&FRAMING) {
        return true;
    }
    let proxy = name
        .get(..6)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"proxy-"));
    !(proxy || among(&STAYS) || among(named_by_connection) || is_identity_header(name))
}

/// Headers in which a client might claim to be somebody.
pub(crate) fn is_identity_header(name: &[u8]) -> bool {
    const NAMES: [&[u8]; 3] = [b"x-plugin-id", b"x-run-id", b"x-artifact-digest"];
    const PREFIX: &[u8] = b"x-bailiwick-";
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
        || name
            .get(..PREFIX.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Whether a header of a server's answer goes on to the client: not what is between gateway and
/// server only, and nothing in the gateway's own name.
pub(crate) fn response_field_travels(name: &[u8], named_by_connection: &[&[u8]]) -> bool {
    const STAYS: [&[u8]; 3] = [b"connection", b"keep-alive", b"upgrade"];
    let among = |names: &[&[u8]]| names.iter().any(|known| known.eq_ignore_ascii_case(name));
    let framing = among(&[b"content-length", b"transfer-encoding"]);
    let proxy = name
        .get(..6)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"proxy-"));
    framing || !(proxy || among(&STAYS) || among(named_by_connection) || is_identity_header(name))
}

pub(crate) fn push_field(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    out.extend_from_slice(name);
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_speaks_for_a_proxy_or_an_identity_ends_here() {
        for name in [
            "Connection",
            "Proxy-Authorization",
            "PROXY-anything",
            "Via",
            "X-Run-Id",
            "x-bailiwick-",
            "X-Hop",
        ] {
            assert!(!travels(name.as_bytes(), &[b"x-hop"]), "{name}");
        }
        for name in [
            "Authorization",
            "Cookie",
            "X-Forwarded-For",
            "Proxy",
            "Viaduct",
            "Trailer",
        ] {
            assert_eq!(travels(name.as_bytes(), &[]), name != "Proxy", "{name}");
        }
    }

    #[test]
    fn no_client_can_have_the_framing_removed_by_naming_it() {
        for name in ["Host", "Content-Length", "Transfer-Encoding"] {
            assert!(travels(name.as_bytes(), &[name.as_bytes()]), "{name}");
        }
        assert!(response_field_travels(b"Content-Length", &[b"content-length"]));
    }
}
