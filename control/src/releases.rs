//! The feed of releases: what decides where, told to one region, signed by the region's key; a question waits until there is
//! an answer.
//!
//! Not here: following it (`policies/follow`), and deciding what is released (`ledger`). Invariant: a tenant is told of only to
//! regions where it may be; one without a residency may be in the region of this ledger alone.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use aegis_access::Unpermitted;
use aegis_audit_chain::Hash;
use aegis_domain::{Region, TenantId};
use aegis_ledger::{Ledger, LineKey};
use aegis_policy_follow::{Authored, Page, RELEASE_TYPE, RELEASES_TYPE, Scope, Statement, written};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Json};
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::json;

use crate::feed::sent_on;
use crate::problem::{Problem, ReleasesError};
use crate::{Control, Principal, Reach, clock, page};

/// How long a question waits: less than the half minute after which proxies give up.
const WAIT: Duration = Duration::from_secs(20);
/// How many changes a follower may be behind before it is told everything.
const CHANGES_KEPT: usize = 4_096;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Asked {
    /// What the follower holds; absent, it wants everything.
    after: Option<u64>,
    /// Absent, it is the region of this ledger.
    region: Option<Region>,
    /// Names with commas between them; absent, every tenant.
    tenants: Option<String>,
}

pub(crate) async fn get(
    State(control): State<Arc<Control>>,
    Extension(who): Extension<Principal>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let mut asked = page::query(asked)?;
    if let Some(abroad) = abroad(&who)? {
        if asked.region.as_ref().is_some_and(|region| region != abroad) {
            return Err(Unpermitted::Abroad.into());
        }
        asked.region = Some(abroad.clone());
    }
    let (scope, after) = control.scope(asked)?;
    if let Some(refused) = sent_on(&control, after) {
        return Ok(refused);
    }
    let signed = control.releases(&scope, after).await?;
    if let Some(refused) = sent_on(&control, after) {
        return Ok(refused);
    }
    Ok(([(CONTENT_TYPE, "application/jose"), (CACHE_CONTROL, "no-store")], signed).into_response())
}

/// All of it with the bundles, for gateways that start with nobody reachable.
pub(crate) async fn export(
    State(control): State<Arc<Control>>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Response, Problem> {
    let scope = control.scope(page::query(asked)?)?.0;
    let lines = control.exported(&scope)?.1;
    Ok(Json(json!({ "releases": lines })).into_response())
}

/// The other region that someone's token is for, if it is; who is limited to tenants follows nothing.
fn abroad(who: &Principal) -> Result<Option<&Region>, Unpermitted> {
    match &who.reach {
        Reach::Region => Ok(None),
        Reach::Abroad(region) => Ok(Some(region)),
        Reach::Tenants(_) => Err(Unpermitted::Region),
    }
}

pub(crate) async fn content(
    State(control): State<Arc<Control>>,
    Extension(who): Extension<Principal>,
    Path(digest): Path<String>,
) -> Result<Response, Problem> {
    let digest = Hash::parse(&digest).ok_or(Problem::NotFound)?;
    if let Some(region) = abroad(&who)?
        && !control.is_released_in(region, digest)
    {
        return Err(Problem::NotFound);
    }
    let bytes = control.content(digest).ok_or(Problem::NotFound)?;
    let kept = "private, max-age=31536000, immutable";
    Ok(([(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, kept)], bytes).into_response())
}

/// Which lines changed lately, at which revision of the ledger.
#[derive(Debug, Default)]
pub(crate) struct Changes(Mutex<Lately>);

#[derive(Debug, Default)]
struct Lately {
    /// Before it, nothing is known of what changed.
    since: u64,
    at: u64,
    lines: BTreeMap<LineKey, Mark>,
    changed: VecDeque<Change>,
}

/// What differs once a line is to be told of again: its epoch, and when its tenant was last placed.
type Mark = (u64, Option<u64>);

#[derive(Debug)]
struct Change {
    at: u64,
    line: LineKey,
    /// Whether its tenant was placed anew, so that it may be gone from where it was.
    is_placed: bool,
}

impl Changes {
    /// The lines that changed after a revision, and whether each was placed anew; `None` where that is too long ago to know.
    fn after(&self, ledger: &Ledger, revision: u64) -> Option<BTreeMap<LineKey, bool>> {
        let mut lately = self.0.lock();
        lately.look(ledger);
        if revision < lately.since {
            return None;
        }
        let mut lines = BTreeMap::new();
        for change in lately.changed.iter().filter(|change| change.at > revision) {
            *lines.entry(change.line.clone()).or_default() |= change.is_placed;
        }
        Some(lines)
    }
}

impl Lately {
    /// Compares the ledger with what it was.
    fn look(&mut self, ledger: &Ledger) {
        let now = ledger.released();
        if now == self.at {
            return;
        }
        let mark = |line: &LineKey, epoch: u64| {
            (epoch, ledger.tenants().get(&line.tenant).map(|tenant| tenant.changed))
        };
        let lines = ledger.releases().lines();
        let pointed = lines.filter_map(|(line, held)| Some((line, held.pointer()?.epoch)));
        let lines: BTreeMap<LineKey, Mark> =
            pointed.map(|(line, epoch)| (line.clone(), mark(line, epoch))).collect();
        let is_first = self.at == 0;
        if is_first {
            self.since = now;
        } else {
            let changed = lines.iter().filter_map(|(line, mark)| {
                let before = self.lines.get(line);
                let is_placed = before.is_some_and(|before| before.1 != mark.1);
                let line = line.clone();
                (before != Some(mark)).then_some(Change { at: now, line, is_placed })
            });
            let changed: Vec<_> = changed.collect();
            self.changed.extend(changed);
        }
        while self.changed.len() > CHANGES_KEPT {
            self.since = self.changed.pop_front().map_or(now, |change| change.at);
        }
        (self.at, self.lines) = (now, lines);
    }
}

impl Control {
    fn scope(&self, asked: Asked) -> Result<(Scope, Option<u64>), Problem> {
        let Asked { after, region, tenants } = asked;
        let names = tenants.iter().flat_map(|names| names.split(','));
        let tenants = names.map(TenantId::parse).collect::<Result<_, _>>();
        let tenants = tenants.map_err(|_| Problem::Malformed("tenants are not names".into()))?;
        let region = region.unwrap_or_else(|| self.region.clone());
        Ok((Scope { region, tenants }, after))
    }

    fn stated(&self, statement: &Statement) -> Result<String, serde_json::Error> {
        Ok(self.region_key.sign(RELEASE_TYPE, &serde_json::to_vec(statement)?))
    }

    /// A signed page for followers in a region: what came after a revision, once something did or some time went by; or
    /// everything.
    pub async fn releases(
        &self,
        scope: &Scope,
        after: Option<u64>,
    ) -> Result<String, ReleasesError> {
        if let Some(after) = after {
            let mut watch = self.node.released();
            let revision = *watch.borrow();
            if after > revision {
                return Err(ReleasesError::Rewound { revision });
            }
            // Running out of time is an answer too: nothing changed.
            tokio::time::timeout(WAIT, watch.wait_for(|revision| *revision > after)).await.ok();
        }
        let page = self.releases_page(scope, after)?;
        Ok(self.region_key.sign(RELEASES_TYPE, &serde_json::to_vec(&page)?))
    }

    fn releases_page(&self, scope: &Scope, after: Option<u64>) -> Result<Page, ReleasesError> {
        let ledger = self.node.ledger();
        let is_abroad = scope.region != self.region;
        let changed = after.and_then(|after| Some((after, self.changes.after(&ledger, after)?)));
        // Another region is not told who is gone, for it may never have heard of them: it is told all that is left.
        let changed =
            changed.filter(|(_, lines)| !is_abroad || lines.values().all(|placed| !placed));
        let is_asked = |line: &LineKey| {
            scope.names(&line.tenant)
                && changed.as_ref().is_none_or(|(_, lines)| lines.contains_key(line))
        };
        let mut statements = Vec::new();
        let mut gone = Vec::new();
        for line in ledger.releases().lines().map(|(line, _)| line).filter(|line| is_asked(line)) {
            match self.statement(&ledger, line, &scope.region) {
                Some(statement) => statements.push(statement),
                None if changed.is_some() && !is_abroad => gone.push(line.clone()),
                None => {}
            }
        }
        let revision = ledger.released();
        // Signing takes longer than reading, and the ledger waits for nobody.
        drop(ledger);
        let releases: Result<Vec<_>, _> = statements.iter().map(|it| self.stated(it)).collect();
        Ok(Page {
            region: scope.region.clone(),
            at_s: clock::now().unix_s(),
            revision,
            after: changed.map(|(after, _)| after),
            releases: releases?,
            gone,
        })
    }

    /// What is said of a line in a region, if anything may be said of it there.
    fn statement(&self, ledger: &Ledger, line: &LineKey, region: &Region) -> Option<Statement> {
        let is_allowed = match ledger.tenants().get(&line.tenant) {
            Some(tenant) => tenant.residency.allowed.contains(region),
            None => *region == self.region,
        };
        let held = ledger.releases().line(line).filter(|_| is_allowed)?;
        // What comes from another region is told to this one's gateways, and handed on to nobody.
        let author = held.author();
        if author.is_some_and(|author| author.is_withdrawn || *region != self.region) {
            return None;
        }
        let author = author.map(|author| Authored {
            region: author.region.clone(),
            epoch: author.pointer.epoch,
            keys: author.keys.clone(),
        });
        let pointer = held.pointer()?.clone();
        let bundle = |number| Some((number, held.version(number)?.bundle));
        let bundles = pointer.versions().filter_map(bundle).collect();
        let (region, revision) = (region.clone(), ledger.released());
        Some(Statement { region, revision, line: line.clone(), pointer, bundles, author })
    }

    /// Whether what is told to a region names this content.
    fn is_released_in(&self, region: &Region, digest: Hash) -> bool {
        let ledger = self.node.ledger();
        let mut lines = ledger.releases().lines();
        lines.any(|(line, held)| {
            let is_its = held.versions().any(|(_, version)| version.bundle == digest);
            let told = || self.statement(&ledger, line, region);
            is_its && told().is_some_and(|told| told.bundles.values().any(|it| *it == digest))
        })
    }

    /// What decides in a region with the bundles it needs, signed, a line each; and the revision it was read at. The same
    /// revision gives the same bytes, whichever voter writes them.
    pub fn exported(&self, scope: &Scope) -> Result<(u64, Vec<String>), ReleasesError> {
        let (revision, told) = {
            let ledger = self.node.ledger();
            let lines = ledger.releases().lines().map(|(line, _)| line);
            let lines = lines.filter(|line| scope.names(&line.tenant));
            let told = lines.filter_map(|line| self.statement(&ledger, line, &scope.region));
            let content = |digest: Hash| Some(ledger.releases().content(digest)?.bytes.to_vec());
            let with_bundles = told.map(|told| {
                let digests: BTreeSet<Hash> = told.bundles.values().copied().collect();
                (told, digests.into_iter().filter_map(content).collect::<Vec<_>>())
            });
            (ledger.released(), with_bundles.collect::<Vec<_>>())
        };
        let lines = told.iter().map(|(statement, bundles)| {
            let since_s = statement.pointer.at.unix_s();
            Ok(written(&self.stated(statement)?, since_s, bundles))
        });
        Ok((revision, lines.collect::<Result<_, ReleasesError>>()?))
    }

    /// What the ledger holds under a digest.
    pub fn content(&self, digest: Hash) -> Option<Vec<u8>> {
        self.node.ledger().releases().content(digest).map(|content| content.bytes.to_vec())
    }
}
