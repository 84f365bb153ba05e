//! All that is needed to measure: a fake upstream, the gateway and a bare proxy before it, in a folder of their own.
//!
//! Not here: what is measured (`figures`, `idle`). Invariant: when the stage goes, its processes and files go.

use std::path::{Path, PathBuf};
use std::process::Command;

use aegis_domain::CallKind;
use anyhow::{Context as _, bail};
use serde::Serialize;
use tempfile::TempDir;

use crate::call::{Call, Protocol, Target};
use crate::certificates::Certificates;
use crate::connection;
use crate::peers::gateway::{Behind, Gateway, beside_us};
use crate::peers::{Peer, free_address};

/// What is measured, and where.
#[derive(Clone, Debug, clap::Args)]
pub struct Place {
    /// The gateway to measure; the one beside this program unless named.
    #[arg(long, value_name = "PATH")]
    pub gateway: Option<PathBuf>,
    /// Where data directories are made, and removed afterwards; name one on the disk that the audit log will be on.
    #[arg(long, value_name = "DIR", default_value_os_t = std::env::temp_dir())]
    pub work_dir: PathBuf,
}

/// How the stage is built.
#[derive(Clone, Debug, clap::Args)]
pub struct StageOptions {
    #[command(flatten)]
    pub place: Place,
    /// Speak TLS to the upstream.
    #[arg(long)]
    pub upstream_tls: bool,
}

impl Place {
    /// The gateway's program, and a folder that goes when the run ends.
    pub(crate) fn prepare(&self) -> anyhow::Result<(PathBuf, TempDir)> {
        let program = self.gateway.clone().map_or_else(beside_us, Ok)?;
        let folder = TempDir::with_prefix_in("aegis-loadtest-", &self.work_dir);
        let folder = folder.with_context(|| format!("no folder in {}", self.work_dir.display()))?;
        Ok((program, folder))
    }
}

/// Who answers the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    /// The upstream itself: the floor, made of generator, kernel and upstream.
    Direct,
    BarePingora,
    Gateway,
}

impl Subject {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Subject::Direct => "upstream alone",
            Subject::BarePingora => "bare Pingora",
            Subject::Gateway => "aegis-gateway",
        }
    }
}

/// Everything running.
pub(crate) struct Stage {
    gateway: Gateway,
    bare: Peer,
    upstream: Peer,
    /// Before which gateway and bare proxy stand instead, where TLS is asked for.
    _tls_upstream: Option<Peer>,
    _folder: TempDir,
}

impl Stage {
    pub(crate) fn start(options: &StageOptions) -> anyhow::Result<Self> {
        let (program, folder) = options.place.prepare()?;
        let tls = options.upstream_tls.then(|| Certificates::make(folder.path())).transpose()?;
        let upstream = start_upstream(None)?;
        let tls_upstream = tls.as_ref().map(|tls| start_upstream(Some(tls))).transpose()?;
        let address = tls_upstream.as_ref().unwrap_or(&upstream).address;
        let bare = start_bare(&Behind { upstream: address, tls: tls.as_ref() })?;
        let behind = Behind { upstream: address, tls: tls.as_ref() };
        let gateway = Gateway::start(&program, &folder.path().join("gateway"), &behind)?;
        let stage = Self { gateway, bare, upstream, _tls_upstream: tls_upstream, _folder: folder };
        stage.rehearse()?;
        Ok(stage)
    }

    pub(crate) fn pid(&self, subject: Subject) -> u32 {
        self.peer(subject).pid()
    }

    pub(crate) fn target(&self, subject: Subject) -> anyhow::Result<Target> {
        Ok(Target::new(self.peer(subject).address, Protocol::Http1)?)
    }

    /// The same calls for everyone; those before the gateway carry its tokens for nothing.
    pub(crate) fn calls(&self, kind: CallKind) -> anyhow::Result<Vec<Call>> {
        self.gateway.calls(kind)
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.gateway.journal()
    }

    fn peer(&self, subject: Subject) -> &Peer {
        match subject {
            Subject::Direct => &self.upstream,
            Subject::BarePingora => &self.bare,
            Subject::Gateway => &self.gateway.peer,
        }
    }

    /// A figure made of refusals says nothing, so each kind of call must go through before any is measured.
    fn rehearse(&self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        for subject in [Subject::Direct, Subject::BarePingora, Subject::Gateway] {
            for kind in [CallKind::Read, CallKind::Write] {
                let calls = self.calls(kind)?;
                let call = calls.first().context("a stage has calls")?;
                let target = self.target(subject)?;
                let mut sender = None;
                let (status, body) =
                    runtime.block_on(connection::exchange(&target, &mut sender, call))?;
                if !(200..300).contains(&status) {
                    let said = String::from_utf8_lossy(&body).into_owned();
                    bail!("{} answered a {kind:?} with {status}: {said}", subject.name());
                }
            }
        }
        Ok(())
    }
}

pub(crate) fn start_upstream(tls: Option<&Certificates>) -> anyhow::Result<Peer> {
    let address = free_address()?;
    let mut command = ourselves()?;
    command.arg("upstream").arg("--listen").arg(address.to_string());
    if let Some(tls) = tls {
        command.arg("--certificate").arg(&tls.certificate).arg("--key").arg(&tls.key);
    }
    Peer::start("the fake upstream", &mut command, address)
}

fn start_bare(behind: &Behind<'_>) -> anyhow::Result<Peer> {
    let address = free_address()?;
    let mut command = ourselves()?;
    command.arg("bare-pingora").arg("--listen").arg(address.to_string());
    command.arg("--upstream").arg(behind.upstream.to_string());
    if let Some(tls) = behind.tls {
        command.arg("--upstream-ca").arg(&tls.ca);
    }
    Peer::start("bare Pingora", &mut command, address)
}

fn ourselves() -> anyhow::Result<Command> {
    let own = std::env::current_exe()?;
    Ok(Command::new::<&Path>(own.as_ref()))
}
