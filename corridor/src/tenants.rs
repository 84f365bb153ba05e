//! The tenants as calls find them: what the configuration says of them, and in its place what the region defines.
//!
//! Not here: following the region (`gateway::region`), what a definition may do here (`config::Allowed`), and whom tokens name
//! (`roster`). Invariant: a call takes its tenant once and keeps it to its end, whatever is defined meanwhile; what the region
//! defines and this gateway cannot follow is refused, and never answered by what its own file says of the same name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use aegis_config::{
    Allowed, CallLimits, Config, Leads, NotAllowed, Tenant, ToolBinding, ToolDefinition,
    limits_definition,
};
use aegis_domain::{Region, TenantId, ToolName};
use aegis_registry::{Change, Defined, Definition, Definitions, Event, Part, RegistryError};
use aegis_state::Budget;
use aegis_telemetry::{DefinitionGauges, DefinitionMetrics};
use arc_swap::ArcSwap;
use parking_lot::Mutex;

/// All of them, as they are now.
#[derive(Debug)]
pub struct Tenants {
    region: Region,
    /// As the configuration has them.
    own: BTreeMap<TenantId, Arc<Tenant>>,
    allowed: Option<Arc<Allowed>>,
    metrics: DefinitionMetrics,
    /// Of whoever changes them, off the way of calls.
    held: Mutex<Held>,
    now: ArcSwap<BTreeMap<TenantId, Arc<Tenant>>>,
}

/// What the region was heard to define, read once.
#[derive(Debug, Default)]
struct Held {
    serial: u64,
    meant: BTreeMap<Defined, Meant>,
}

/// What one text means here, and the event that made it.
#[derive(Debug)]
struct Meant {
    changed: u64,
    meaning: Meaning,
}

#[derive(Debug)]
enum Meaning {
    Tool(ToolName, Result<Arc<ToolBinding>, Barred>),
    Limits(Result<CallLimits, String>),
}

/// A tool that may not be used, and why.
#[derive(Debug)]
struct Barred {
    leads: Leads,
    why: String,
}

/// A definition of the region that this gateway cannot follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnusableDefinition {
    pub of: Defined,
    /// The event of the registry that made it what it is.
    pub changed: u64,
    pub why: String,
}

/// Whether calls find anything else than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    News,
    Nothing,
}

impl Tenants {
    pub fn new(config: &Config, metrics: DefinitionMetrics) -> Self {
        let own = config.tenants.clone();
        let now = ArcSwap::from_pointee(own.clone());
        let (region, allowed) = (config.region.clone(), config.definitions.clone());
        Self { region, own, allowed, metrics, held: Mutex::default(), now }
    }

    /// A tenant as it is now.
    pub fn of(&self, tenant: &TenantId) -> Option<Arc<Tenant>> {
        self.now.load().get(tenant).cloned()
    }

    /// Every budget that some call counts against; some stand there more than once.
    pub fn budgets(&self) -> Vec<Budget> {
        self.now.load().values().flat_map(|tenant| tenant.budgets()).collect()
    }

    /// The last event of the registry that is in here.
    pub fn serial(&self) -> u64 {
        self.held.lock().serial
    }

    /// What the region defines and calls are refused for, and why.
    pub fn unusable(&self) -> Vec<UnusableDefinition> {
        let held = self.held.lock();
        let unusable = held.meant.iter().filter_map(|(of, Meant { changed, meaning })| {
            let why = meaning.refused()?.to_owned();
            Some(UnusableDefinition { of: of.clone(), changed: *changed, why })
        });
        unusable.collect()
    }

    /// All that the region defines, unless it is older than what is held.
    pub fn replace(&self, definitions: &Definitions) -> Told {
        let mut held = self.held.lock();
        if definitions.serial() < held.serial {
            return Told::Nothing;
        }
        held.serial = definitions.serial();
        let gone = held.meant.extract_if(.., |of, _| definitions.get(of).is_none());
        let mut touched: BTreeSet<TenantId> = gone.map(|(of, _)| of.tenant).collect();
        for definition in definitions.iter() {
            touched.extend(self.define(&mut held, definition));
        }
        self.show(&held, touched)
    }

    /// What happened since; events that are known already are passed over.
    pub fn extend(&self, events: &[Event]) -> Result<Told, RegistryError> {
        let mut held = self.held.lock();
        let mut touched = BTreeSet::new();
        for event in events {
            let wanted = held.serial.saturating_add(1);
            if event.serial < wanted {
                continue;
            }
            if event.serial > wanted {
                return Err(RegistryError::OutOfOrder { wanted, found: event.serial });
            }
            held.serial = event.serial;
            for change in &event.changes {
                match change {
                    Change::Definition(it) => touched.extend(self.define(&mut held, it)),
                    Change::DefinitionGone(of) => {
                        touched.extend(held.meant.remove(of).map(|_| of.tenant.clone()));
                    }
                    Change::Agent(_) | Change::Key(_) | Change::Revoked(_) | Change::Code(_) => {}
                    Change::CodeGone(_) | Change::Budget(_) | Change::BudgetGone(_) => {}
                    Change::Adjustment(_) => {}
                }
            }
        }
        Ok(self.show(&held, touched))
    }

    /// Reads what is new of a tenant that is served here; says whose it is.
    fn define(&self, held: &mut Held, definition: &Definition) -> Option<TenantId> {
        let Definition { of, changed, .. } = definition;
        let (allowed, own) = (self.allowed.as_ref()?, self.own.get(&of.tenant)?);
        if held.meant.get(of).is_some_and(|meant| meant.changed == *changed) {
            return None;
        }
        let meaning = match &of.part {
            Part::Limits => Meaning::Limits(limits(own, definition)),
            Part::Tool(name) => self.tool(allowed, name, definition),
        };
        held.meant.insert(of.clone(), Meant { changed: *changed, meaning });
        Some(of.tenant.clone())
    }

    fn tool(&self, allowed: &Allowed, name: &ToolName, definition: &Definition) -> Meaning {
        let Definition { of: Defined { tenant, .. }, text, changed, .. } = definition;
        let read = ToolDefinition::read(name, &format!("tools/{name}"), text.as_str());
        let meaning = match read {
            Err(mistakes) => {
                tracing::error!(%tenant, tool = %name, changed, %mistakes, "a tool of the region cannot be read, so its calls are refused");
                Err(Barred { leads: Leads::Anywhere, why: mistakes.to_string() })
            }
            Ok(read) => {
                let upstream = read.binding.upstream(&self.region).cloned();
                let bound = match self.is_relieved((tenant, name), &read) {
                    true => Err(NotAllowed::Entrusted),
                    false => allowed.bind((tenant, &self.region), read),
                };
                bound.map(Arc::new).map_err(|why: NotAllowed| {
                    tracing::error!(%tenant, tool = %name, changed, %why, "a tool of the region may not be used here, so its calls are refused");
                    let leads = upstream.map_or(Leads::Anywhere, Leads::To);
                    Barred { leads, why: why.to_string() }
                })
            }
        };
        Meaning::Tool(name.clone(), meaning)
    }

    /// Whether it would relieve a tool of this gateway's file of its price, budgets and credential. Whoever may not entrust can
    /// define a tool that has none, and the region does not know what the file says.
    fn is_relieved(&self, (tenant, name): (&TenantId, &ToolName), read: &ToolDefinition) -> bool {
        let own = self.own.get(tenant).and_then(|tenant| tenant.tools.get(name));
        own.is_some_and(|own| own.is_entrusted()) && !read.is_entrusted()
    }

    /// Calls that begin from now on find the tenants that were touched as they are now.
    fn show(&self, held: &Held, touched: BTreeSet<TenantId>) -> Told {
        let told = if touched.is_empty() { Told::Nothing } else { Told::News };
        if told == Told::News {
            let mut now = BTreeMap::clone(&self.now.load());
            for id in touched {
                let Some(own) = self.own.get(&id) else { continue };
                now.insert(id, overlaid(own, held));
            }
            self.now.store(Arc::new(now));
        }
        if self.allowed.is_some() {
            let unusable = self.now.load().values().map(|it| it.unusable.count()).sum();
            let used = held.meant.len().saturating_sub(unusable);
            self.metrics.set(DefinitionGauges { used, unusable });
        }
        told
    }
}

impl Meaning {
    /// Why calls are refused for it, if they are.
    fn refused(&self) -> Option<&str> {
        match self {
            Meaning::Tool(_, Err(Barred { why, .. })) | Meaning::Limits(Err(why)) => Some(why),
            Meaning::Tool(_, Ok(_)) | Meaning::Limits(Ok(_)) => None,
        }
    }
}

fn limits(own: &Tenant, definition: &Definition) -> Result<CallLimits, String> {
    let Definition { of: Defined { tenant, .. }, text, changed, .. } = definition;
    let limits = limits_definition("limits", text.as_str()).map_err(|mistakes| {
        tracing::error!(%tenant, changed, %mistakes, "the region's limits cannot be read, so calls of the tenant are refused");
        mistakes.to_string()
    })?;
    match own.limited_to(limits.clone()) {
        Ok(_) => Ok(limits),
        Err(error) => {
            tracing::error!(%tenant, changed, %error, "the region's limits cannot be asked about, so calls of the tenant are refused");
            Err(error.to_string())
        }
    }
}

/// A tenant with what the region defines in place of what its configuration says.
fn overlaid(own: &Arc<Tenant>, held: &Held) -> Arc<Tenant> {
    let first = Defined { tenant: own.id.clone(), part: Part::Limits };
    let meant = held.meant.range(first..).take_while(|(of, _)| of.tenant == own.id);
    let mut meant = meant.map(|(_, Meant { meaning, .. })| meaning).peekable();
    if meant.peek().is_none() {
        return Arc::clone(own);
    }
    let mut tenant = Tenant::clone(own);
    for meaning in meant {
        match meaning {
            Meaning::Tool(name, Ok(binding)) => {
                tenant.tools.insert(name.clone(), Arc::clone(binding));
            }
            Meaning::Tool(name, Err(Barred { leads, .. })) => {
                tenant.tools.remove(name);
                tenant.unusable.tools.insert(name.clone(), leads.clone());
            }
            Meaning::Limits(limits) => {
                match limits.as_ref().map(|it| tenant.limited_to(it.clone())) {
                    Ok(Ok(limited)) => tenant = limited,
                    Ok(Err(_)) | Err(_) => tenant.unusable.limits = true,
                }
            }
        }
    }
    Arc::new(tenant)
}

#[cfg(test)]
mod tests {
    use aegis_decide::Price;
    use aegis_domain::{AgentId, BudgetScope, MicroUsd, Timestamp};
    use aegis_registry::{Actor, DefinitionText};
    use aegis_telemetry::Metrics;

    use super::*;

    const CONFIG: &str = "\
region: eu-west-1
domain: audit.example.com
data_dir: data
listen: { plain: 127.0.0.1:0, metrics: 127.0.0.1:0 }
identity: { audience: gw, issuers: [] }
control: { address: 127.0.0.1:0 }
DEFINITIONS
tenants:
  acme:
    org: acme
    region: eu-west-1
    policy: { release: prod }
    budgets: { day_usd: '100' }
    agents: { bot: { budgets: { day_usd: '5' } } }
    tools:
      pay: { upstream: 'https://file.example/v1' }
      llm: { upstream: 'https://model.example/v1', price: { per_call_usd: '1' } }
      mail: { upstream: 'https://mail.example', budgets: { day_usd: '1' } }
  umbrella: { org: umbrella, region: eu-west-1, policy: { release: prod }, agents: {}, tools: {} }
";

    fn tenants(definitions: &str) -> (Tenants, Metrics) {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("aegis.yaml");
        std::fs::write(&file, CONFIG.replace("DEFINITIONS", definitions)).unwrap();
        let config = Config::load(&file).map_err(|mistakes| mistakes.to_string()).unwrap();
        let metrics = Metrics::new();
        (Tenants::new(&config, metrics.definitions().clone()), metrics)
    }

    fn of_region() -> (Tenants, Metrics) {
        tenants("definitions: { from: region }")
    }

    fn defined(tenant: &str, part: Part) -> Defined {
        Defined { tenant: TenantId::parse(tenant).unwrap(), part }
    }

    fn tool(name: &str) -> Part {
        Part::Tool(ToolName::parse(name).unwrap())
    }

    /// The event of that number, which defines something, withdraws it, or is about something else.
    fn event(serial: u64, change: Option<(Defined, Option<&str>)>) -> Event {
        let (at, by) = (Timestamp::from_unix_s(1_800_000_000), Actor::parse("tester").unwrap());
        let change = change.map(|(of, text)| match text {
            None => Change::DefinitionGone(of),
            Some(text) => {
                let (text, by) = (DefinitionText::parse(text).unwrap(), by.clone());
                Change::Definition(Box::new(Definition { of, text, by, at, changed: serial }))
            }
        });
        Event { serial, at, by, changes: change.into_iter().collect() }
    }

    fn acme(tenants: &Tenants) -> Arc<Tenant> {
        tenants.of(&TenantId::parse("acme").unwrap()).unwrap()
    }

    fn host(tenant: &Tenant, name: &str) -> Option<String> {
        let binding = tenant.tools.get(&ToolName::parse(name).unwrap())?;
        let upstream = binding.upstream(&tenant.region)?;
        Some(upstream.host.as_str().to_owned())
    }

    #[test]
    fn what_the_region_defines_stands_in_place_of_the_files_until_it_is_withdrawn() {
        let (tenants, metrics) = of_region();
        let before = acme(&tenants);
        let text = "upstream: https://region.example\nprice: { per_call_usd: '2' }\n";
        let pay = defined("acme", tool("pay"));
        let more = event(2, Some((defined("acme", tool("crm")), Some(text))));
        let events = [event(1, Some((pay.clone(), Some(text)))), more];
        assert_eq!(tenants.extend(&events), Ok(Told::News));
        let now = acme(&tenants);
        assert_eq!(host(&now, "pay").as_deref(), Some("region.example"));
        assert_eq!(host(&now, "crm").as_deref(), Some("region.example"));
        let price = &now.tools[&ToolName::parse("pay").unwrap()].price;
        assert_eq!(*price, Price::PerCall(MicroUsd::new(2_000_000)));
        // Whoever began before goes on with what it had.
        assert_eq!(host(&before, "pay").as_deref(), Some("file.example"));
        assert!(metrics.render().contains("aegis_definitions{standing=\"used\"} 2\n"));
        assert_eq!(tenants.extend(&[event(3, Some((pay, None)))]), Ok(Told::News));
        assert_eq!(host(&acme(&tenants), "pay").as_deref(), Some("file.example"));
        let crm = Some((defined("acme", tool("crm")), None));
        assert_eq!(tenants.extend(&[event(4, crm)]), Ok(Told::News));
        assert!(Arc::ptr_eq(&acme(&tenants), &before), "it is as the file has it");
    }

    #[test]
    fn what_cannot_be_used_is_refused_and_not_answered_by_the_file() {
        let (tenants, metrics) = of_region();
        for (serial, text, leads) in [
            (1, "upstream: https://a.example\nfrom_the_future: 1\n", Leads::Anywhere),
            (
                2,
                "upstream: https://a.example\ncredential: none\n",
                Leads::To("https://a.example".parse().unwrap()),
            ),
        ] {
            let change = Some((defined("acme", tool("pay")), Some(text)));
            tenants.extend(&[event(serial, change)]).unwrap();
            let now = acme(&tenants);
            assert_eq!(host(&now, "pay"), None, "{text}");
            assert_eq!(now.unusable.tools.values().collect::<Vec<_>>(), [&leads]);
            assert!(metrics.render().contains("aegis_definitions{standing=\"unusable\"} 1\n"));
            let told = tenants.unusable();
            let [it] = told.as_slice() else { panic!("{told:?}") };
            assert_eq!((&it.of, it.changed), (&defined("acme", tool("pay")), serial));
            let names = if serial == 1 { "from_the_future" } else { "`none`" };
            assert!(it.why.contains(names), "{}", it.why);
        }
        let limits = Some((defined("acme", Part::Limits), Some("from_the_future: 1\n")));
        tenants.extend(&[event(3, limits)]).unwrap();
        assert!(acme(&tenants).unusable.limits);
        assert_eq!(tenants.unusable().len(), 2);
        let change = Some((defined("acme", tool("pay")), Some("upstream: https://a.example\n")));
        tenants.extend(&[event(4, change)]).unwrap();
        let limits = Some((defined("acme", Part::Limits), None));
        tenants.extend(&[event(5, limits)]).unwrap();
        assert_eq!(acme(&tenants).unusable, aegis_config::Unusable::default());
        assert_eq!(tenants.unusable(), []);
        assert!(metrics.render().contains("aegis_definitions{standing=\"unusable\"} 0\n"));
    }

    #[test]
    fn a_tool_of_the_file_is_not_relieved_of_its_price_or_budget_by_who_may_not_entrust() {
        let (tenants, _) = of_region();
        let free = "upstream: https://a.example\n";
        let priced = "upstream: https://a.example\nprice: { per_call_usd: '0.5' }\n";
        for (serial, name) in [(1, "llm"), (3, "mail")] {
            let own = host(&acme(&tenants), name);
            let is_unusable =
                || acme(&tenants).unusable.tools.contains_key(&ToolName::parse(name).unwrap());
            let change = Some((defined("acme", tool(name)), Some(free)));
            tenants.extend(&[event(serial, change)]).unwrap();
            assert!(own.is_some() && host(&acme(&tenants), name).is_none() && is_unusable());
            // Only who may entrust can have defined this one.
            let change = Some((defined("acme", tool(name)), Some(priced)));
            tenants.extend(&[event(serial + 1, change)]).unwrap();
            assert_eq!(host(&acme(&tenants), name).as_deref(), Some("a.example"));
            assert!(!is_unusable());
        }
    }

    #[test]
    fn limits_of_the_region_hold_for_every_agent_of_the_tenant() {
        let (tenants, _) = of_region();
        let text = "budgets: { day_usd: '7' }\nrates: { per_second: 3 }\nin_flight: 2\n";
        let change = Some((defined("acme", Part::Limits), Some(text)));
        tenants.extend(&[event(1, change)]).unwrap();
        let now = acme(&tenants);
        assert_eq!(now.limits.in_flight.unwrap().get(), 2);
        assert_eq!(now.limits.rates.second.unwrap().calls.get(), 3);
        let budgets = &now.agents[&AgentId::parse("bot").unwrap()].budgets;
        let limit = |scope: &BudgetScope| {
            let limits = budgets.iter().filter(|it| it.key.scope == *scope).map(|it| it.limit);
            limits.min().unwrap()
        };
        assert_eq!(limit(&BudgetScope::Tenant), MicroUsd::new(7_000_000));
        let agent = BudgetScope::Agent(AgentId::parse("bot").unwrap());
        assert_eq!(limit(&agent), MicroUsd::new(5_000_000));
        let told = tenants.budgets().into_iter().filter(|it| it.key.scope == BudgetScope::Tenant);
        assert!(
            told.filter(|it| it.key.tenant.as_str() == "acme")
                .all(|it| { it.limit == MicroUsd::new(7_000_000) || it.limit == MicroUsd::MAX })
        );
    }

    #[test]
    fn what_is_told_whole_and_what_is_told_event_by_event_come_to_the_same() {
        let text = |host: &str| format!("upstream: https://{host}\n");
        let (a, b) = (text("a.example"), text("b.example"));
        let events = [
            event(1, Some((defined("acme", tool("pay")), Some(&a)))),
            event(2, None),
            event(3, Some((defined("acme", tool("crm")), Some(&a)))),
            event(4, Some((defined("acme", tool("pay")), None))),
            event(5, Some((defined("acme", tool("crm")), Some(&b)))),
            event(6, Some((defined("nobody", tool("crm")), Some(&b)))),
        ];
        let (by_event, whole) = (of_region().0, of_region().0);
        let mut definitions = Definitions::default();
        for event in &events {
            by_event.extend(std::slice::from_ref(event)).unwrap();
            definitions.apply(event).unwrap();
            whole.replace(&definitions);
            let hosts = |it: &Tenants| ["pay", "crm"].map(|name| host(&acme(it), name));
            assert_eq!(hosts(&by_event), hosts(&whole), "{}", event.serial);
        }
        assert_eq!(by_event.serial(), 6);
        // The same again, an older state and a gap change nothing.
        assert_eq!(by_event.extend(&events), Ok(Told::Nothing));
        assert_eq!(by_event.replace(&definitions), Told::Nothing);
        assert_eq!(by_event.replace(&Definitions::default()), Told::Nothing);
        assert!(by_event.extend(&[event(8, None)]).is_err());
        assert_eq!(host(&acme(&by_event), "crm").as_deref(), Some("b.example"));
    }

    #[test]
    fn a_definition_of_one_tenant_touches_no_other_and_none_where_the_file_has_the_word() {
        let (tenants, _) = of_region();
        let umbrella = || tenants.of(&TenantId::parse("umbrella").unwrap()).unwrap();
        let before = umbrella();
        let change = Some((defined("acme", tool("crm")), Some("upstream: https://a.example\n")));
        tenants.extend(&[event(1, change.clone())]).unwrap();
        assert!(Arc::ptr_eq(&before, &umbrella()));
        for definitions in ["", "definitions: { from: file }"] {
            let (tenants, metrics) = self::tenants(definitions);
            assert_eq!(tenants.extend(&[event(1, change.clone())]), Ok(Told::Nothing));
            assert_eq!(host(&acme(&tenants), "crm"), None);
            assert!(!metrics.render().contains("aegis_definitions{"));
        }
    }
}
