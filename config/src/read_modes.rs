//! How callers must show who they are, and which certificate stands for an agent.
//!
//! Not here: what the modes mean (`identity`) and checking them (`corridor`). Invariant: no certificate stands for two
//! agents, and no mode is asked for that does not exist.

use std::collections::BTreeMap;

use aegis_document::{Node, Problems};
use aegis_domain::{AgentId, TenantId};
use aegis_identity::{CertificateThumbprint, Mode, Modes};

use crate::{AgentCertificate, Tenant};

/// The modes of which one must be met: `[proof, mtls]`.
pub(super) fn modes(node: &Node, problems: &mut Problems) -> Option<Modes> {
    let choices = Mode::ALL.map(|mode| (mode.as_str(), mode));
    let modes = node.list(problems, |node, problems| node.choice(problems, &choices))?;
    if modes.is_empty() {
        problems.report(node.position(), "an empty list lets nobody call");
        return None;
    }
    Some(modes.into_iter().collect())
}

/// `{ sha256: <thumbprint>, scopes: [..] }`: a certificate names no scopes, so they are given here.
pub(super) fn certificate(node: &Node, problems: &mut Problems) -> Option<AgentCertificate> {
    let mut map = node.mapping(problems)?;
    let thumbprint = map.required("sha256", problems, |node, problems| {
        let parsed = CertificateThumbprint::parse(&node.text(problems)?);
        let report = |error: aegis_identity::ThumbprintError| {
            let help = "`openssl x509 -in agent.pem -outform der | openssl dgst -sha256 -binary | basenc --base64url | tr -d =` writes one";
            problems.report_with_help(node.position(), error.to_string(), help);
        };
        parsed.map_err(report).ok()
    });
    let scopes = map.optional("scopes", problems, |n, p| n.list(p, Node::text));
    map.finish(problems);
    let scopes = scopes.into_iter().flatten().collect();
    Some(AgentCertificate { thumbprint: thumbprint?, scopes })
}

/// Whose certificate is whose, over all tenants.
pub(super) fn certificates<'t>(
    tenants: impl Iterator<Item = &'t Tenant>,
    at: &Node,
    problems: &mut Problems,
) -> BTreeMap<CertificateThumbprint, (TenantId, AgentId)> {
    let mut whose = BTreeMap::new();
    for tenant in tenants {
        for (agent, certificate) in
            tenant.agents.iter().filter_map(|(id, agent)| Some((id, agent.certificate.as_ref()?)))
        {
            let owner = (tenant.id.clone(), agent.clone());
            if let Some((other, _)) = whose.insert(certificate.thumbprint, owner) {
                let (one, two) = (&other, &tenant.id);
                let message = format!("one certificate stands for agents of `{one}` and `{two}`");
                problems.report(at.position(), message);
            }
        }
    }
    whose
}
