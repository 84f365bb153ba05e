//! Who may ask for what: the two bearer tokens that are made at first start, one for people and one for followers.
//!
//! The seam for roles is `Principal`: whatever authenticates later says who it is and as what. Not here: agents, who prove
//! themselves at the token endpoint. Invariant: a token is compared in constant time and is a file of mode 0600.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aegis_domain::Secret;
use aegis_registry::Actor;
use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::clock::{self, RandomError};
use crate::problem::Problem;

/// Why an access token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    #[error("{} cannot be read or written", path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("{} can be read by others; run `chmod 600` on it", path.display())]
    TooOpen { path: PathBuf },
    #[error("{} holds no token; remove it to have a new one made", path.display())]
    Empty { path: PathBuf },
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// What someone may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Everything.
    Admin,
    /// Reading the feed.
    Follower,
}

/// Someone who was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// What the registry writes down beside each change.
    pub actor: Actor,
    pub role: Role,
}

/// Knows those who may come in.
#[derive(Debug)]
pub(crate) struct Access {
    tokens: Vec<(Secret<[u8; 32]>, Principal)>,
}

impl Access {
    /// Reads the tokens, or makes those that are missing.
    pub(crate) fn open(directory: &Path) -> Result<Self, AccessError> {
        let file = |source| AccessError::File { path: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(file)?;
        let mut tokens = Vec::new();
        for (name, role) in [("admin", Role::Admin), ("follower", Role::Follower)] {
            let token = token(&directory.join(format!("{name}.token")), name)?;
            let digest = Secret::new(Sha256::digest(token.expose().trim()).into());
            let actor = Actor::parse(&format!("local {name}"));
            tokens.extend(actor.map(|actor| (digest, Principal { actor, role })));
        }
        Ok(Self { tokens })
    }

    /// Who sends these headers, if they may act in this role.
    pub(crate) fn check(&self, headers: &HeaderMap, wanted: Role) -> Result<Principal, Problem> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(Problem::Unauthorized);
        };
        let text = value.to_str().map_err(|_| Problem::Unauthorized)?;
        let (scheme, token) = text.split_once(' ').ok_or(Problem::Unauthorized)?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Problem::Unauthorized);
        }
        // Digests have one length whatever was sent, so that the comparison tells nothing.
        let sent: [u8; 32] = Sha256::digest(token.trim()).into();
        let known = self.tokens.iter().filter(|(kept, _)| kept.expose().ct_eq(&sent).into());
        let principal = known.map(|(_, principal)| principal).next_back();
        let principal = principal.ok_or(Problem::Unauthorized)?;
        match (principal.role, wanted) {
            (Role::Admin, _) | (Role::Follower, Role::Follower) => Ok(principal.clone()),
            (Role::Follower, Role::Admin) => Err(Problem::Forbidden),
        }
    }
}

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
