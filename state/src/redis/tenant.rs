//! One tenant as this gateway sees it: whether the servers may be trusted with it, and how.
//!
//! Not here: calls (`redis`). Invariant: a decision carries the stamp of the data and the text of the run this gateway
//! attached to; other data or another process answer it with a mismatch, never with a grant.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aegis_domain::{BudgetKey, MicroUsd, TenantId, Timestamp, TokenUse, Ttl};
use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use redis::cluster_routing::Slot;
use redis::{Pipeline, Value, cmd};

use super::breaker::Breaker;
use super::config::{Clock, RedisConfig};
use super::keys::Keys;
use super::link::{Failure, Line, Wire};
use super::memory::Known;
use super::scripts;
use super::sheets::{Fields, Grain, slices, written};
use crate::Ask;

/// How far data may have fallen behind what a gateway saw: more than any failover loses, less than settlements are
/// kept to be sent again.
const BEHIND_MAX: Ttl = Ttl::from_s(60);
/// Data that were not accepted are looked at again so often.
const LOST_RECHECK: Duration = Duration::from_millis(500);
/// The longest life of a token whose issuing time is not known.
const TOKEN_LIFE_MAX: Ttl = Ttl::from_s(15 * 60);

/// What this gateway attached to.
#[derive(Debug)]
pub(super) struct Attached {
    line: u64,
    /// All of the epoch that does not change with every beat.
    pub(super) stamp: String,
    /// When the tenant's data came to this run of a server.
    switched_at: Timestamp,
    pub(super) decide: String,
    pub(super) settle: String,
    pub(super) extend: String,
    pub(super) adjust: String,
    pub(super) reap: String,
}

pub(super) struct Tenant {
    pub(super) id: TenantId,
    pub(super) keys: Keys,
    pub(super) slot: Slot,
    pub(super) breaker: Mutex<Breaker>,
    attached: ArcSwapOption<Attached>,
    /// The stamp of the last one.
    stamp: Mutex<Option<String>>,
    /// Held while attaching, so that one call attaches for all that wait.
    turn: tokio::sync::Mutex<()>,
    known: Mutex<Known>,
    lost: Mutex<Option<(Instant, &'static str)>>,
}

impl Tenant {
    pub(super) fn new(id: TenantId, known: Known) -> Self {
        let keys = Keys::of(&id);
        Self {
            slot: Slot::for_key(keys.epoch()),
            id,
            keys,
            breaker: Mutex::default(),
            attached: ArcSwapOption::empty(),
            stamp: Mutex::default(),
            turn: tokio::sync::Mutex::new(()),
            known: Mutex::new(known),
            lost: Mutex::default(),
        }
    }

    pub(super) fn known(&self) -> Known {
        self.known.lock().clone()
    }

    pub(super) fn beat(&self, beat_ms: u64) {
        let mut known = self.known.lock();
        known.beat_ms = known.beat_ms.max(beat_ms);
    }

    pub(super) fn is_lost(&self) -> Option<&'static str> {
        self.lost.lock().map(|(_, why)| why)
    }

    /// Attaches again with the next call.
    pub(super) fn detach(&self, attached: &Arc<Attached>) {
        let current = self.attached.load();
        if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, attached)) {
            self.attached.store(None);
        }
    }

    /// What is known to hold over this line.
    pub(super) fn current(&self, line: &Line) -> Option<Arc<Attached>> {
        self.attached.load_full().filter(|attached| attached.line == line.number)
    }

    /// What holds over this line; the second value says that the servers may have forgotten what they were told.
    pub(super) async fn attached(
        &self,
        line: &Line,
        (now, repairs_from): (Timestamp, Option<Timestamp>),
        config: &RedisConfig,
    ) -> Result<(Arc<Attached>, Changed), Failure> {
        let _turn = self.turn.lock().await;
        if let Some(attached) = self.current(line) {
            return Ok((attached, Changed::No));
        }
        if let Some((at, why)) = *self.lost.lock()
            && at.elapsed() < LOST_RECHECK
        {
            return Err(Failure::Lost(why));
        }
        let oldest_ms = self.oldest_beat_ms(repairs_from);
        let attached = Arc::new(self.attach(line, (now, oldest_ms), config.clock).await?);
        let before = self.stamp.lock().replace(attached.stamp.clone());
        self.attached.store(Some(Arc::clone(&attached)));
        let changed = match before {
            None => Changed::No,
            Some(before) if before == attached.stamp => Changed::No,
            Some(before) if id_of(&before) == id_of(&attached.stamp) => Changed::Server,
            Some(_) => Changed::Data(attached.switched_at),
        };
        Ok((attached, changed))
    }

    /// How far data may have fallen behind: no further than settlements can be sent again.
    fn oldest_beat_ms(&self, repairs_from: Option<Timestamp>) -> u64 {
        let behind = self.known().beat_ms.saturating_sub(BEHIND_MAX.ms());
        behind.max(repairs_from.map_or(0, Timestamp::unix_ms))
    }

    async fn attach(
        &self,
        line: &Line,
        (now, oldest_ms): (Timestamp, u64),
        clock: Clock,
    ) -> Result<Attached, Failure> {
        let wire = line.wire()?;
        let run = self.run_of(wire).await?;
        let [decide, settle, extend, adjust, reap, attach, _] = self.load(wire, &run).await?;
        let Known { id, .. } = self.known();
        let mut command = scripts::evalsha(&attach, &[self.keys.epoch()]);
        command.arg(clock.tell_us(now)).arg(run).arg(fresh_id()?).arg(id).arg(oldest_ms);
        let epoch = self.epoch(wire.send(command, self.slot).await?)?;
        let switched_at = Timestamp::from_unix_ms(epoch.switched_ms);
        let line = line.number;
        Ok(Attached { line, stamp: epoch.stamp, switched_at, decide, settle, extend, adjust, reap })
    }

    /// Which process serves the tenant, if it can keep what it is told.
    async fn run_of(&self, wire: &Wire) -> Result<String, Failure> {
        let info = wire.send(cmd("INFO"), self.slot).await?;
        let info: String = redis::from_redis_value(info).map_err(|_| Failure::Shape)?;
        let run = fit_primary(&info)?;
        Ok(run.to_owned())
    }

    async fn load(&self, wire: &Wire, run: &str) -> Result<[String; 7], Failure> {
        let decide = scripts::decide_text(run);
        let mut loads = Pipeline::new();
        for text in [&*decide].into_iter().chain(scripts::TEXTS) {
            loads.cmd("SCRIPT").arg("LOAD").arg(text);
        }
        let shas = wire.send_all(loads, self.slot).await?;
        let shas = shas.into_iter().map(redis::from_redis_value::<String>);
        let shas = shas.collect::<Result<Vec<_>, _>>().map_err(|_| Failure::Shape)?;
        shas.try_into().map_err(|_| Failure::Shape)
    }

    /// Reads what `attach` or `restore` said, and remembers it.
    pub(super) fn epoch(&self, reply: Value) -> Result<Epoch, Failure> {
        let words: Vec<String> = redis::from_redis_value(reply).map_err(|_| Failure::Shape)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let why = match *words.as_slice() {
            ["epoch", text] => {
                let epoch = Epoch::parse(text).ok_or(Failure::Shape)?;
                let mut known = self.known.lock();
                if known.id != epoch.id {
                    *known = Known { id: epoch.id.clone(), beat_ms: 0 };
                }
                known.beat_ms = known.beat_ms.max(epoch.beat_ms);
                *self.lost.lock() = None;
                return Ok(epoch);
            }
            ["gone"] => "its data are gone",
            ["other"] => "its data are others",
            ["stale"] => "its data are older than what was seen",
            _ => return Err(Failure::Shape),
        };
        *self.lost.lock() = Some((Instant::now(), why));
        Err(Failure::Lost(why))
    }

    /// `restore` of this tenant: the data from now on, whatever they were.
    pub(super) async fn restore(
        &self,
        wire: &Wire,
        sums: &[(BudgetKey, MicroUsd)],
        (now, clock): (Timestamp, Clock),
    ) -> Result<(), Failure> {
        let run = self.run_of(wire).await?;
        let [.., restore] = self.load(wire, &run).await?;
        let mut keys = vec![self.keys.epoch()];
        let hashes = |key| slices(key, now, Grain::Coarse);
        keys.extend(sums.iter().flat_map(|(key, _)| hashes(key)).map(|slice| slice.key));
        let mut command = scripts::evalsha(&restore, &keys);
        command.arg(clock.tell_us(now)).arg(run).arg(fresh_id()?).arg(self.known().id);
        for (key, spent) in sums {
            let (life, fields) = written(key, now);
            command.arg(spent.micro_usd()).arg(life.ms()).arg(fields.len());
            for Fields { spent, .. } in fields {
                command.arg(spent);
            }
            let slices = hashes(key);
            command.arg(slices.len());
            slices.iter().for_each(|slice| slice.add_to(&mut command));
        }
        self.epoch(wire.send(command, self.slot).await?)?;
        self.attached.store(None);
        Ok(())
    }
}

/// What became of a tenant's data since the last look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Changed {
    No,
    /// They are on another server, or its process began anew: what it heard last may be forgotten.
    Server,
    /// They were restored, then, from the log that knows every settlement until then.
    Data(Timestamp),
}

fn id_of(stamp: &str) -> Option<&str> {
    stamp.split(':').next()
}

impl Attached {
    /// Refuses a token for one call that may have been used where this server did not hear of it: one issued before the
    /// data came here, by a clock as fast as is tolerated.
    pub(super) fn check_quarantine(&self, ask: &Ask, skew: Ttl) -> Result<(), Failure> {
        let token = &ask.token;
        let issued_after = token.issued_at.unwrap_or_else(|| {
            let expires_ms = token.expires_at.unix_ms();
            Timestamp::from_unix_ms(expires_ms.saturating_sub(TOKEN_LIFE_MAX.ms()))
        });
        match token.token_use {
            TokenUse::Once if issued_after < self.switched_at.plus(skew) => {
                Err(Failure::Quarantined)
            }
            TokenUse::Once | TokenUse::Bound => Ok(()),
        }
    }
}

/// The parts of an epoch (`scripts/attach.lua`).
pub(super) struct Epoch {
    id: String,
    stamp: String,
    switched_ms: u64,
    beat_ms: u64,
}

impl Epoch {
    fn parse(text: &str) -> Option<Self> {
        let (stamp, beat) = text.rsplit_once(':')?;
        let mut parts = stamp.split(':');
        let (id, _run, switched) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            id: id.to_owned(),
            stamp: format!("{stamp}:"),
            switched_ms: switched.parse().ok()?,
            beat_ms: beat.parse().ok()?,
        })
    }
}

/// The run of a server that is a primary and evicts nothing.
pub(super) fn fit_primary(info: &str) -> Result<&str, Failure> {
    let field = |name: &str| {
        let mut lines = info.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
    };
    if field("role") != Some("master") {
        return Err(Failure::Unfit("it is a replica"));
    }
    // GitHub's limiter let clients pass when a shared cache evicted its counters.
    let evicts = field("maxmemory_policy").is_some_and(|policy| policy != "noeviction");
    if evicts && field("maxmemory") != Some("0") {
        return Err(Failure::Unfit("it evicts keys when memory is short"));
    }
    field("run_id")
        .filter(|run| run.bytes().all(|b| b.is_ascii_alphanumeric()))
        .ok_or(Failure::Shape)
}

fn fresh_id() -> Result<String, Failure> {
    let random = getrandom::u64().map_err(|_| Failure::Unfit("no random id can be drawn"))?;
    Ok(format!("{random:016x}"))
}
