//! `aegisctl policy build`: one policy version as the bundle that gateways and stock OPA load.
//!
//! Not here: what is in it (`policies/engine`), and serving it. Invariant: equal source, version and key give equal bytes;
//! a file with other bytes is never overwritten.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use aegis_identity::SigningKey;
use aegis_policy::{Archive, Bundle, CompileContext, SIGNATURE_TYPE, Snapshot, cases};
use clap::Args;

use super::load::Policy;
use crate::failure::{Exit, Failure};
use crate::home::{self, Home};
use crate::screen::Screen;
use aegis_cli_sheet::Sheet;

/// Write a policy version as an OPA bundle, the same bytes on every machine.
#[derive(Debug, Args)]
#[command(after_help = "\
A policy that fails its own tests is not built. The digest is that of the archive without its signature, so anyone can
build the version again and compare, without the key; sha256 is that of the file.

Examples:
  aegisctl policy build --version 7 --out acme-7.tar.gz
  aegisctl policy build policies/acme.yaml --version 7 --out acme-7.tar.gz --signing-key keys/policy.pem
  aegisctl policy build --version 7 --out acme-7.tar.gz -o json | jq -r '.[0].digest'")]
pub(super) struct BuildArgs {
    /// The policy file; the only one that aegis.yaml enforces unless given.
    #[arg(value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The number of the version, which its revision names.
    #[arg(long, value_name = "N")]
    version: u64,
    /// Where the bundle goes.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// An Ed25519 key in PKCS#8 PEM to sign with; unsigned unless given.
    #[arg(long, value_name = "FILE")]
    signing_key: Option<PathBuf>,
}

pub(super) fn run(args: &BuildArgs, home: &Home, screen: &Screen) -> Result<Exit, Failure> {
    let policy = Policy::one(args.policy.as_deref(), home)?;
    let compiled = Snapshot::of(&policy.set, CompileContext { version: args.version });
    let snapshot =
        compiled.map_err(|source| Failure::Uncompiled { path: policy.file.clone(), source })?;
    if !cases::run(&snapshot, &policy.set).passed() {
        screen.say("the policy fails its own tests: see aegisctl policy test");
        return Ok(Exit::TestFailed);
    }
    let key = args.signing_key.as_deref().map(signing_key).transpose()?;
    let bundle = match &key {
        Some(key) => signed(snapshot.bundle(), key),
        None => snapshot.bundle().clone(),
    };
    let archive = bundle.archive().map_err(|error| Failure::invalid("the bundle", error))?;
    write(&args.out, &archive)?;
    let columns = ["file", "revision", "digest", "sha256", "bytes", "signed_by"];
    let mut sheet = Sheet::new(&columns);
    sheet.row(vec![
        args.out.display().to_string().into(),
        snapshot.policy_ref().revision.clone().into(),
        bundle.digest().into(),
        archive.sha256.into(),
        archive.bytes.len().into(),
        key.map(|key| key.key_id().to_string()).into(),
    ]);
    screen.sheet(&sheet)?;
    Ok(Exit::Ok)
}

fn signing_key(path: &Path) -> Result<SigningKey, Failure> {
    let pem = home::read("the signing key", path)?;
    SigningKey::from_pkcs8_pem(&pem)
        .map_err(|error| Failure::invalid(path.display().to_string(), error))
}

fn signed(bundle: &Bundle, key: &SigningKey) -> Bundle {
    let jwt = key.sign(SIGNATURE_TYPE, bundle.signing_payload().as_bytes());
    bundle.clone().signed(jwt)
}

/// A file that has these bytes already is left alone, so that a build may be run again.
fn write(path: &Path, archive: &Archive) -> Result<(), Failure> {
    let failure = |error| Failure::file("the folder of the bundle", path, error);
    let created = OpenOptions::new().write(true).create_new(true).open(path);
    match created {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let same = fs::read(path).map_err(failure)? == archive.bytes;
            if same { Ok(()) } else { Err(Failure::Exists { path: path.to_owned() }) }
        }
        created => {
            let mut file = created.map_err(failure)?;
            file.write_all(&archive.bytes).and_then(|()| file.sync_all()).map_err(failure)
        }
    }
}
