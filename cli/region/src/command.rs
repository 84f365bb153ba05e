//! The commands that stand beside each other under `aegisctl` and ask the control API.
//!
//! Not here: `budget` and `token`, which do more than ask it (`cli`). Invariant: each is one variant and one line.

use std::path::Path;

use aegis_domain::Timestamp;
use clap::Subcommand;

use crate::Told;
use crate::agent::AgentArgs;
use crate::approval::ApprovalArgs;
use crate::definition::ToolArgs;
use crate::keys::KeysArgs;
use crate::region::RegionError;
use crate::revoke::RevokeArgs;
use crate::session::{LoginArgs, LogoutArgs, SessionArgs};
use crate::tenant::TenantArgs;

#[derive(Debug, Subcommand)]
pub enum RegionCommand {
    Agent(AgentArgs),
    Keys(KeysArgs),
    Revoke(RevokeArgs),
    Approval(ApprovalArgs),
    Session(SessionArgs),
    Tenant(TenantArgs),
    Tool(ToolArgs),
    Login(LoginArgs),
    Logout(LogoutArgs),
}

impl RegionCommand {
    pub fn run(&self, data: &Path, now: Timestamp) -> Result<Told, RegionError> {
        match self {
            RegionCommand::Agent(args) => args.run(data, now),
            RegionCommand::Keys(args) => args.run(data),
            RegionCommand::Revoke(args) => args.run(data),
            RegionCommand::Approval(args) => args.run(data),
            RegionCommand::Session(args) => args.run(data),
            RegionCommand::Tenant(args) => args.run(data),
            RegionCommand::Tool(args) => args.run(data),
            RegionCommand::Login(args) => args.run(data),
            RegionCommand::Logout(args) => args.run(data),
        }
    }
}
