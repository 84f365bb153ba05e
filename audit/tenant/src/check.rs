//! Holds a package against the registries' keys: is this everything they sign for as the tenant's?
//!
//! Not here: making one (`make`). Invariant: which streams there are, how far each reaches and how many of its records are the
//! tenant's is taken from what the region key signed, never from the package.

use aegis_audit_chain::frame::{Header, push_frame};
use aegis_audit_chain::note::Verifier;
use aegis_audit_chain::record::{self, Entry, Record};
use aegis_audit_chain::roster::{Line, Roster};
use aegis_audit_chain::{Hash, Head, tree};
use aegis_audit_registry::{Registry, RegistryFlaw, RegistryReader, Stream};
use aegis_audit_trust::{Revoked, Trust};
use aegis_audit_verify::stands;
use aegis_domain::TenantId;

use crate::make::target;
use crate::package::{Package, RegistryPart, Standing, StreamPart};
use crate::report::{Flaw, Gap, Report, StreamReport};

/// Checks a package. Each registry must extend the head of it in `remembered`, if there is one.
pub fn check(package: &Package, trust: &Trust, remembered: &[Head]) -> Report {
    let mut report = Report::new(package.tenant.clone());
    for (origin, region) in trust.registries() {
        let mut parts = package.registries.iter().filter(|part| part.origin == *origin);
        match parts.next() {
            None => report.gaps.push(Gap::NoRegistry(origin.clone())),
            Some(part) => region_part(&mut report, part, (region, trust, remembered)),
        }
        if parts.next().is_some() {
            report.fail(origin, None, Flaw::Stranger);
        }
    }
    for part in &package.registries {
        if trust.registries().all(|(origin, _)| *origin != part.origin) {
            report.fail(&part.origin, None, Flaw::Untrusted);
        }
    }
    report
}

fn region_part(
    report: &mut Report,
    part: &RegistryPart,
    (region, trust, remembered): (&Verifier, &Trust, &[Head]),
) {
    let origin = &part.origin;
    let registry = match read_registry(part, region) {
        Ok(registry) => registry,
        Err(flaw) => return report.fail(origin, None, Flaw::Registry(flaw)),
    };
    for head in remembered.iter().filter(|head| head.origin == *origin) {
        match registry.root_at(head.size) {
            Some(root) if root == head.root => {}
            Some(_) => report.fail(origin, None, Flaw::Other { size: head.size }),
            None => {
                let (found, signed) = (registry.walker().size(), head.size);
                report.fail(origin, None, Flaw::Older { found, signed });
            }
        }
    }
    for stream in registry.streams() {
        let origin = &stream.born.origin;
        match part.streams.iter().find(|part| part.origin == *origin) {
            Some(found) => stream_part(report, (stream, found)),
            None => report.fail(origin, None, Flaw::LeftOut),
        }
        let stands = stands(stream, trust);
        for head in &stands {
            stood(report, stream, head);
        }
        if let Some(head) = stands.first() {
            key_holds(report, stream, head);
        }
    }
    let some = trust.all_revoked().map(Revoked::head).filter(|head| head.size > 0);
    for Head { origin, .. } in some.filter(|head| part.origin.vouches_for(&head.origin)) {
        if registry.stream(origin).is_none() {
            report.fail(origin, None, Flaw::LeftOut);
        }
    }
    for (at, found) in part.streams.iter().enumerate() {
        let before = part.streams.iter().take(at);
        let again = before.into_iter().any(|other| other.origin == found.origin);
        if again || registry.stream(&found.origin).is_none() {
            report.fail(&found.origin, None, Flaw::Stranger);
        }
    }
    // The record of the newest head bears the signature, and no signature covers it yet.
    let newest = part.records.iter().rev().nth(1).and_then(|record| record::Head::parse(record));
    report.until_ns = report.until_ns.max(newest.map_or(0, |head| head.ts));
    report.registries.extend(registry.signed_head());
}

/// Reads the registry's records as if they lay in one file.
fn read_registry(part: &RegistryPart, region: &Verifier) -> Result<Registry, RegistryFlaw> {
    let mut file = Header { origin: part.origin.clone(), first: 0 }.encode();
    part.records.iter().for_each(|record| push_frame(&mut file, record));
    let mut reader = RegistryReader::new(part.origin.clone(), region.clone());
    reader.file(0, &file).map_err(|error| error.what)?;
    let registry = reader.finish().map_err(|error| error.what)?;
    // A package is made up to the newest signed head: what stands after it is nobody's word.
    if registry.unsigned().is_empty() { Ok(registry) } else { Err(RegistryFlaw::Torn) }
}

fn stream_part(report: &mut Report, (stream, part): (&Stream, &StreamPart)) {
    let origin = &part.origin;
    let ended = stream.closed.as_ref().map(|closed| closed.how);
    let records = u64::try_from(part.records.len()).unwrap_or(u64::MAX);
    report.records = report.records.saturating_add(records);
    let size = part.size;
    report.streams.push(StreamReport { origin: origin.clone(), records, size, ended });
    let Some((signed, root)) = target(stream) else {
        if stream.closed.is_none() {
            report.gaps.push(Gap::Unsigned(origin.clone()));
        }
        if records > 0 {
            report.fail(origin, None, Flaw::Stale { found: part.size, signed: 0 });
        }
        return;
    };
    if part.size != signed {
        return report.fail(origin, None, Flaw::Stale { found: part.size, signed });
    }
    head_holds(report, stream);
    let leaves = own_chain(report, part);
    roster_holds(report, part, roster_of(stream));
    let is_empty = leaves.is_empty() && part.path.is_empty();
    if !is_empty && tree::subset_root(signed, &leaves, &part.path) != Some(root) {
        report.fail(origin, None, Flaw::Root { size: signed });
    }
}

/// Of a stream whose key was revoked: whether it goes no further than what stands.
fn key_holds(report: &mut Report, stream: &Stream, stands: &Head) {
    let origin = &stream.born.origin;
    let signed = stream.anchors.last().map_or(0, |anchor| anchor.size);
    let (size, end) = (stands.size, target(stream).map_or(0, |(end, _)| end));
    if signed > size {
        report.fail(origin, Some(size), Flaw::Revoked { stands: size, signed });
    } else if end > size {
        report.gaps.push(Gap::Revoked(origin.clone()));
    }
}

/// Whether a stream goes as far as a head that stands, and has that root there as far as its registry shows it.
fn stood(report: &mut Report, stream: &Stream, stands: &Head) {
    let origin = &stream.born.origin;
    let (size, end) = (stands.size, target(stream).map_or(0, |(end, _)| end));
    if end < size {
        report.fail(origin, None, Flaw::Stale { found: end, signed: size });
    } else if stream.signed_roots().get(&size).is_some_and(|root| *root != stands.root) {
        report.fail(origin, None, Flaw::Root { size });
    }
}

/// The signature of the newest anchor, and what the registry says of the stream's end.
fn head_holds(report: &mut Report, stream: &Stream) {
    let origin = &stream.born.origin;
    if let Some(last) = stream.anchors.last() {
        let head = Head { origin: last.origin.clone(), size: last.size, root: last.root };
        if let Err(why) = stream.verifier.check(&head.checkpoint(), &last.sig) {
            report.fail(origin, Some(last.size), Flaw::Anchor(why));
        }
    }
    if let Some(closed) = stream.closed.as_ref().filter(|closed| closed.how.is_broken()) {
        report.fail(origin, Some(closed.size), Flaw::FoundBroken(closed.how));
    }
}

/// The roster of the head that `target` names.
fn roster_of(stream: &Stream) -> Option<Roster> {
    match &stream.closed {
        Some(closed) => closed.tenants,
        None => stream.anchors.last().and_then(|anchor| anchor.tenants),
    }
}

/// Follows the tenant's own chain, and hands out its leaves; says what is wrong first.
fn own_chain(report: &mut Report, part: &StreamPart) -> Vec<(u64, Hash)> {
    let (origin, tenant) = (&part.origin, report.tenant.clone());
    let mut leaves: Vec<(u64, Hash)> = Vec::new();
    let (mut due, mut before) = (0, origin.before_tenant(tenant.as_str()));
    let mut holds = true;
    for bytes in &part.records {
        let seq = record::Head::parse(bytes).map(|head| head.seq);
        let judged = one(bytes, &tenant, (due, before));
        let leaf = Hash::leaf(bytes);
        (due, before) = (due.saturating_add(1), leaf);
        leaves.push((seq.unwrap_or(u64::MAX), leaf));
        if let (Err(flaw), true) = (judged, holds) {
            // What follows a broken link cannot hold either.
            holds = false;
            report.fail(origin, seq, flaw);
        }
    }
    leaves
}

/// One record at its place among the tenant's.
fn one(bytes: &[u8], tenant: &TenantId, (due, before): (u64, Hash)) -> Result<(), Flaw> {
    let Record { head, entry } = Record::parse(bytes).map_err(Flaw::Record)?;
    let of = record::kind_and_tenant(bytes).and_then(|(_, tenant)| tenant);
    if of != Some(tenant.as_str()) {
        return Err(Flaw::OtherTenant);
    }
    if head.tseq > due {
        return Err(Flaw::Dropped { from: due, to: head.tseq.saturating_sub(1) });
    }
    if head.tseq < due {
        return Err(Flaw::Order);
    }
    if head.tprev != before {
        return Err(Flaw::Changed);
    }
    match entry {
        Entry::TenantSeal(seal) if !seal.agrees(&head) => Err(Flaw::Seal),
        _ => Ok(()),
    }
}

/// Whether the roster that the head bears says of the tenant what the records say.
fn roster_holds(report: &mut Report, part: &StreamPart, roster: Option<Roster>) {
    if let Err(flaw) = standing_holds(part, &report.tenant, roster) {
        report.fail(&part.origin, None, flaw);
    }
}

fn standing_holds(
    part: &StreamPart,
    tenant: &TenantId,
    roster: Option<Roster>,
) -> Result<(), Flaw> {
    let found = u64::try_from(part.records.len()).unwrap_or(u64::MAX);
    let shown = match &part.standing {
        Standing::Present { index, reach } => {
            vec![(*index, Line::of(&part.origin, tenant.as_str(), reach))]
        }
        Standing::Absent(beside) => beside.clone(),
    };
    let Some(roster) = roster else {
        // Nobody had a record here, so nothing needs to be shown.
        let nothing = shown.is_empty() && part.roster.is_empty() && found == 0;
        return if nothing { Ok(()) } else { Err(Flaw::Roster) };
    };
    let leaves: Vec<(u64, Hash)> = shown.iter().map(|(at, line)| (*at, line.leaf())).collect();
    if tree::subset_root(roster.count, &leaves, &part.roster) != Some(roster.root) {
        return Err(Flaw::Roster);
    }
    match &part.standing {
        Standing::Present { reach, .. } => {
            let last = part.records.last().map(|record| Hash::leaf(record));
            if reach.records != found {
                Err(Flaw::Truncated { found, signed: reach.records })
            } else if last != Some(reach.last) {
                Err(Flaw::Last)
            } else {
                Ok(())
            }
        }
        Standing::Absent(beside) => {
            let key = part.origin.before_tenant(tenant.as_str());
            let absent = found == 0 && is_between(key, beside, roster.count);
            if absent { Ok(()) } else { Err(Flaw::NotAbsent) }
        }
    }
}

/// Whether two neighbours, or the first or the last line alone, leave no place for `key` in a sorted roster.
fn is_between(key: Hash, beside: &[(u64, Line)], count: u64) -> bool {
    match beside {
        [(at, only)] if *at == 0 && key < only.key => true,
        [(at, only)] => at.checked_add(1) == Some(count) && only.key < key,
        [(at, left), (next, right)] => {
            at.checked_add(1) == Some(*next) && left.key < key && key < right.key
        }
        _ => false,
    }
}
