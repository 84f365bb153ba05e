//! The sums of budgets as the scripts read and write them: hashes, one for each day, month or day of hours.
//!
//! Not here: what the scripts do with them (`scripts/sheets.lua`). Invariant: what a window adds up is what holds were
//! written into; a day of hours is kept hour by hour and as a whole, so that a long window reads few fields.

use std::ops::RangeInclusive;

use aegis_domain::{BudgetKey, BudgetScope, BudgetWindow, MicroUsd, Timestamp, Ttl};
use redis::Cmd;

use super::keys::{Keys, short};
use crate::budget::When;
use crate::{Budget, Budgets, Overrun, Period};

const HOURS_PER_DAY: u32 = 24;
/// What a script compares a sum with, and whose it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Terms {
    /// What may not be passed; `MicroUsd::MAX` for what only counts or warns.
    limit: MicroUsd,
    /// From where on a grant tells.
    warn_at: Option<MicroUsd>,
    /// The budget's place among those asked about, if this sum decides about it.
    pub(super) nth: Option<u8>,
}

impl Terms {
    pub(super) const NONE: Terms = Terms { limit: MicroUsd::MAX, warn_at: None, nth: None };

    fn of(nth: u8, budget: &Budget) -> Self {
        let (limit, warn_at, nth) = (budget.limit, budget.warn_at, Some(nth));
        match budget.overrun {
            Overrun::Refuse => Self { limit, warn_at, nth },
            Overrun::Warn => {
                let over = limit.saturating_add(MicroUsd::new(1));
                let over = Some(over).filter(|over| *over > limit);
                let warn_at = warn_at.into_iter().chain(over).min();
                Self { limit: MicroUsd::MAX, warn_at, nth }
            }
        }
    }
}

impl std::fmt::Display for Terms {
    /// `<limit>`, or `<limit>:<warning>`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.limit.micro_usd())?;
        self.warn_at.map_or(Ok(()), |warn_at| write!(f, ":{}", warn_at.micro_usd()))
    }
}

/// What a hold counts in during one period: with a rolling window, one hour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sheet {
    pub(super) window: BudgetWindow,
    pub(super) index: u32,
    pub(super) lines: Vec<(BudgetScope, Terms)>,
}

impl Sheet {
    /// The sheets a call counts in that was decided at `at`.
    pub(super) fn all(budgets: &Budgets, at: Timestamp) -> Vec<Sheet> {
        let entries = (0..).zip(budgets.iter()).map(|(nth, budget)| {
            let Budget { key, .. } = budget;
            // The hour of a decision says nothing about the whole window.
            let terms = match key.window {
                BudgetWindow::Day | BudgetWindow::Month => Terms::of(nth, budget),
                BudgetWindow::Rolling(_) => Terms::NONE,
            };
            (key.window, Period::of(key.window, at).index, key.scope.clone(), terms)
        });
        Self::group(entries)
    }

    pub(super) fn group(
        entries: impl IntoIterator<Item = (BudgetWindow, u32, BudgetScope, Terms)>,
    ) -> Vec<Sheet> {
        let mut sheets: Vec<Sheet> = Vec::new();
        for (window, index, scope, terms) in entries {
            let known = sheets.iter_mut().find(|s| s.window == window && s.index == index);
            match known {
                Some(sheet) => sheet.lines.push((scope, terms)),
                None => sheets.push(Sheet { window, index, lines: vec![(scope, terms)] }),
            }
        }
        sheets
    }

    pub(super) fn key(&self, keys: &Keys) -> String {
        keys.sheet(self.window, page(self.window, self.index))
    }

    /// How long from `now` the sheet is of use. Relative, so that a server whose clock is off keeps it as long.
    pub(super) fn life(&self, now: Timestamp) -> Ttl {
        life(self.window, self.index, now)
    }

    /// Its life, and for each sum its two fields.
    pub(super) fn add_fields_to(&self, command: &mut Cmd, now: Timestamp) {
        let fields = self.fields();
        command.arg(self.life(now).ms()).arg(fields.len());
        for (Fields { spent, held }, _) in fields {
            command.arg(spent).arg(held);
        }
    }

    /// The same with what each sum is compared with.
    fn add_lines_to(&self, command: &mut Cmd, now: Timestamp) {
        let fields = self.fields();
        command.arg(self.life(now).ms()).arg(fields.len());
        for (Fields { spent, held }, terms) in fields {
            command.arg(spent).arg(held).arg(terms.to_string());
        }
    }

    fn fields(&self) -> Vec<(Fields, Terms)> {
        let mut all = Vec::new();
        for (scope, terms) in &self.lines {
            for place in places(self.window, self.index) {
                all.push((Fields::of(place, scope), *terms));
            }
        }
        all
    }
}

/// The hash that holds a period: days of hours share one.
fn page(window: BudgetWindow, index: u32) -> u32 {
    match window {
        BudgetWindow::Day | BudgetWindow::Month => index,
        BudgetWindow::Rolling(_) => index / HOURS_PER_DAY,
    }
}

fn life(window: BudgetWindow, index: u32, now: Timestamp) -> Ttl {
    let last = match window {
        BudgetWindow::Day | BudgetWindow::Month => index,
        BudgetWindow::Rolling(_) => {
            page(window, index).saturating_mul(HOURS_PER_DAY).saturating_add(HOURS_PER_DAY - 1)
        }
    };
    Period::kept_until(window, last).since(now).max(Ttl::from_s(1))
}

/// What one sum of a hash is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Whole,
    Hour(u32),
}

/// Where in its hash a period is counted.
fn places(window: BudgetWindow, index: u32) -> Vec<Place> {
    match window {
        BudgetWindow::Day | BudgetWindow::Month => vec![Place::Whole],
        BudgetWindow::Rolling(_) => vec![Place::Whole, Place::Hour(index % HOURS_PER_DAY)],
    }
}

/// The two fields of one sum: `sa:bot` and `ha:bot`, or of its eighth hour `7sa:bot` and `7ha:bot`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fields {
    pub(super) spent: String,
    pub(super) held: String,
}

impl Fields {
    fn of(place: Place, scope: &BudgetScope) -> Self {
        let hour = match place {
            Place::Whole => String::new(),
            Place::Hour(hour) => hour.to_string(),
        };
        let name = short(scope);
        Self { spent: format!("{hour}s{name}"), held: format!("{hour}h{name}") }
    }
}

/// How finely a window is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grain {
    /// Whole days where the window has them.
    Coarse,
    Hours,
}

/// One hash a window reads, and which of its sums, the oldest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) page: u32,
    pub(super) key: String,
    pub(super) fields: Vec<Fields>,
}

/// All that a budget's window adds up at an instant, the oldest first.
pub(super) fn slices(key: &BudgetKey, at: Timestamp, grain: Grain) -> Vec<Slice> {
    slices_of(key, Period::all_of(key.window, at), grain)
}

fn slices_of(key: &BudgetKey, periods: RangeInclusive<u32>, grain: Grain) -> Vec<Slice> {
    let (first, last) = (page(key.window, *periods.start()), page(key.window, *periods.end()));
    let keys = Keys::of(&key.tenant);
    let slice = |page| {
        let fields = part(key.window, page, &periods, grain).into_iter();
        Slice {
            page,
            key: keys.sheet(key.window, page),
            fields: fields.map(|place| Fields::of(place, &key.scope)).collect(),
        }
    };
    (first..=last).map(slice).collect()
}

/// What of one hash belongs to the periods.
fn part(
    window: BudgetWindow,
    page: u32,
    periods: &RangeInclusive<u32>,
    grain: Grain,
) -> Vec<Place> {
    if matches!(window, BudgetWindow::Day | BudgetWindow::Month) {
        return vec![Place::Whole];
    }
    let begins = page.saturating_mul(HOURS_PER_DAY);
    let is_in = |hour: &u32| periods.contains(&begins.saturating_add(*hour));
    let hours: Vec<Place> = (0..HOURS_PER_DAY).filter(is_in).map(Place::Hour).collect();
    let is_whole = u32::try_from(hours.len()) == Ok(HOURS_PER_DAY);
    if is_whole && grain == Grain::Coarse { vec![Place::Whole] } else { hours }
}

/// The budgets of a call as `decide` and `extend` weigh them.
pub(super) struct Weighed {
    pub(super) sheets: Vec<Sheet>,
    rolling: Vec<(Terms, Vec<Slice>)>,
}

impl Weighed {
    pub(super) fn of(budgets: &Budgets, when: When) -> Self {
        let rolling =
            (0..).zip(budgets.iter()).filter_map(|(nth, budget)| match budget.key.window {
                BudgetWindow::Day | BudgetWindow::Month => None,
                window @ BudgetWindow::Rolling(_) => {
                    let weighed = Period::weighed(window, when.of(window));
                    let slices = slices_of(&budget.key, weighed, Grain::Coarse);
                    Some((Terms::of(nth, budget), slices))
                }
            });
        Self { sheets: Sheet::all(budgets, when.decided_at), rolling: rolling.collect() }
    }

    pub(super) fn keys(&self, keys: &Keys) -> impl Iterator<Item = String> {
        let sheets = self.sheets.iter().map(|sheet| sheet.key(keys));
        let read = self.rolling.iter().flat_map(|(_, slices)| slices.iter().map(|s| s.key.clone()));
        sheets.chain(read)
    }

    /// Whose sums the script weighs, one after the other: places in its answer count along this.
    pub(super) fn places(&self) -> Vec<Option<u8>> {
        let sheets = self.sheets.iter().flat_map(Sheet::fields).map(|(_, terms)| terms.nth);
        sheets.chain(self.rolling.iter().map(|(terms, _)| terms.nth)).collect()
    }

    pub(super) fn add_to(&self, command: &mut Cmd, now: Timestamp) {
        self.sheets.iter().for_each(|sheet| sheet.add_lines_to(command, now));
        for (terms, slices) in &self.rolling {
            let first_page = slices.first().map_or(0, |slice| slice.page);
            command.arg(terms.to_string()).arg(first_page).arg(slices.len());
            slices.iter().for_each(|slice| slice.add_to(command));
        }
    }
}

impl Slice {
    /// How many fields, and which: spent and held by turns.
    pub(super) fn add_to(&self, command: &mut Cmd) {
        command.arg(self.fields.len() * 2);
        for Fields { spent, held } in &self.fields {
            command.arg(spent).arg(held);
        }
    }
}

/// Where money that is spent at an instant is written.
pub(super) fn written(key: &BudgetKey, at: Timestamp) -> (Ttl, Vec<Fields>) {
    let index = Period::of(key.window, at).index;
    let fields = places(key.window, index).into_iter();
    let fields = fields.map(|place| Fields::of(place, &key.scope)).collect();
    (life(key.window, index, at), fields)
}

#[cfg(test)]
mod tests {
    use aegis_domain::{Hours, TenantId};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_window_reads_each_of_its_hours_once(hours in 1..=Hours::MAX, at_s in 1_000_000_000u64..2_000_000_000) {
            let key = BudgetKey {
                tenant: TenantId::parse("acme").unwrap(),
                scope: BudgetScope::Tenant,
                window: BudgetWindow::Rolling(Hours::new(hours).unwrap()),
            };
            let at = Timestamp::from_unix_s(at_s);
            for grain in [Grain::Coarse, Grain::Hours] {
                let mut read = Vec::new();
                for slice in slices(&key, at, grain) {
                    for Fields { spent, .. } in slice.fields {
                        let begins = slice.page * 24;
                        match spent.strip_suffix("st").unwrap() {
                            "" => read.extend(begins..begins + 24),
                            hour => read.push(begins + hour.parse::<u32>().unwrap()),
                        }
                    }
                }
                prop_assert_eq!(&read, &Period::all_of(key.window, at).collect::<Vec<_>>());
            }
        }
    }
}
