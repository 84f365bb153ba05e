//! A tool and a tenant's limits as people write them for the ledger of a region, whose gateways share no disk.
//!
//! Not here: what both they and `aegis.yaml` may say (`read_tool`, `read_spending`), and what a gateway allows of it.
//! Invariant: a definition names no file and no environment variable; it is read without either.

use std::fmt;

use aegis_document::{Diagnostics, Document, Mapping, Node, Problems};
use aegis_domain::ToolName;

use crate::read_tool::{self, is_route};
use crate::{CallLimits, ToolBinding, read_spending};

/// A tool as the region's ledger defines it.
#[derive(Debug)]
pub struct ToolDefinition {
    /// Its own secret is never in it.
    pub binding: ToolBinding,
    /// Which of a gateway's own credentials its calls carry.
    pub credential: Option<CredentialName>,
}

/// What gateways call one of their own credentials: 1 to 63 of a-z 0-9 - _.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CredentialName(Box<str>);

/// The text is no credential's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the name of a credential is 1 to {} of a-z 0-9 - _", CredentialName::BYTES_MAX)]
pub struct CredentialNameError;

impl ToolDefinition {
    /// Reads what stands below a tool's name; mistakes are told as those of the file `file`.
    pub fn read(name: &ToolName, file: &str, text: &str) -> Result<Self, Diagnostics> {
        Document::parse(file, text)?.decode(|root, problems| {
            if !is_route(name) {
                problems.report(root.position(), read_tool::NO_ROUTE);
            }
            let mut map = root.mapping(problems)?;
            let credential = map.optional("credential", problems, credential);
            own_files(&mut map, problems);
            let binding = read_tool::whole(map, problems)?;
            Some(Self { binding, credential })
        })
    }

    /// Whether only who may entrust can have defined it.
    pub fn is_entrusted(&self) -> bool {
        self.credential.is_some() || self.binding.is_entrusted()
    }
}

/// The limits of a tenant, as `budgets`, `rates` and `in_flight` of a tenant in `aegis.yaml`.
pub fn limits_definition(file: &str, text: &str) -> Result<CallLimits, Diagnostics> {
    Document::parse(file, text)?.decode(|root, problems| {
        let mut map = root.mapping(problems)?;
        let limits = read_spending::call_limits(&mut map, problems);
        map.finish(problems);
        Some(limits)
    })
}

/// Whoever may define a tool is not therefore let at a gateway's disk and environment.
fn own_files(map: &mut Mapping<'_>, problems: &mut Problems) {
    for name in ["ca_file", "client_certificate"] {
        let Some(node) = map.get(name) else { continue };
        let message = format!("`{name}` names files, and gateways of a region share none");
        let help = "define a tool that needs it in `aegis.yaml`";
        problems.report_with_help(node.position(), message, help);
    }
}

fn credential(node: &Node, problems: &mut Problems) -> Option<CredentialName> {
    if node.is_mapping() {
        let help = "keep the secret on gateways, below `credentials`, and give its name here";
        let message = "a definition holds no secret and names no file or variable that does";
        problems.report_with_help(node.position(), message, help);
        return None;
    }
    node.parsed(problems)
}

impl CredentialName {
    const BYTES_MAX: usize = 63;

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::str::FromStr for CredentialName {
    type Err = CredentialNameError;

    fn from_str(text: &str) -> Result<Self, CredentialNameError> {
        let is_plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
        let is_name = (1..=Self::BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain);
        if is_name { Ok(Self(text.into())) } else { Err(CredentialNameError) }
    }
}

impl fmt::Display for CredentialName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use aegis_decide::Price;
    use aegis_domain::MicroUsd;

    use super::*;

    fn read(text: &str) -> Result<ToolDefinition, String> {
        let name = ToolName::parse("pay").unwrap();
        ToolDefinition::read(&name, "pay.yaml", text).map_err(|mistakes| mistakes.to_string())
    }

    #[test]
    fn a_definition_reads_as_the_tool_of_a_file_does_but_for_its_credential() {
        let text = "upstream: https://api.stripe.com/v1\ncredential: stripe-live\n\
                    price: { per_call_usd: '0.02' }\nbudgets: { day_usd: '20' }\nkind: write\n";
        let tool = read(text).unwrap();
        assert_eq!(tool.credential.unwrap().as_str(), "stripe-live");
        assert!(tool.binding.credential.is_none());
        assert_eq!(tool.binding.price, Price::PerCall(MicroUsd::new(20_000)));
        assert_eq!(tool.binding.limits.spend.len(), 1);
        assert!(read("upstream: https://api.stripe.com\n").unwrap().credential.is_none());
    }

    #[test]
    fn what_would_reach_for_a_gateways_disk_or_environment_is_refused_where_it_stands() {
        for (line, told) in [
            ("ca_file: /etc/ssl/ca.pem", "2:10"),
            ("client_certificate: { chain: a.pem, key: a.key }", "2:21"),
            ("credential: { file: /etc/shadow }", "2:13"),
            ("credential: { env: HOME }", "2:13"),
            ("credential: ../stripe", "2:13"),
            ("credential: Stripe", "2:13"),
            ("credential: ''", "2:13"),
            ("policy: x", "2:1"),
        ] {
            let mistakes = read(&format!("upstream: https://a.example\n{line}\n")).unwrap_err();
            assert!(mistakes.contains(&format!("pay.yaml:{told}")), "{line}\n{mistakes}");
        }
        assert!(read("kind: read\n").unwrap_err().contains("`upstream`"));
    }

    #[test]
    fn no_word_of_a_definition_makes_its_reader_open_a_file() {
        // Were it read, what is there would be told as no PEM, and what is not as missing.
        let home = tempfile::tempdir().unwrap();
        let there = home.path().join("there.pem");
        std::fs::write(&there, "no pem").unwrap();
        let mistake = |path: &std::path::Path| {
            let pair = format!("{{ chain: {0}, key: {0} }}", path.display());
            let text = format!("upstream: https://a.example\nclient_certificate: {pair}\n");
            read(&text).unwrap_err()
        };
        assert_eq!(mistake(&there), mistake(&home.path().join("absent.pem")));
    }

    #[test]
    fn a_name_that_is_no_route_is_refused() {
        for name in [".well-known", "-x"] {
            let Ok(name) = ToolName::parse(name) else { continue };
            let text = "upstream: https://a.example\n";
            let mistakes = ToolDefinition::read(&name, "x.yaml", text).unwrap_err().to_string();
            assert!(mistakes.contains("a letter or a digit"), "{mistakes}");
        }
    }

    #[test]
    fn limits_read_as_those_of_a_tenant() {
        let limits = limits_definition("limits.yaml", "rates: { per_second: 5 }\nin_flight: 2\n");
        assert_eq!(limits.unwrap().rates.second.unwrap().calls.get(), 5);
        let mistakes = limits_definition("limits.yaml", "in_flight: 2\ntools: {}\n").unwrap_err();
        assert!(mistakes.to_string().contains("limits.yaml:2:1"), "{mistakes}");
    }
}
