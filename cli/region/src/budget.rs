//! `aegisctl budget`: what tenants, teams, agents and tools may spend and have spent, and corrections of that.
//!
//! Not here: comparing it with the audit log (`cli`). Invariant: no amount passes through a float.

use std::cmp::Reverse;
use std::io::{self, IsTerminal as _};
use std::path::Path;

use aegis_control_client::{ClientError, Conditions, encoded};
use aegis_domain::{BudgetKey, BudgetScope, BudgetWindow, MicroUsd, TenantId, Timestamp};
use aegis_registry::{Correction, Purpose};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::Told;
use crate::books::{Books, Order, change_microusd, microusd, new_key};
use crate::money::{WarnAt, amount, bar, change, dollars, percent};
use crate::region::{Access, RegionError};

#[derive(Debug, Subcommand)]
pub enum BudgetCommand {
    Set(SetArgs),
    Remove(RemoveArgs),
    Show(ShowArgs),
    Top(TopArgs),
    Adjust(AdjustArgs),
    History(HistoryArgs),
}

/// Set what a budget may spend, for the whole region.
///
/// It replaces, as a whole, what aegis.yaml says of the budget of the same name. Gateways hear of it within two seconds.
#[derive(Debug, Args)]
#[command(after_help = "\
A name is a scope and a window: tenant, team:<name>, agent:<id> or tool:<name>; day, month or hours such as 24h.
Days and months are those of UTC; a window of hours looks back from now.

Examples:
  aegisctl budget set acme agent:bot/day 25 --warn-at 80%
  aegisctl budget set acme team:ops/month 1200 --soft
  aegisctl budget set acme tool:llm.chat/24h 7.50")]
pub struct SetArgs {
    tenant: TenantId,
    name: Name,
    /// Dollars, with at most six decimals.
    #[arg(value_name = "USD", value_parser = amount)]
    limit: MicroUsd,
    /// Where calls begin to be told how little is left: a share of the limit such as 80%, or dollars.
    #[arg(long, value_name = "USD|%", value_parser = WarnAt::parse)]
    warn_at: Option<WarnAt>,
    /// Let calls beyond it go, and tell them.
    #[arg(long)]
    soft: bool,
    #[command(flatten)]
    access: Access,
}

/// Take back what the region set; what aegis.yaml says of the budget counts again.
#[derive(Debug, Args)]
pub struct RemoveArgs {
    tenant: TenantId,
    name: Name,
    #[command(flatten)]
    access: Access,
}

/// Show what budgets may spend, have spent and hold.
#[derive(Debug, Args)]
#[command(after_help = "\
`held` is what calls under way may cost at most; `left` is what the limit leaves of both.

Examples:
  aegisctl budget show
  aegisctl budget show --tenant acme agent:bot/day
  aegisctl budget show -o json | jq '.[] | select(.left_microusd == 0)'")]
pub struct ShowArgs {
    /// One budget, also one that nobody limits.
    name: Option<Name>,
    /// Of this tenant only.
    #[arg(long)]
    tenant: Option<TenantId>,
    #[command(flatten)]
    access: Access,
}

/// Show who is nearest the limit.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  aegisctl budget top --watch
  aegisctl budget top --by spent --tenant acme -n 5")]
pub struct TopArgs {
    /// What the first of them has most of.
    #[arg(long, value_enum, default_value_t = By::Share)]
    by: By,
    /// Of this tenant only.
    #[arg(long)]
    tenant: Option<TenantId>,
    /// How many.
    #[arg(short = 'n', long, default_value_t = 10)]
    lines: u16,
    /// Show it again every two seconds until interrupted.
    #[arg(long)]
    watch: bool,
    #[command(flatten)]
    access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// Dollars.
    Spent,
    /// Part of the limit; budgets without one are left out.
    Share,
}

/// Correct by hand what a budget has spent in its window under way.
#[derive(Debug, Args)]
#[command(after_help = "\
Who did it, when, why and by how much is kept for thirteen months; `aegisctl budget history` shows it. Nothing falls below 0.

Examples:
  aegisctl budget adjust acme agent:bot/day --add 1.50 --reason 'invoice 2211: a batch billed late'
  aegisctl budget adjust acme tenant/month --subtract 40 --reason 'refund of the failed export'")]
pub struct AdjustArgs {
    tenant: TenantId,
    name: Name,
    /// Dollars that were spent and are not counted.
    #[arg(long, value_name = "USD", value_parser = amount, required_unless_present = "subtract", conflicts_with = "subtract")]
    add: Option<MicroUsd>,
    /// Dollars that are counted and were not spent.
    #[arg(long, value_name = "USD", value_parser = amount)]
    subtract: Option<MicroUsd>,
    /// For those who ask later; one line.
    #[arg(long)]
    reason: String,
    /// The key of an order that is sent again, so that it is done once.
    #[arg(long, value_name = "KEY")]
    once: Option<String>,
    #[command(flatten)]
    access: Access,
}

/// Show who corrected which budget when, why and by how much.
#[derive(Debug, Args)]
pub struct HistoryArgs {
    tenant: TenantId,
    #[command(flatten)]
    access: Access,
}

/// A budget's name, before anyone said whose.
#[derive(Clone, Debug)]
struct Name(BudgetScope, BudgetWindow);

impl std::str::FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (scope, window) =
            text.rsplit_once('/').ok_or("expected a scope and a window, such as agent:bot/day")?;
        let wrong = |error: aegis_domain::BudgetNameError| error.to_string();
        Ok(Self(scope.parse().map_err(wrong)?, window.parse().map_err(wrong)?))
    }
}

impl Name {
    fn of(&self, tenant: &TenantId) -> BudgetKey {
        let Self(scope, window) = self.clone();
        BudgetKey { tenant: tenant.clone(), scope, window }
    }
}

fn path(key: &BudgetKey) -> String {
    format!("/v1/tenants/{}/budgets/{}", key.tenant, encoded(&key.to_string()))
}

impl BudgetCommand {
    pub fn run(&self, data: &Path, now: Timestamp) -> Result<Told, RegionError> {
        match self {
            BudgetCommand::Set(args) => set(args, data),
            BudgetCommand::Remove(args) => {
                let key = args.name.of(&args.tenant);
                let books = Books::open(&args.access, data)?;
                let gone = books.client().delete(&path(&key), &Conditions::default())?;
                let words = format!("{} {key}: what aegis.yaml says counts again", key.tenant);
                Ok(Told::thing(&gone.body).saying(words))
            }
            BudgetCommand::Show(args) => show(args, data),
            BudgetCommand::Top(args) => top(args, data),
            BudgetCommand::Adjust(args) => adjust(args, data, now),
            BudgetCommand::History(args) => history(args, data),
        }
    }

    /// Whether it is to be run again and again.
    pub fn is_watching(&self) -> bool {
        matches!(self, BudgetCommand::Top(args) if args.watch)
    }
}

fn set(args: &SetArgs, data: &Path) -> Result<Told, RegionError> {
    let key = args.name.of(&args.tenant);
    let wish = json!({
        "limit_microusd": args.limit,
        "warn_at_microusd": args.warn_at.map(|warn| warn.of(args.limit)),
        "overrun": if args.soft { "warn" } else { "refuse" },
    });
    let client = Books::open(&args.access, data)?;
    let budget = client.client().put(&path(&key), &wish, &Conditions::default())?.body;
    let beyond =
        if args.soft { "calls beyond it go, and are told" } else { "calls beyond it are refused" };
    let words = format!("{} {key}: {} at most; {beyond}", key.tenant, dollars(args.limit));
    Ok(rows(vec![budget], Bars::Left).saying(words))
}

/// Whether rows are drawn as well.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Bars {
    Drawn,
    Left,
}

impl Bars {
    /// Drawn for people, not for programs.
    fn here() -> Self {
        if io::stdout().is_terminal() { Bars::Drawn } else { Bars::Left }
    }
}

/// A row for each budget, whatever of it is known.
fn rows(budgets: Vec<Value>, bars: Bars) -> Told {
    let mut columns = vec!["tenant", "name", "limit"];
    if budgets.iter().any(|budget| budget.get("spent_microusd").is_some()) {
        columns.extend(["spent", "held", "left", "used"]);
        if bars == Bars::Drawn {
            columns.push("bar");
        }
        columns.push("resets_at");
    }
    columns.extend(["warn_at", "overrun", "source"]);
    let row = |budget: &Value| columns.iter().map(|column| cell(budget, column)).collect();
    Told {
        rows: budgets.iter().map(row).collect(),
        columns: columns.clone(),
        value: Value::Array(budgets),
        ..Told::default()
    }
}

fn cell(budget: &Value, column: &str) -> Value {
    match column {
        "limit" | "spent" | "held" | "left" | "warn_at" => {
            microusd(budget, &format!("{column}_microusd")).map(dollars).into()
        }
        "used" => share(budget).map(|share| format!("{share} %")).into(),
        "bar" => {
            let micro = |member: &str| microusd(budget, member).map(MicroUsd::micro_usd);
            let (spent, held) = (micro("spent_microusd"), micro("held_microusd"));
            let drawn = spent.zip(held).zip(micro("limit_microusd"));
            drawn.map(|((spent, held), limit)| bar(spent, held, limit)).into()
        }
        _ => budget.get(column).cloned().unwrap_or_default(),
    }
}

/// What part of its limit a budget has spent and holds, in percent.
fn share(budget: &Value) -> Option<u64> {
    let micro = |member: &str| microusd(budget, member).map(MicroUsd::micro_usd);
    let used = micro("spent_microusd")?.saturating_add(micro("held_microusd")?);
    micro("limit_microusd").map(|limit| percent(used, limit))
}

/// The tenant that was named, or all of them.
fn tenants(books: &Books, named: Option<&TenantId>) -> Result<Vec<TenantId>, RegionError> {
    named.map_or_else(|| books.tenants(), |tenant| Ok(vec![tenant.clone()]))
}

fn show(args: &ShowArgs, data: &Path) -> Result<Told, RegionError> {
    let books = Books::open(&args.access, data)?;
    let mut all = Vec::new();
    let mut words = None;
    for tenant in tenants(&books, args.tenant.as_ref())? {
        if let Some(name) = &args.name {
            all.extend(books.spend_of(&tenant, &[name.of(&tenant).to_string()])?);
            continue;
        }
        match books.spend(&tenant) {
            Err(RegionError::Client(ClientError::Refused { kind, detail, .. }))
                if kind == "no-hot-state" =>
            {
                all.extend(books.limits(&tenant)?);
                words = Some(detail);
            }
            spend => all.extend(spend?),
        }
    }
    let told = rows(all, Bars::here());
    Ok(match words {
        Some(words) => told.saying(words),
        None => told,
    })
}

fn top(args: &TopArgs, data: &Path) -> Result<Told, RegionError> {
    let books = Books::open(&args.access, data)?;
    let mut all = Vec::new();
    for tenant in tenants(&books, args.tenant.as_ref())? {
        all.extend(books.spend(&tenant)?);
    }
    match args.by {
        By::Spent => all.sort_by_key(|budget| Reverse(microusd(budget, "spent_microusd"))),
        By::Share => {
            all.retain(|budget| share(budget).is_some());
            all.sort_by_key(|budget| Reverse(share(budget)));
        }
    }
    all.truncate(usize::from(args.lines));
    Ok(rows(all, Bars::here()))
}

fn adjust(args: &AdjustArgs, data: &Path, now: Timestamp) -> Result<Told, RegionError> {
    let budget = args.name.of(&args.tenant);
    let wanted = args.add.map(Correction::Add).or(args.subtract.map(Correction::Subtract));
    let correction = wanted.ok_or(RegionError::Input { what: "the amount" })?;
    let once = args.once.clone().map_or_else(|| new_key(now), Ok)?;
    let books = Books::open(&args.access, data)?;
    let order = Order {
        budget: &budget,
        correction,
        purpose: Purpose::Amend,
        reason: &args.reason,
        once: &once,
    };
    let made = books.adjust(&order)?;
    let (spent, held) = (microusd(&made, "spent_microusd"), microusd(&made, "held_microusd"));
    let show = |amount: Option<MicroUsd>| amount.map(dollars).unwrap_or_default();
    let words = format!("{} {budget}: {} spent, {} held", budget.tenant, show(spent), show(held));
    Ok(corrections(vec![made]).saying(words))
}

fn history(args: &HistoryArgs, data: &Path) -> Result<Told, RegionError> {
    Ok(corrections(Books::open(&args.access, data)?.adjustments(&args.tenant)?))
}

fn corrections(all: Vec<Value>) -> Told {
    let row = |made: &Value| {
        let members = ["at", "by", "budget"].map(|member| cell(made, member));
        let rest = ["purpose", "reason", "applied_at"].map(|member| cell(made, member));
        [members.as_slice(), &[change(change_microusd(made)).into()], &rest].concat()
    };
    Told {
        columns: vec!["at", "by", "budget", "change", "purpose", "reason", "applied_at"],
        rows: all.iter().map(row).collect(),
        value: Value::Array(all),
        ..Told::default()
    }
}
