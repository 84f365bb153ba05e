//! One call at a time against the servers: the deadline, the breaker, attaching, and sending settlements again.
//!
//! Not here: the trait (`redis`), connections (`keeper`). Invariant: what is not one whole answer of a server this
//! gateway is attached to is a `Failure`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aegis_domain::{HotAnswer, MicroUsd, TenantId, Timestamp, TokenUse};
use futures::future::{BoxFuture, join_all};
use parking_lot::{Mutex, RwLock};
use redis::{Cmd, Value};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::{info, warn};

use super::config::{Confirm, RedisConfig};
use super::holding::{self, Closed};
use super::keys::Member;
use super::link::{Failure, Line, Link};
use super::memory::{Known, Memory};
use super::resend::{Again, Message, Resends, Sent};
use super::scripts;
use super::tenant::{Attached, Changed, Tenant};
use crate::{Ask, Extended, Hold, InFlight, Notes, Settled, StateError};

/// What attaching a tenant may take, however short the deadline of calls is.
const ATTACH: Duration = Duration::from_millis(500);
/// Holds that are charged, or settlements that are sent again, at the same time.
const AT_ONCE: usize = 64;

pub(super) struct Client {
    pub(super) config: Arc<RedisConfig>,
    pub(super) link: Arc<Link>,
    tenants: RwLock<BTreeMap<TenantId, Arc<Tenant>>>,
    /// What this gateway knew of tenants before it met them in this life.
    remembered: BTreeMap<TenantId, Known>,
    memory: Mutex<Memory>,
    pub(super) resends: Mutex<Resends>,
    notes: Option<Arc<dyn Notes>>,
    /// Where settlements are sent again.
    runtime: Handle,
    /// Where the next round of reaping begins, so that no tenant is always last.
    first_reaped: AtomicUsize,
}

/// What a command waits for beside its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Await {
    Answer,
    Replica,
}

impl Client {
    pub(super) fn new(
        config: RedisConfig,
        notes: Option<Arc<dyn Notes>>,
        runtime: Handle,
    ) -> Result<Self, StateError> {
        let (memory, remembered) = Memory::open(config.memory.clone())?;
        let client = Self {
            link: Arc::default(),
            tenants: RwLock::default(),
            remembered,
            memory: Mutex::new(memory),
            resends: Mutex::default(),
            notes,
            runtime,
            first_reaped: AtomicUsize::new(0),
            config: Arc::new(config),
        };
        for tenant in &client.config.tenants {
            client.tenant(tenant);
        }
        Ok(client)
    }

    pub(super) fn tenant(&self, id: &TenantId) -> Arc<Tenant> {
        if let Some(tenant) = self.tenants.read().get(id) {
            return Arc::clone(tenant);
        }
        let known = self.remembered.get(id).cloned().unwrap_or_default();
        let mut tenants = self.tenants.write();
        let tenant = tenants.entry(id.clone());
        Arc::clone(tenant.or_insert_with(|| Arc::new(Tenant::new(id.clone(), known))))
    }

    /// The deadline of our own around everything that waits.
    pub(super) async fn within<T>(
        &self,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let deadline = self.config.deadline;
        timeout(deadline, work).await.unwrap_or(Err(Failure::TimedOut(deadline)))
    }

    /// The same for a call, which the breaker may refuse and whose silence it counts.
    pub(super) async fn call<T>(
        &self,
        tenant: &Tenant,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        if !tenant.breaker.lock().admits(Instant::now()) {
            return Err(Failure::NotConnected);
        }
        let done = self.within(work).await;
        let mut breaker = tenant.breaker.lock();
        match &done {
            Err(failure) if failure.is_silence() => {
                if breaker.unheard(Instant::now()) {
                    warn!(tenant = %tenant.id, cause = %failure, "the shared state is silent");
                    // Also the connections of a Cluster, whose servers are not probed one by one.
                    self.link.line().into_iter().for_each(|line| self.link.fail(&line));
                }
            }
            Ok(_) | Err(_) => breaker.heard(),
        }
        done
    }

    /// Sends a script with what the tenant is attached to, and once more with what it is attached to then.
    async fn run(
        self: &Arc<Self>,
        tenant: &Tenant,
        now: Timestamp,
        script: &(dyn Fn(&Attached) -> Result<Cmd, Failure> + Send + Sync),
        awaited: Await,
    ) -> Result<Value, Failure> {
        for _ in 0..2 {
            let line = self.link.line()?;
            let attached = self.attached(&line, tenant, now).await?;
            match self.send(&line, tenant, script(&attached)?, awaited).await {
                Ok(reply) if scripts::is_other_epoch(&reply) => tenant.detach(&attached),
                Err(failure) if failure.is_no_script() => tenant.detach(&attached),
                Ok(reply) => return Ok(reply),
                Err(failure) => {
                    self.look(&line, &failure);
                    return Err(failure);
                }
            }
        }
        Err(Failure::Lost("they keep changing"))
    }

    /// What the tenant is attached to. Attaching goes on when the call that began it is over, so that short deadlines on a
    /// busy machine add up to an attachment and not to a row of attempts.
    async fn attached(
        self: &Arc<Self>,
        line: &Arc<Line>,
        tenant: &Tenant,
        now: Timestamp,
    ) -> Result<Arc<Attached>, Failure> {
        if let Some(attached) = tenant.current(line) {
            return Ok(attached);
        }
        let (client, line, tenant) = (Arc::clone(self), Arc::clone(line), self.tenant(&tenant.id));
        let attaching = self.runtime.spawn(async move {
            let repairs_from = client.resends.lock().repairs_from();
            let attaching = tenant.attached(&line, (now, repairs_from), &client.config);
            let attached = timeout(ATTACH, attaching).await;
            let attached = attached.unwrap_or(Err(Failure::TimedOut(ATTACH)));
            let (attached, changed) =
                attached.inspect_err(|failure| client.look(&line, failure))?;
            match changed {
                Changed::No => {}
                Changed::Server => client.send_again(&tenant, Again::All),
                Changed::Data(at) => client.resends.lock().drop_before(&tenant.id, at),
            }
            Ok(attached)
        });
        attaching.await.unwrap_or(Err(Failure::NotConnected))
    }

    async fn send(
        &self,
        line: &Line,
        tenant: &Tenant,
        command: Cmd,
        awaited: Await,
    ) -> Result<Value, Failure> {
        if awaited == Await::Answer {
            return Ok(line.wire()?.send(command, tenant.slot).await?);
        }
        let both = scripts::then_wait(command, self.config.deadline);
        let replies = line.waiting()?.send_all(both, tenant.slot).await?;
        let [reply, replicas]: [Value; 2] = replies.try_into().map_err(|_| Failure::Shape)?;
        match replicas {
            Value::Int(1..) => Ok(reply),
            _ if scripts::is_grant(&reply) => Err(Failure::Unconfirmed),
            _ => Ok(reply),
        }
    }

    fn look(&self, line: &Line, failure: &Failure) {
        if failure.wants_another_server() {
            self.link.fail(line);
        }
    }

    pub(super) async fn decide(self: &Arc<Self>, ask: &Ask) -> Result<HotAnswer, Failure> {
        let tenant = self.tenant(&ask.tenant);
        let config = &self.config;
        let script = |attached: &Attached| {
            attached.check_quarantine(ask, config.issuer_skew)?;
            Ok(scripts::decide(&attached.decide, &attached.stamp, ask, config.clock))
        };
        let awaited = match (config.confirm_once, ask.token.token_use) {
            (Confirm::OneReplica, TokenUse::Once) => Await::Replica,
            (Confirm::OneReplica, TokenUse::Bound) | (Confirm::Never, _) => Await::Answer,
        };
        let hold = ask.hold();
        let is_held = !hold.budgets.is_empty() || hold.in_flight != InFlight::default();
        if let Some(notes) = self.notes.as_ref().filter(|_| is_held) {
            notes.begin(&hold);
        }
        let reply = self.call(&tenant, self.run(&tenant, ask.now, &script, awaited)).await;
        let answer = reply.and_then(|reply| scripts::decided(&reply, ask).ok_or(Failure::Shape));
        match &answer {
            Ok(HotAnswer::Granted(_)) => {}
            Err(failure) if is_held && failure.is_doubt() => self.withhold_release(hold, ask.now),
            Ok(_) | Err(_) => {
                self.notes.iter().for_each(|notes| notes.end(&hold.id, ask.now));
            }
        }
        answer
    }

    /// A server may hold what nobody was granted. Its note stays, and what gives it back waits for `abandon`; otherwise it
    /// expires there.
    fn withhold_release(&self, hold: Hold, now: Timestamp) {
        let message = Message::Settlement { hold, actual: MicroUsd::ZERO };
        self.resends.lock().withhold(&message, now, Instant::now());
    }

    /// Forgets what is too old to matter of what this gateway keeps itself.
    pub(super) fn tidy(&self, now: Timestamp) {
        if let Some(notes) = &self.notes {
            notes.tidy(now);
        }
    }

    /// Sends what servers must not forget, and notes what became of it.
    pub(super) async fn tell(
        self: &Arc<Self>,
        message: &Message,
        now: Timestamp,
    ) -> Result<Value, Failure> {
        self.resends.lock().note(message, now, Instant::now());
        let tenant = self.tenant(message.tenant());
        let told = self.call(&tenant, self.deliver(&tenant, message, now)).await;
        self.mark(message, told.is_ok(), now);
        told
    }

    /// Remembers whether a server has the message.
    fn mark(&self, message: &Message, is_confirmed: bool, now: Timestamp) {
        let mut resends = self.resends.lock();
        match is_confirmed {
            true => resends.confirm(message.id()),
            false => resends.fail(message.id()),
        }
        drop(resends);
        if let (Some(notes), true, Message::Settlement { hold, .. }) =
            (&self.notes, is_confirmed, message)
        {
            notes.settled(&hold.id, now);
        }
    }

    async fn deliver(
        self: &Arc<Self>,
        tenant: &Tenant,
        message: &Message,
        now: Timestamp,
    ) -> Result<Value, Failure> {
        let told = (now, self.config.clock);
        let script = |attached: &Attached| match message {
            Message::Settlement { hold, actual } => {
                Ok(holding::settle(&attached.settle, hold, *actual, told))
            }
            Message::Adjustment(adjustment) => {
                holding::adjust(&attached.adjust, adjustment, now).ok_or(Failure::Shape)
            }
        };
        let reply = self.run(tenant, now, &script, Await::Answer).await?;
        let is_known = match message {
            Message::Settlement { .. } => holding::closed(&reply).is_some(),
            Message::Adjustment(_) => holding::adjusted(&reply).is_some(),
        };
        if is_known { Ok(reply) } else { Err(Failure::Shape) }
    }

    /// `None` if no such hold is open.
    pub(super) async fn extend(
        self: &Arc<Self>,
        hold: &Hold,
        total: MicroUsd,
        now: Timestamp,
    ) -> Result<Option<Extended>, Failure> {
        let tenant = self.tenant(&hold.tenant);
        let told = (now, self.config.clock);
        let script = |attached: &Attached| Ok(holding::extend(&attached.extend, hold, total, told));
        let reply = self.call(&tenant, self.run(&tenant, now, &script, Await::Answer)).await?;
        holding::extended(&reply, hold, now).ok_or(Failure::Shape)
    }

    /// Sends a tenant's messages again, beside whatever else goes on.
    pub(super) fn send_again(self: &Arc<Self>, tenant: &Tenant, again: Again) {
        let due = self.resends.lock().of(&tenant.id, again, Instant::now());
        if due.is_empty() {
            return;
        }
        let (client, tenant) = (Arc::clone(self), self.tenant(&tenant.id));
        let resending: BoxFuture<'static, ()> = Box::pin(async move {
            let mut applied = 0_usize;
            for some in due.chunks(AT_ONCE) {
                let sending = some.iter().map(|sent| client.resend(&tenant, sent));
                applied += join_all(sending).await.into_iter().filter(|news| *news).count();
            }
            info!(tenant = %tenant.id, sent = due.len(), applied, "what servers may have forgotten was sent again");
        });
        drop(self.runtime.spawn(resending));
    }

    /// Whether a settlement was news to the servers. No breaker stands before it: nobody waits for it, and one that
    /// fails is tried again with the next round of reaping.
    async fn resend(self: &Arc<Self>, tenant: &Tenant, sent: &Sent) -> bool {
        let now = sent.now(Instant::now());
        let told = self.within(self.deliver(tenant, &sent.message, now)).await;
        self.mark(&sent.message, told.is_ok(), now);
        let closed = told.ok().as_ref().and_then(holding::closed);
        closed == Some(Closed::Settled(Settled::Applied))
    }

    /// Charges a tenant's overdue holds, at most `max`, and returns how many.
    pub(super) async fn reap(
        self: &Arc<Self>,
        tenant: &Tenant,
        now: Timestamp,
        max: usize,
    ) -> Result<usize, Failure> {
        let script = |attached: &Attached| {
            let keys = [tenant.keys.epoch(), tenant.keys.open()];
            let mut command = scripts::evalsha(&attached.reap, &keys);
            command.arg(self.config.clock.tell_us(now)).arg(&attached.stamp).arg(max);
            Ok(command)
        };
        let reply = self.call(tenant, self.run(tenant, now, &script, Await::Answer)).await?;
        let found = redis::from_redis_value(reply);
        let (beat_ms, overdue): (u64, Vec<String>) = found.map_err(|_| Failure::Shape)?;
        tenant.beat(beat_ms);
        let mut charged = 0;
        for some in overdue.chunks(AT_ONCE) {
            let expiring = some.iter().map(|member| self.expire(tenant, member, now));
            for expired in join_all(expiring).await {
                charged += usize::from(expired?);
            }
        }
        Ok(charged)
    }

    async fn expire(
        self: &Arc<Self>,
        tenant: &Tenant,
        member: &str,
        now: Timestamp,
    ) -> Result<bool, Failure> {
        let Some(member) = Member::parse(member) else {
            warn!(tenant = %tenant.id, "an open hold cannot be read");
            return Ok(false);
        };
        let script = |attached: &Attached| {
            let time = (now, self.config.clock);
            Ok(holding::expire(&attached.settle, &tenant.keys, &member, time))
        };
        let reply = self.call(tenant, self.run(tenant, now, &script, Await::Answer)).await?;
        Ok(holding::closed(&reply) == Some(Closed::Settled(Settled::Applied)))
    }

    /// All tenants, each time beginning with the next.
    pub(super) fn everyone(&self) -> Vec<Arc<Tenant>> {
        let mut all: Vec<_> = self.tenants.read().values().map(Arc::clone).collect();
        let first = self.first_reaped.fetch_add(1, Ordering::Relaxed);
        let turn = first.checked_rem(all.len()).unwrap_or(0);
        all.rotate_left(turn);
        all
    }

    pub(super) fn remember(&self) -> Result<(), StateError> {
        let tenants = self.tenants.read();
        let known = tenants.iter().map(|(id, tenant)| (id, tenant.known()));
        self.memory.lock().keep(known)
    }
}
