//! A tool and a tenant's limits as people write them for the ledger of a region, whose gateways share no disk.
//!
//! Not here: what both they and `aegis.yaml` may say (`read_tool`, `read_spending`), and what a gateway allows of it.
//! Invariant: a definition names no file and no environment variable; it is read without either.

use aegis_document::{Diagnostics, Document, Mapping, Node, Problems};
use aegis_domain::ToolName;

use crate::lent::{Borrows, LentName};
use crate::read_tool::{self, is_route};
use crate::{CallLimits, ToolBinding, read_spending};

/// A tool as the region's ledger defines it.
#[derive(Debug)]
pub struct ToolDefinition {
    /// Its own secret is never in it.
    pub binding: ToolBinding,
    /// What of a gateway's own its calls go with.
    pub borrows: Borrows,
}

impl ToolDefinition {
    /// Reads what stands below a tool's name; mistakes are told as those of the file `file`.
    pub fn read(name: &ToolName, file: &str, text: &str) -> Result<Self, Diagnostics> {
        Document::parse(file, text)?.decode(|root, problems| {
            if !is_route(name) {
                problems.report(root.position(), read_tool::NO_ROUTE);
            }
            let mut map = root.mapping(problems)?;
            let borrows = borrows(&mut map, problems);
            let binding = read_tool::whole(map, problems)?;
            Some(Self { binding, borrows })
        })
    }

    /// Whether only who may entrust can have defined it.
    pub fn is_entrusted(&self) -> bool {
        let Borrows { credential, client_certificate, authority: _ } = &self.borrows;
        credential.is_some() || client_certificate.is_some() || self.binding.is_entrusted()
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
fn borrows(map: &mut Mapping<'_>, problems: &mut Problems) -> Borrows {
    if let Some(node) = map.get("ca_file") {
        let help =
            "keep the file on gateways, below `authorities`, and give its name as `authority`";
        let message = "`ca_file` names a file, and gateways of a region share none";
        problems.report_with_help(node.position(), message, help);
    }
    let credential = map.optional("credential", problems, |node, problems| {
        let help = "keep the secret on gateways, below `credentials`, and give its name here";
        lent(node, problems, help)
    });
    let client_certificate = map.optional("client_certificate", problems, |node, problems| {
        let help = "keep the pair on gateways, below `client_certificates`, and give its name here";
        lent(node, problems, help)
    });
    let authority = map.optional("authority", problems, Node::parsed);
    Borrows { credential, client_certificate, authority }
}

fn lent(node: &Node, problems: &mut Problems, help: &str) -> Option<LentName> {
    if node.is_mapping() {
        let message = "a definition holds no secret and names no file or variable that does";
        problems.report_with_help(node.position(), message, help);
        return None;
    }
    node.parsed(problems)
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
        assert_eq!(tool.borrows.credential.unwrap().as_str(), "stripe-live");
        assert!(tool.binding.credential.is_none());
        assert_eq!(tool.binding.price, Price::PerCall(MicroUsd::new(20_000)));
        assert_eq!(tool.binding.limits.spend.len(), 1);
        let text = "upstream: https://crm.inside\nauthority: inside\nclient_certificate: crm\n";
        let tool = read(text).unwrap();
        assert!(tool.is_entrusted() && tool.binding.client_certificate.is_none());
        assert_eq!(tool.borrows.authority.unwrap().as_str(), "inside");
        assert!(!read("upstream: https://crm.inside\nauthority: inside\n").unwrap().is_entrusted());
        assert!(read("upstream: https://api.stripe.com\n").unwrap().borrows == Borrows::default());
    }

    #[test]
    fn what_would_reach_for_a_gateways_disk_or_environment_is_refused_where_it_stands() {
        for (line, told) in [
            ("ca_file: /etc/ssl/ca.pem", "2:10"),
            ("client_certificate: { chain: a.pem, key: a.key }", "2:21"),
            ("client_certificate: A", "2:21"),
            ("authority: { ca_file: /etc/ssl/ca.pem }", "2:12"),
            ("authority: /etc/ssl/ca.pem", "2:12"),
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
