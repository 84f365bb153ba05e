//! The nonces a proof must carry where the server asks for them (RFC 9449 §8, §9).
//!
//! Pure: keys and time are arguments, and nothing is remembered, so every gateway that has the keys takes a nonce that
//! any other gave. Invariant: a nonce is worth nothing after two more slots, nor once its key has been rolled twice.

use aegis_domain::{Secret, Timestamp};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::hmac;

use crate::SigningKey;

/// How long a nonce is the newest. It is taken for as long again, and from gateways whose clock is ahead.
const SLOT_S: u64 = 150;
/// What the secret is derived for.
const PURPOSE: &str = "dpop nonces";
const LABEL: &[u8] = b"aegis-dpop-nonce-v1\0";
const SLOT_BYTES: usize = 8;
const NONCE_BYTES: usize = 40;

/// Gives nonces and knows them again.
pub struct Nonces {
    current: hmac::Key,
    previous: Option<hmac::Key>,
}

impl Nonces {
    /// Takes 32 random bytes, and those before them while nonces made with them are still about.
    pub fn new(current: &Secret<[u8; 32]>, previous: Option<&Secret<[u8; 32]>>) -> Self {
        let key = |secret: &Secret<[u8; 32]>| hmac::Key::new(hmac::HMAC_SHA256, secret.expose());
        Self { current: key(current), previous: previous.map(key) }
    }

    /// Those of everyone who has this key: the nodes of a region know each other's without a word between them.
    pub fn derived(key: &SigningKey) -> Self {
        Self::new(&key.derive(PURPOSE), None)
    }

    /// The nonce for `DPoP-Nonce`, the same for everybody in one slot.
    pub fn issue(&self, now: Timestamp) -> String {
        let slot = slot_of(now).to_be_bytes();
        let tag = hmac::sign(&self.current, &labelled(slot));
        URL_SAFE_NO_PAD.encode([slot.as_slice(), tag.as_ref()].concat())
    }

    pub(crate) fn accepts(&self, nonce: &str, now: Timestamp) -> bool {
        let mut bytes = [0; NONCE_BYTES];
        if !matches!(URL_SAFE_NO_PAD.decode_slice(nonce, &mut bytes), Ok(NONCE_BYTES)) {
            return false;
        }
        let Some((slot, tag)) = bytes.split_first_chunk::<SLOT_BYTES>() else {
            return false;
        };
        if slot_of(now).abs_diff(u64::from_be_bytes(*slot)) > 1 {
            return false;
        }
        let message = labelled(*slot);
        // `hmac::verify` takes the same time wherever a tag differs.
        [Some(&self.current), self.previous.as_ref()]
            .into_iter()
            .flatten()
            .any(|key| hmac::verify(key, &message, tag).is_ok())
    }
}

impl std::fmt::Debug for Nonces {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nonces").finish_non_exhaustive()
    }
}

fn slot_of(now: Timestamp) -> u64 {
    now.unix_s() / SLOT_S
}

fn labelled(slot: [u8; SLOT_BYTES]) -> Vec<u8> {
    [LABEL, &slot].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::now;

    fn at(s: u64) -> Timestamp {
        Timestamp::from_unix_s(now().unix_s() / SLOT_S * SLOT_S + s)
    }

    fn nonces(current: u8, previous: Option<u8>) -> Nonces {
        let secret = |byte| Secret::new([byte; 32]);
        Nonces::new(&secret(current), previous.map(secret).as_ref())
    }

    #[test]
    fn a_nonce_is_taken_in_its_slot_and_the_next_and_by_a_clock_behind() {
        let given = nonces(1, None).issue(at(150));
        for good in [150, 299, 300, 449, 149, 0] {
            assert!(nonces(1, None).accepts(&given, at(good)), "{good}");
        }
        for bad in [450, 100_000] {
            assert!(!nonces(1, None).accepts(&given, at(bad)), "{bad}");
        }
        assert!(!nonces(1, None).accepts(&nonces(1, None).issue(at(300)), at(149)));
    }

    #[test]
    fn a_nonce_outlives_one_roll_of_the_key_and_not_two() {
        let given = nonces(1, None).issue(at(0));
        assert!(nonces(2, Some(1)).accepts(&given, at(0)));
        assert!(!nonces(3, Some(2)).accepts(&given, at(0)));
        assert_ne!(given, nonces(2, Some(1)).issue(at(0)));
    }

    #[test]
    fn nodes_of_one_key_take_each_others_nonces_and_no_others() {
        let of = |seed| Nonces::derived(&SigningKey::from_seed([seed; 32]));
        let given = of(1).issue(at(0));
        assert!(of(1).accepts(&given, at(0)));
        assert!(!of(2).accepts(&given, at(0)));
    }

    #[test]
    fn only_what_was_given_is_taken() {
        let given = nonces(1, None).issue(at(0));
        assert_eq!(given.len(), 54);
        for at_byte in 0..given.len() {
            let mut touched = given.clone().into_bytes();
            touched[at_byte] = if touched[at_byte] == b'A' { b'B' } else { b'A' };
            let touched = String::from_utf8(touched).unwrap();
            assert!(!nonces(1, None).accepts(&touched, at(0)), "{at_byte}");
        }
        for bad in ["", "x", &given[1..], &format!("{given}="), &format!("{given}AAAA")] {
            assert!(!nonces(1, None).accepts(bad, at(0)), "{bad}");
        }
        assert_eq!(format!("{:?}", nonces(1, None)), "Nonces { .. }");
    }
}
