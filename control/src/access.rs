//! The bearer tokens that a node knows: the two that it makes at its first start, one that may do everything, for the first
//! session and for emergencies, and one for followers; and those it was given for other regions.
//!
//! Not here: sessions (`people`), and what a principal may do (`control/access`).
//! Invariant: a token is compared in constant time, and those made here are files of mode 0600.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aegis_access::{Principal, Reach, Role};
use aegis_audit_chain::cosignature::Cosigner;
use aegis_audit_chain::note::SecretKey;
use aegis_domain::{Region, Secret};
use aegis_registry::Actor;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::clock::{self, RandomError};

/// Why an access token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("{} cannot be read or written", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} can be read by others; run `chmod 600` on it", path.display())]
    TooOpen { path: PathBuf },
    #[error("{} holds no token; remove it to have a new one made", path.display())]
    Empty { path: PathBuf },
    #[error("{name} is no name for a witness")]
    Name { name: String },
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Knows those who may come in.
#[derive(Debug)]
pub(crate) struct Access {
    tokens: Vec<(Secret<[u8; 32]>, Principal)>,
    follower: Secret<String>,
}

impl Access {
    /// Reads the tokens, or makes those that are missing.
    pub(crate) fn open(directory: &Path) -> Result<Self, AccessError> {
        let file = |source| AccessError::File { path: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(file)?;
        let read = |name| token(&directory.join(format!("{name}.token")), name);
        let (admin, follower) = (read("admin")?, read("follower")?);
        let mut tokens = Vec::new();
        for (name, token, role) in
            [("admin", &admin, Role::Admin), ("follower", &follower, Role::Follower)]
        {
            let digest = Secret::new(Sha256::digest(token.expose().trim()).into());
            let actor = Actor::parse(&format!("local {name}"));
            let whole = |actor| Principal { actor, roles: [role].into(), reach: Reach::Region };
            tokens.extend(actor.map(|actor| (digest, whole(actor))));
        }
        Ok(Self { tokens, follower })
    }

    /// What followers have, for those that are to take it too.
    pub(crate) fn follower(&self) -> &Secret<String> {
        &self.follower
    }

    /// Lets another region follow what is released to it.
    pub(crate) fn give(&mut self, region: Region, token: &Secret<String>) {
        let digest = Secret::new(Sha256::digest(token.expose().trim()).into());
        // A region's name is one that an actor may have.
        let actor = Actor::parse(&format!("region {region}"));
        let reach = Reach::Abroad(region);
        let principal = |actor| Principal { actor, roles: [Role::Follower].into(), reach };
        self.tokens.extend(actor.map(|actor| (digest, principal(actor))));
    }

    /// Whose token this is.
    pub(crate) fn bearer_of(&self, token: &str) -> Option<&Principal> {
        // Digests have one length whatever was sent, so that the comparison tells nothing.
        let sent: [u8; 32] = Sha256::digest(token).into();
        let known = self.tokens.iter().filter(|(kept, _)| kept.expose().ct_eq(&sent).into());
        known.map(|(_, principal)| principal).next_back()
    }
}

/// Reads the key this voter cosigns with, or makes it.
pub(crate) fn cosigner(
    directory: &Path,
    (cluster, node): (&str, u64),
) -> Result<Cosigner, AccessError> {
    let secret = token(&directory.join("cosigner.secret"), "cosigner")?;
    let seed = Sha256::digest(secret.expose().trim()).into();
    let name = format!("{cluster}/voters/{node}");
    let cosigner = Cosigner::new(&name, SecretKey::from_seed(&seed));
    cosigner.map_err(|_| AccessError::Name { name })
}

/// Reads a secret text, or makes it.
fn token(path: &Path, name: &str) -> Result<Secret<String>, AccessError> {
    let file = |source| AccessError::File { path: path.to_owned(), source };
    match fs::read_to_string(path).map(Secret::new) {
        Ok(token) if token.expose().trim().is_empty() => {
            Err(AccessError::Empty { path: path.to_owned() })
        }
        Ok(token) => {
            let mode = fs::metadata(path).map_err(file)?.mode();
            if mode & 0o077 == 0 {
                Ok(token)
            } else {
                Err(AccessError::TooOpen { path: path.to_owned() })
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let token = Secret::new(clock::secret(&format!("aegis-{name}-"))?);
            write(path, &token).map_err(file)?;
            Ok(token)
        }
        Err(source) => Err(file(source)),
    }
}

fn write(path: &Path, token: &Secret<String>) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
    file.write_all(format!("{}\n", token.expose()).as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
