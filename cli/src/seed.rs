//! The seed of the audit registry's key as it stands in its file: 32 bytes as 64 hex digits.
//!
//! Not here: the key made from it (`audit/chain`). Invariant: outside this file a seed is raw bytes or a `Secret`.

use aegis_domain::Secret;

pub(crate) fn encode(seed: &[u8; 32]) -> Secret<String> {
    Secret::new(seed.iter().map(|byte| format!("{byte:02x}")).collect())
}

pub(crate) fn decode(text: &str) -> Option<Secret<[u8; 32]>> {
    let digits = text.trim();
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = digits.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    let bytes = bytes.collect::<Option<Vec<u8>>>()?;
    (digits.len() == 64).then(|| bytes.try_into().ok()).flatten().map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_reads_back_and_nothing_else_does() {
        let seed = [0xa5; 32];
        let text = encode(&seed);
        assert_eq!(decode(&format!("{}\n", text.expose())), Some(Secret::new(seed)));
        for bad in ["", "a5", &"g5".repeat(32), &"a5".repeat(33), &"+5".repeat(32)] {
            assert_eq!(decode(bad), None, "{bad}");
        }
    }
}
