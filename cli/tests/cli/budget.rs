//! Budgets from the command line: set, shown, watched, corrected, and reconciled with the audit journal.
//!
//! Not here: the API's own rules (`control`). Invariant: control node, hot state and journal are real; what is planted is
//! planted in one of them and not in the other.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::sync::Arc;

use aegis_audit_chain::record::{BudgetHold, DecisionEntry, Mode, Of, OutcomeDue, OutcomeEntry};
use aegis_control::HotPurse;
use aegis_domain::EstimateKind;
use aegis_domain::{
    AgentId, BudgetKey, DecisionId, Effect, HotAnswer, Jti, MicroUsd, Reason, TenantId, TokenUse,
    ToolName, Ttl,
};
use aegis_state::{Ask, Binding, Budget, Budgets, Hold, HotState, TokenCheck};
use aegis_state_embedded::{EmbeddedConfig, EmbeddedState};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::ledger::{Ledger, now};
use crate::region::Region;
use crate::support::{Home, json, stderr, stdout};

fn usd(dollars: u64) -> MicroUsd {
    MicroUsd::new(dollars * 1_000_000)
}

fn key(name: &str) -> BudgetKey {
    BudgetKey::parse(TenantId::parse("acme").unwrap(), name).unwrap()
}

/// A region whose hot state and journal are at hand.
struct Books {
    region: Region,
    state: Arc<EmbeddedState>,
    ledger: Ledger,
    runtime: Runtime,
    calls: u8,
}

/// What one of the two books is told of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// That it ended, at this cost in dollars.
    Ended(u64),
    /// That it is under way.
    Open,
    Nothing,
}

impl Books {
    fn open() -> Self {
        let home = Home::empty();
        let ledger = Ledger::open(&home);
        let state = EmbeddedConfig::new(home.path("state"));
        let state = Arc::new(EmbeddedState::open(state).unwrap());
        let configured = [Budget::hard(key("tenant/month"), usd(1_000))];
        let purse = Arc::new(HotPurse::new(Arc::clone(&state) as Arc<dyn HotState>, configured));
        let region = Region::shaped(home, |control| control.with_purse(purse));
        Self { region, state, ledger, runtime: Runtime::new().unwrap(), calls: 0 }
    }

    /// A call of an agent of team ops that may cost 4 dollars.
    fn call(&mut self, agent: &str, journal: Told, hot: Told) {
        self.calls += 1;
        let id = DecisionId::new(now().unix_ms(), [self.calls; 10]);
        let names = [format!("agent:{agent}/day"), "team:ops/month".into(), "tool:pay/24h".into()];
        let names = names.into_iter().chain(["tenant/day".to_owned()]);
        let budgets = names.map(|name| Budget::hard(key(&name), MicroUsd::MAX)).collect();
        let ask = ask(id, agent, Budgets::new(budgets).unwrap());
        self.tell_journal(&ask.hold(), journal);
        self.tell_hot(&ask, hot);
    }

    fn tell_journal(&self, hold: &Hold, told: Told) {
        if told == Told::Nothing {
            return;
        }
        let decision = decision(hold, Effect::Allow);
        let seq = self.ledger.append(decision.draft().unwrap());
        let Told::Ended(cost) = told else { return };
        let outcome = OutcomeEntry {
            of: Of { origin: None, seq, id: hold.id },
            cost: usd(cost),
            reason: Reason::Allowed,
            ..OutcomeEntry::unknown(&origin(), seq, &decision)
        };
        self.ledger.append(outcome.draft().unwrap());
    }

    fn tell_hot(&self, ask: &Ask, told: Told) {
        self.runtime.block_on(async {
            if told != Told::Nothing {
                assert!(matches!(self.state.decide(ask).await, HotAnswer::Granted(_)));
            }
            if let Told::Ended(cost) = told {
                self.state.settle(&ask.hold(), usd(cost), now()).await.unwrap();
            }
        });
    }

    /// What differs, by name, in cents, and the exit code.
    fn reconcile(&self, more: &str) -> (Vec<(String, i64)>, i32) {
        let line = format!("budget reconcile --patience 0s -o json{more}");
        let ran = self.region.run("", &line);
        let code = ran.get_output().status.code().unwrap();
        let rows = json(&ran);
        let row = |row: &Value| {
            let name = row["budget"].as_str().unwrap().to_owned();
            (name, row["difference_microusd"].as_i64().unwrap() / 10_000)
        };
        (rows.as_array().unwrap().iter().map(row).collect(), code)
    }
}

fn origin() -> aegis_audit_chain::Origin {
    aegis_audit_chain::Origin::parse("aegis.localhost/local/gw-1/1").unwrap()
}

fn decision(hold: &Hold, effect: Effect) -> DecisionEntry {
    let keys = hold.budgets.iter().map(|budget| budget.key.to_string()).collect();
    let region = aegis_domain::Region::parse("local").unwrap();
    DecisionEntry {
        tenant: Some(hold.tenant.clone()),
        agent: Some(hold.agent.clone()),
        tool: Some(hold.tool.clone()),
        budget: Some(BudgetHold {
            keys,
            held: hold.estimate,
            estimate: EstimateKind::Ceiling,
            warned: Vec::new(),
        }),
        est_cost: hold.estimate,
        outcome: OutcomeDue::Follows,
        ..DecisionEntry::new(hold.id, region, effect, Reason::Allowed)
    }
}

fn ask(id: DecisionId, agent: &str, budgets: Budgets) -> Ask {
    Ask {
        id,
        tenant: TenantId::parse("acme").unwrap(),
        agent: AgentId::parse(agent).unwrap(),
        tool: ToolName::parse("pay").unwrap(),
        token: TokenCheck {
            jti: Jti::parse(id.as_str()).unwrap(),
            token_use: TokenUse::Bound,
            binding: Binding::from_bytes([1; 32]),
            issued_at: None,
            expires_at: now().plus(Ttl::from_s(60)),
        },
        rates: Default::default(),
        in_flight: Default::default(),
        budgets,
        estimate: usd(4),
        hold_ttl: Ttl::from_s(600),
        now: now(),
    }
}

const ENDED: Told = Told::Ended(3);

#[test]
fn books_that_agree_differ_nowhere_with_calls_ended_open_refused_and_only_imagined() {
    let mut books = Books::open();
    books.call("bot", ENDED, ENDED);
    books.call("bot", Told::Ended(0), Told::Ended(0));
    books.call("bot", Told::Open, Told::Open);
    let ask = ask(DecisionId::new(now().unix_ms(), [99; 10]), "bot", Budgets::none());
    let hold = Hold {
        budgets: Budgets::new(vec![Budget::hard(key("tenant/day"), usd(9))]).unwrap(),
        ..ask.hold()
    };
    for (effect, mode, outcome) in [
        (Effect::Deny, Mode::Enforce, OutcomeDue::None),
        (Effect::ApprovalNeeded, Mode::Enforce, OutcomeDue::None),
        (Effect::Allow, Mode::Shadow, OutcomeDue::None),
        (Effect::Allow, Mode::DryRun, OutcomeDue::None),
    ] {
        let entry = DecisionEntry { mode, outcome, ..decision(&hold, effect) };
        books.ledger.append(entry.draft().unwrap());
    }
    assert_eq!(books.reconcile(""), (vec![], 0));
    let table = books.region.run("", "budget reconcile --tenant acme").success();
    assert!(stderr(&table).contains("5 budgets, none differs"), "{}", stderr(&table));
}

#[test]
fn reconcile_finds_the_planted_differences_and_nothing_else_and_applying_mends_them() {
    // Arrange: one agent whose books agree, and one for each way in which they can differ.
    let mut books = Books::open();
    for agent in ["good", "lost", "twice", "gone"] {
        books.call(agent, Told::Ended(4), Told::Ended(4));
    }
    books.call("lost", Told::Ended(1), Told::Open);
    books.call("twice", Told::Nothing, Told::Ended(2));
    books.call("gone", Told::Ended(3), Told::Nothing);
    books.call("gone", Told::Open, Told::Nothing);
    let differing = |all: i64, each: [i64; 3]| {
        let [gone, lost, twice] = each;
        let agents =
            [("agent:gone/day", gone), ("agent:lost/day", lost), ("agent:twice/day", twice)];
        let shared = ["tenant/day", "team:ops/month"].map(|name| (name, all));
        let rows = shared.into_iter().chain(agents).chain([("tool:pay/24h", all)]);
        rows.map(|(name, cents)| (name.to_owned(), cents)).collect::<Vec<_>>()
    };

    // Act and assert: 4 are held for a call that cost 1; 2 were counted that nobody spent; 3 and 4 were not counted.
    assert_eq!(books.reconcile(""), (differing(200, [700, -300, -200]), 1));
    let table = books.region.run("", "budget reconcile").code(1);
    assert!(
        stdout(&table).contains("-$3.00") && stdout(&table).contains("+$7.00"),
        "{}",
        stdout(&table)
    );
    assert!(stderr(&table).contains("8 budgets, 6 differ"), "{}", stderr(&table));
    assert_eq!(books.reconcile(" --apply"), (vec![], 0));
    assert_eq!(books.reconcile(""), (vec![], 0));

    let kept = json(&books.region.run("", "budget history acme -o json").success());
    assert_eq!(kept.as_array().unwrap().len(), 6);
    let gone = kept.as_array().unwrap().iter().find(|it| it["budget"] == "agent:gone/day").unwrap();
    assert_eq!(
        (&gone["change_microusd"], &gone["purpose"]),
        (&json!(7_000_000), &json!("reconcile"))
    );
    assert!(gone["reason"].as_str().unwrap().contains("$7.00 ended and $4.00 open"), "{gone}");
}

#[test]
fn what_was_amended_by_hand_is_no_difference() {
    let mut books = Books::open();
    books.call("bot", ENDED, ENDED);
    let add = "budget adjust acme agent:bot/day --add 1.50 --reason bill-2211 --once k1";
    let said = books.region.run("", add).success();
    assert!(stderr(&said).contains("$4.50 spent, $0.00 held"), "{}", stderr(&said));
    books.region.run("", add).success();
    let less = "budget adjust acme tenant/day --subtract 0.25 --reason refund";
    books.region.run("", less).success();
    assert_eq!(books.reconcile(""), (vec![], 0));
    let history = books.region.says("", "budget history acme");
    assert!(history.contains("+$1.50") && history.contains("bill-2211"), "{history}");
    assert!(history.contains("-$0.25") && history.contains("local admin"), "{history}");
}

#[test]
fn a_fleet_is_reconciled_with_all_of_its_journals() {
    let mut books = Books::open();
    books.call("bot", ENDED, ENDED);
    let (elsewhere, own) =
        (Home::empty(), std::mem::replace(&mut books.ledger, Ledger::open(&Home::empty())));
    books.ledger = Ledger::open(&elsewhere);
    books.call("bot", ENDED, ENDED);
    let (mine, other) = (books.region.home.path("audit"), elsewhere.path("audit"));
    let both = format!(" --audit {} --audit {}", mine.display(), other.display());
    assert_eq!(books.reconcile(&both), (vec![], 0));
    let (alone, code) = books.reconcile("");
    assert_eq!((alone[0].clone(), code), (("tenant/day".to_owned(), -300), 1));
    drop(own);
}

#[test]
fn windows_that_began_before_are_left_out_when_asked() {
    let mut books = Books::open();
    books.call("bot", ENDED, Told::Nothing);
    assert_eq!(books.reconcile(" --since 0s"), (vec![], 0));
    assert_eq!(books.reconcile(" --since 40d").1, 1);
}

#[test]
fn limits_are_set_shown_with_what_is_left_and_taken_back() {
    let mut books = Books::open();
    books.call("bot", ENDED, ENDED);
    books.call("bot", Told::Open, Told::Open);
    let says = |line: &str| books.region.says("", line);
    let set = books.region.run("", "budget set acme agent:bot/day 25 --warn-at 80%").success();
    assert!(
        stderr(&set).contains("$25.00 at most; calls beyond it are refused"),
        "{}",
        stderr(&set)
    );
    says("budget set acme team:ops/month $7.5 --soft");
    let shown = says("budget show --tenant acme");
    let bot = shown.lines().find(|line| line.contains("agent:bot/day")).unwrap();
    let wanted = ["$25.00", "$3.00", "$4.00", "$18.00", "28 %", "$20.00", "refuse", "region"];
    assert!(wanted.iter().all(|word| bot.contains(word)), "{bot}");
    assert!(
        shown.lines().any(|line| line.contains("tenant/month") && line.contains("configuration")),
        "{shown}"
    );
    assert!(!shown.contains('█'), "bars are for terminals: {shown}");

    let one = json(&books.region.run("", "budget show tool:pay/24h -o json").success());
    assert_eq!(
        (&one[0]["spent_microusd"], &one[0]["limit_microusd"]),
        (&json!(3_000_000), &Value::Null)
    );
    let first = |line: &str| json(&books.region.run("", line).success())[0]["name"].clone();
    assert_eq!(first("budget top -o json"), "team:ops/month");
    books.call("bot", Told::Nothing, Told::Ended(0));
    assert!(books.region.says("", "budget top --by spent -n 1").lines().count() == 2);

    let removed = books.region.run("", "budget remove acme agent:bot/day").success();
    assert!(stderr(&removed).contains("aegis.yaml"), "{}", stderr(&removed));
    let again = books.region.run("", "budget remove acme agent:bot/day").code(3);
    assert!(stderr(&again).contains("budget show"), "{}", stderr(&again));
}

#[test]
fn top_shows_itself_again_until_it_is_stopped() {
    let books = Books::open();
    books.region.says("", "budget set acme tenant/day 5");
    let mut top = std::process::Command::new(env!("CARGO_BIN_EXE_aegisctl"))
        .arg("--data")
        .arg(books.region.home.path(""))
        .args(["budget", "top", "--watch", "--control", &books.region.url])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(top.stdout.take().unwrap()).lines().map(Result::unwrap);
    assert!(lines.any(|line| line.contains("$5.00")));
    books.region.says("", "budget set acme tenant/day 6");
    assert!(lines.any(|line| line.contains("$6.00")));
    top.kill().unwrap();
    top.wait().unwrap();
}

#[test]
fn what_is_no_budget_or_no_correction_is_said_before_anything_is_sent() {
    let region = Region::shaped(Home::empty(), |control| control);
    for (line, said) in [
        ("budget set acme bot/day 5", "scope"),
        ("budget set acme agent:bot/week 5", "window"),
        ("budget set acme agent:bot/day -5", ""),
        ("budget set acme agent:bot/day 5 --warn-at 110%", "100%"),
        ("budget adjust acme tenant/day --reason x", "--add"),
        ("budget adjust acme tenant/day --add 1 --subtract 1 --reason x", "cannot be used"),
        ("budget adjust acme tenant/day --add 1", "--reason"),
    ] {
        let wrong = stderr(&region.run("", line).code(2));
        assert!(wrong.contains(said), "{line}: {wrong}");
    }
    region.says("", "budget set acme tenant/day 5");
    let shown = region.run("", "budget show").success();
    assert!(stdout(&shown).contains("$5.00"), "{}", stdout(&shown));
    assert!(stderr(&shown).contains("no hot state"), "{}", stderr(&shown));
    let top = region.run("", "budget top").code(1);
    assert!(stderr(&top).contains("no-hot-state"), "{}", stderr(&top));
}
