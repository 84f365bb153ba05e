//! Certificates that must not be believed, and some that must.

use std::sync::Arc;

use aegis_domain::Reason;
use aegis_testkit::{Building, Plan, Upstream};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, GeneralSubtree, IsCa,
    KeyPair, KeyUsagePurpose, NameConstraints, date_time_ymd,
};
use serde_json::json;

use super::{BOTH, Shown, Signer, leaf, server, tool};
use crate::GATEWAY;

/// A leaf for `open.test` with something changed.
fn changed(root: &Signer, change: impl FnOnce(&mut CertificateParams)) -> Shown {
    let mut params = leaf(&["open.test"]);
    change(&mut params);
    root.sign(&params)
}

fn only_names(
    permitted: &[&str],
    excluded: &[&str],
) -> impl FnOnce(&mut CertificateParams) + use<> {
    let names = |list: &[&str]| {
        list.iter().map(|name| GeneralSubtree::DnsName((*name).to_owned())).collect()
    };
    let (permitted_subtrees, excluded_subtrees) = (names(permitted), names(excluded));
    move |params| {
        params.name_constraints = Some(NameConstraints { permitted_subtrees, excluded_subtrees });
    }
}

fn within_years(first: i32, last: i32) -> impl FnOnce(&mut CertificateParams) {
    move |params| {
        params.not_before = date_time_ymd(first, 1, 1);
        params.not_after = date_time_ymd(last, 1, 1);
    }
}

fn used_for(usage: ExtendedKeyUsagePurpose) -> impl FnOnce(&mut CertificateParams) {
    move |params| params.extended_key_usages = vec![usage]
}

/// Leaves that must not be believed for `open.test`, though the authority signed them.
fn bad_leaves(root: &Signer) -> Vec<(&'static str, Shown)> {
    let named = |name: &str| root.sign(&leaf(&[name]));
    let only_cn = |params: &mut CertificateParams| {
        params.subject_alt_names.clear();
        params.distinguished_name.push(DnType::CommonName, "open.test");
    };
    let signs = |params: &mut CertificateParams| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    };
    vec![
        ("expired", changed(root, within_years(2001, 2002))),
        ("not yet valid", changed(root, within_years(2999, 3000))),
        ("another name", named("else.test")),
        ("a name below", named("a.open.test")),
        ("a name that begins so", named("open.test.evil.test")),
        ("an address", named("127.0.0.1")),
        ("a wildcard for everything", named("*")),
        ("a wildcard for a whole zone", named("*.test")),
        ("a wildcard in the middle of a label", named("o*n.test")),
        ("a common name and no other", changed(root, only_cn)),
        ("no name", changed(root, |params| params.subject_alt_names.clear())),
        ("an authority for a server", changed(root, signs)),
        ("for clients", changed(root, used_for(ExtendedKeyUsagePurpose::ClientAuth))),
        ("for code", changed(root, used_for(ExtendedKeyUsagePurpose::CodeSigning))),
    ]
}

/// Chains that lead nowhere, or through somebody who may not sign this.
fn bad_chains(root: &Signer) -> Vec<(&'static str, Shown)> {
    let plain = leaf(&["open.test"]);
    let stranger = Signer::root("a stranger");
    let middle = root.below(|_| {});
    let narrow = root.below(only_names(&["else.test"], &[]));
    let shut = root.below(only_names(&[], &["test"]));
    let last = root.below(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)));
    let below_last = last.below(|_| {});
    let old = root.below(within_years(2001, 2002));
    let no_authority = root.below(|params| {
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    });
    let key = KeyPair::generate().unwrap();
    let self_signed =
        Shown { chain: vec![plain.self_signed(&key).unwrap().pem()], key: key.serialize_pem() };
    let root_itself = Shown { chain: vec![root.pem.clone()], key: root.key_pem.clone() };
    vec![
        ("a stranger's signature", stranger.sign(&plain)),
        ("a stranger's, with its chain", stranger.sign(&plain).with(&stranger)),
        ("its own signature", self_signed),
        ("the authority itself", root_itself),
        ("outside its authority's names", narrow.sign(&plain).with(&narrow)),
        ("among the names shut out", shut.sign(&plain).with(&shut)),
        ("without the one between", middle.sign(&plain)),
        ("one between too many", below_last.sign(&plain).with(&below_last).with(&last)),
        ("signed by a server", no_authority.sign(&plain).with(&no_authority)),
        ("the one between expired", old.sign(&plain).with(&old)),
    ]
}

pub(super) async fn assert_unproven(house: &Building, route: &str, name: &str) {
    let ask = house.agent("bot").post(&format!("/{route}/x")).json(&json!({ "text": "a" }));
    let reply = ask.send().await;
    assert!(!reply.status.is_success(), "{name}: the upstream was believed");
    reply.is_refused(Reason::UpstreamTls);
    let outcome = house.journal().outcome(reply.decision_id()).await;
    assert_eq!((outcome.reason, outcome.cost.micro_usd()), (Reason::UpstreamTls, 0), "{name}");
}

#[tokio::test]
async fn an_upstream_that_does_not_prove_itself_gets_not_one_byte() {
    let root = Signer::root("the authority");
    let cases = [bad_leaves(&root), bad_chains(&root)].concat();
    let mut plan = Plan::new().await;
    plan.file("matrix.pem", &root.pem);
    let mut upstreams = Vec::new();
    for (number, (_, shown)) in cases.iter().enumerate() {
        let upstream = Upstream::tls_of(Arc::new(server(shown, &BOTH))).await;
        // Pingora dials by itself where HTTP/2 is asked for, and must see it the same way.
        for protocol in ["http1", "http2", "auto"] {
            let binding = tool(upstream.port(), &json!({ "protocol": protocol }));
            plan = plan.tool(&format!("bad{number}-{protocol}"), binding);
        }
        upstreams.push(upstream);
    }
    let house = plan.start(GATEWAY).await;
    for (number, ((name, _), upstream)) in cases.iter().zip(&upstreams).enumerate() {
        for protocol in ["http1", "http2", "auto"] {
            assert_unproven(&house, &format!("bad{number}-{protocol}"), name).await;
        }
        assert!(upstream.connections() >= 3, "{name}: nobody came");
        assert!(upstream.handshakes().is_empty(), "{name}: a handshake was finished");
        assert_eq!(upstream.count(), 0, "{name}");
    }
    println!("{} bad certificates, {} calls: 0 bytes sent", cases.len(), 3 * cases.len());
}

#[tokio::test]
async fn what_is_signed_as_it_should_be_is_believed() {
    let root = Signer::root("the authority");
    let middle = root.below(|params| {
        params.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![GeneralSubtree::DnsName("test".to_owned())],
            excluded_subtrees: Vec::new(),
        });
    });
    let by_address = json!({ "upstream": "https://127.0.0.1:PORT" });
    let cases = [
        ("a name", root.sign(&leaf(&["open.test"])), json!({})),
        ("one of many names", root.sign(&leaf(&["a.test", "open.test"])), json!({})),
        ("a chain", middle.sign(&leaf(&["open.test"])).with(&middle), json!({})),
        ("an address", root.sign(&leaf(&["127.0.0.1"])), by_address),
    ];
    let mut plan = Plan::new().await;
    plan = plan.policy("acme", "hosts: [open.test]", "hosts: [open.test, 127.0.0.1]");
    plan.file("matrix.pem", &root.pem);
    for (number, (_, shown, more)) in cases.iter().enumerate() {
        let upstream = Upstream::tls_of(Arc::new(server(shown, &BOTH))).await;
        let more = more.to_string().replace("PORT", &upstream.port().to_string());
        let more = serde_json::from_str(&more).unwrap();
        plan = plan.tool(&format!("good{number}"), tool(upstream.port(), &more));
    }
    plan = plan.policy("acme", "hosts: [open.test]", "hosts: [open.test, 127.0.0.1]");
    let house = plan.start(GATEWAY).await;
    for (number, (name, ..)) in cases.iter().enumerate() {
        let reply = house.agent("bot").get(&format!("/good{number}/x")).send().await;
        assert!(reply.status.is_success(), "{name}: {}", reply.text());
    }
}
