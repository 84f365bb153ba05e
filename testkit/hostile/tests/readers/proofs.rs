//! What is handed to auditors and tenants: proofs of a record, disclosures, packages.
//!
//! Not here: what they prove (`audit/proof`, `audit/tenant`). Invariant: whatever is changed in one, nothing else is proven.

use aegis_audit_chain::disclosure::Disclosure;
use aegis_audit_chain::record::Entry;
use aegis_audit_proof::{Disclosed, Proof, ProofError};
use aegis_audit_tenant::{Package, check};
use aegis_audit_trust::Trust;
use aegis_hostile::attack;

use super::{bytes, published, text};

fn trust() -> Trust {
    Trust::parse(&published("trust.policy")).unwrap()
}

fn proof() -> Proof {
    Proof::parse(&published("decision-2.tlog-proof")).unwrap()
}

/// The disclosure whose digest the published decision bears, and one that it does not.
fn disclosures() -> [Disclosure; 2] {
    let known = Disclosure::new([1; 16], "subject", &"ada@example.com".into());
    let deep = serde_json::json!({"a": [1, 2.5, null, {"b": "\u{1f600}"}], "c": u64::MAX});
    [known, Disclosure::new([2; 16], "input", &deep)]
}

#[test]
fn a_proof_has_one_spelling_and_proves_one_record() {
    let (trust, good) = (trust(), proof());
    let proven = good.check(&trust).unwrap();
    attack(&bytes([good.to_text()]), |input| {
        let Some(text) = text(input) else { return };
        if let Ok(read) = Proof::parse(text) {
            assert_eq!(read.to_text(), text);
            let _kind = read.kind();
            if let Ok(checked) = read.check(&trust) {
                assert_eq!((&checked, &read.record), (&proven, &good.record));
            }
        }
    });
}

#[test]
fn a_file_of_disclosures_says_the_same_when_it_is_written_anew() {
    let (trust, [known, other]) = (trust(), disclosures());
    let of = |disclosures: Vec<Disclosure>| Disclosed { proof: proof(), disclosures };
    let shown = of(vec![known.clone()]);
    let values = shown.check(&trust).unwrap().1;
    assert!(matches!(of(vec![other.clone()]).check(&trust), Err(ProofError::Undisclosed)));
    let files =
        [Disclosed::to_text(&[shown]), Disclosed::to_text(&[of(vec![]), of(vec![known, other])])];
    attack(&bytes(files), |input| {
        let Some(Ok(all)) = text(input).map(Disclosed::parse_all) else { return };
        assert_eq!(Disclosed::parse_all(&Disclosed::to_text(&all)).unwrap(), all);
        for disclosed in &all {
            if let Ok((proven, shown)) = disclosed.check(&trust) {
                assert!(matches!(proven.record.entry, Entry::Decision(_)));
                assert!(shown.iter().all(|value| values.contains(value)));
            }
        }
    });
}

#[test]
fn a_disclosure_is_kept_as_the_text_it_was() {
    let texts = disclosures().map(|disclosure| disclosure.as_str().to_owned());
    attack(&bytes(texts), |input| {
        if let Some((disclosure, ..)) = text(input).and_then(Disclosure::parse) {
            assert_eq!(disclosure.as_str().as_bytes(), input);
        }
    });
}

/// A package without what nothing in it signs: the clocks of the registry's newest head, which only the next head covers
/// (`docs/spec/audit.md` §8).
fn without_newest_clock(package: &str) -> String {
    let (registry, streams) = package.split_once("\nstream ").unwrap();
    let (before, newest) = registry.rsplit_once('\n').unwrap();
    let newest: String =
        (0..).zip(newest.chars()).filter(|(at, _)| !is_clock(*at)).map(|it| it.1).collect();
    format!("{before}\n{newest}\nstream {streams}")
}

/// Whether a record has its `ts` or `mono` at that byte.
fn is_clock(at: usize) -> bool {
    (179..198).contains(&at) || (208..227).contains(&at)
}

fn passes(package: &Package, trust: &Trust) -> bool {
    let report = check(package, trust, &[]);
    let _json = report.to_json();
    report.findings.is_empty() && report.gaps.is_empty()
}

#[test]
fn no_byte_of_a_package_can_be_another_but_those_of_the_newest_heads_clocks() {
    let (trust, good) = (trust(), published("acme.tenant-package"));
    let newest = good[..good.find("\nstream ").unwrap()].rfind('\n').unwrap() + 1;
    for at in 0..good.len() {
        let mut changed = good.clone().into_bytes();
        changed[at] ^= 1;
        let package = text(&changed).and_then(|text| Package::parse(text).ok());
        let believed = package.is_some_and(|package| passes(&package, &trust));
        let is_unsigned = at.checked_sub(newest).is_some_and(is_clock);
        assert!(!believed || is_unsigned, "byte {at}");
    }
}

#[test]
fn a_package_has_one_spelling_and_passes_as_it_was_made_alone() {
    let (trust, good) = (trust(), published("acme.tenant-package"));
    assert!(passes(&Package::parse(&good).unwrap(), &trust));
    attack(&bytes([good.clone()]), |input| {
        let Some(text) = text(input) else { return };
        let Ok(package) = Package::parse(text) else { return };
        assert_eq!(package.to_text(), text);
        let is_whole = passes(&package, &trust);
        // A registry that nobody trusts may stand beside, and is not looked at.
        let trusted = trust.registries().map(|(origin, _)| origin);
        if is_whole && trusted.eq(package.registries.iter().map(|part| &part.origin)) {
            assert_eq!(without_newest_clock(text), without_newest_clock(&good));
        }
    });
}
