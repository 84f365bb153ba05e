//! Names of keys that nobody can choose: the SHA-256 of a public key or of a certificate.
//!
//! Not here: the `kid` a key set gives its keys, which is only a name (`key_set`). Invariant: the two kinds never
//! mix, and each has one spelling (43 characters of base64url, no bits to spare), so they compare as bytes.
//! Both are public; comparing them needs no constant time.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

/// The text is not 32 bytes in canonical base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("thumbprint is not 32 bytes in base64url without padding")]
pub struct ThumbprintError;

macro_rules! thumbprint {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 32]);

        impl $name {
            pub const fn from_bytes(digest: [u8; 32]) -> Self {
                Self(digest)
            }

            pub const fn as_bytes(&self) -> &[u8; 32] {
                &self.0
            }

            /// Reads the spelling that claims use.
            pub fn parse(text: &str) -> Result<Self, ThumbprintError> {
                let mut bytes = [0; 32];
                match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
                    Ok(32) => Ok(Self(bytes)),
                    Ok(_) | Err(_) => Err(ThumbprintError),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

thumbprint!(
    /// Of a public key: SHA-256 over its canonical JWK (RFC 7638); `jkt` in a token (RFC 9449 §6.1).
    JwkThumbprint
);
thumbprint!(
    /// Of a certificate: SHA-256 over its DER; `x5t#S256` in a token (RFC 8705 §3.1).
    CertificateThumbprint
);

impl JwkThumbprint {
    /// Takes the members of RFC 7638 §3.2, in order and without blanks.
    pub(crate) fn of_canonical(jwk: &str) -> Self {
        Self(Sha256::digest(jwk).into())
    }
}

impl CertificateThumbprint {
    pub fn of_der(certificate: &[u8]) -> Self {
        Self(Sha256::digest(certificate).into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbprint_has_one_spelling() {
        let text = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs";
        let read = JwkThumbprint::parse(text).unwrap();
        assert_eq!(read.to_string(), text);
        assert_eq!(format!("{read:?}"), format!("JwkThumbprint({text})"));
        let long = format!("{text}AAAA");
        let padded = format!("{text}=");
        for bad in ["", "AAAA", &text[..42], &long, &padded, &text.replace("9Xs", "9Xt"), " "] {
            assert_eq!(JwkThumbprint::parse(bad), Err(ThumbprintError), "{bad}");
        }
    }

    #[test]
    fn a_certificate_is_named_by_the_digest_of_its_der() {
        // SHA-256 of the empty text (FIPS 180-4 examples).
        let empty = CertificateThumbprint::of_der(b"");
        assert_eq!(empty.to_string(), "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU");
    }
}
