//! The signature of a bundle: a JWT that lists every file with its hash, as OPA checks it.
//!
//! Not here: keys and algorithms; the caller's closure says whether a JWT is good, and must hold its header to the key
//! (`identity::verify_jws`). Invariant: a bundle verifies only if the signed list is the list of its files, no more, no
//! fewer, each with its hash.

use std::error::Error;

use serde::{Deserialize, Serialize};

use super::{Bundle, BundleFile, json, sha256};

/// The `typ` of the JWT's header.
pub const SIGNATURE_TYPE: &str = "JWT";
/// The longest JWT that is looked at: enough for the files of the largest set.
pub const SIGNATURE_BYTES_MAX: usize = 128 << 10;

/// Why a bundle is not what its signer signed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError<E: Error + 'static> {
    #[error("the bundle is not signed")]
    Unsigned,
    #[error("the signature is longer than {SIGNATURE_BYTES_MAX} bytes")]
    TooLong,
    #[error("the signature does not hold")]
    Refused(#[source] E),
    #[error("what was signed is not a list of files")]
    Malformed,
    #[error("{name} is not what was signed")]
    Altered { name: String },
    #[error("{name} was not signed")]
    Unlisted { name: String },
    #[error("{name} was signed and is not there")]
    Missing { name: String },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Payload {
    files: Vec<Listed>,
    /// Says when and by whom; nothing here depends on it, and a reproducible signature leaves it out.
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    name: String,
    hash: String,
    algorithm: String,
}

impl Bundle {
    /// The payload to sign, as a JWT whose header has `typ` `JWT` and whose `alg` OPA is configured with.
    pub fn signing_payload(&self) -> String {
        json::compact(&serde_json::json!(Payload { files: self.listed(), iat: None, iss: None }))
    }

    /// The bundle with this JWT in it, in place of any other.
    pub fn signed(self, jwt: String) -> Self {
        Self { signature: Some(jwt), ..self }
    }

    pub fn signature(&self) -> Option<&str> {
        self.signature.as_deref()
    }

    /// Whether the files are those that were signed; `check` answers for the JWT and hands out its payload.
    pub fn verify<E: Error + 'static>(
        &self,
        check: impl FnOnce(&str) -> Result<Vec<u8>, E>,
    ) -> Result<(), SignatureError<E>> {
        let jwt = self.signature.as_deref().ok_or(SignatureError::Unsigned)?;
        if jwt.len() > SIGNATURE_BYTES_MAX {
            return Err(SignatureError::TooLong);
        }
        let payload = check(jwt).map_err(SignatureError::Refused)?;
        let payload: Payload =
            serde_json::from_slice(&payload).map_err(|_| SignatureError::Malformed)?;
        let mut signed = payload.files;
        signed.sort();
        let found = self.listed();
        let of = |files: &[Listed], name: &str| files.iter().any(|file| file.name == name);
        if let Some(file) = found.iter().find(|file| !signed.contains(file)) {
            let name = file.name.clone();
            let listed = of(&signed, &name);
            return Err(if listed {
                SignatureError::Altered { name }
            } else {
                SignatureError::Unlisted { name }
            });
        }
        if let Some(file) = signed.iter().find(|file| !of(&found, &file.name)) {
            return Err(SignatureError::Missing { name: file.name.clone() });
        }
        // Now only a file that is listed twice is left.
        if signed == found { Ok(()) } else { Err(SignatureError::Malformed) }
    }

    fn listed(&self) -> Vec<Listed> {
        self.files().iter().map(Listed::of).collect()
    }
}

impl Listed {
    /// OPA hashes the value of a JSON file, not its bytes; `json` makes the two the same.
    fn of(file: &BundleFile) -> Self {
        let (name, hash) = (file.name.clone(), sha256(&file.bytes));
        Self { name, hash, algorithm: "SHA-256".to_owned() }
    }
}
