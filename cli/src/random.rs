//! Randomness, drawn in one place.

/// `N` random bytes from the operating system.
pub fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A new Ed25519 key.
pub fn ed25519_key() -> seal::SigningKey {
    seal::SigningKey::ed25519_from_seed(&bytes())
}

/// A new P-256 key.
pub fn p256_key() -> seal::SigningKey {
    loop {
        // One seed in 2³² is no scalar; the next one is.
        if let Ok(key) = seal::SigningKey::p256_from_seed(&bytes()) {
            return key;
        }
    }
}
