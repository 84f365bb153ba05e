//! Amounts as people write and read them.
//!
//! Not here: arithmetic (`domain`). Invariant: no decimal that is not 0 is left out, and what is shown reads back.

use aegis_domain::MicroUsd;

/// Reads dollars, with or without the sign.
pub(crate) fn amount(text: &str) -> Result<MicroUsd, String> {
    MicroUsd::parse_usd(text.strip_prefix('$').unwrap_or(text)).map_err(|error| error.to_string())
}

/// Dollars with two decimals, or with as many more as there are.
pub(crate) fn dollars(amount: MicroUsd) -> String {
    let text = amount.to_string();
    let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
    let decimals = format!("{:0<2}", decimals.trim_end_matches('0'));
    format!("${whole}.{decimals}")
}

/// A change of so many micro-dollars, with its sign.
pub(crate) fn change(micro_usd: i64) -> String {
    let sign = if micro_usd < 0 { "-" } else { "+" };
    format!("{sign}{}", dollars(MicroUsd::new(micro_usd.unsigned_abs())))
}

/// Where a warning begins: a share of the limit, or an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WarnAt {
    Percent(u64),
    Amount(MicroUsd),
}

impl WarnAt {
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(percent) = text.strip_suffix('%') else { return amount(text).map(Self::Amount) };
        let percent = percent.parse().ok().filter(|percent| (1..=100).contains(percent));
        percent.map(Self::Percent).ok_or_else(|| "expected 1% to 100%, or an amount".to_owned())
    }

    pub(crate) fn of(self, limit: MicroUsd) -> MicroUsd {
        match self {
            WarnAt::Percent(percent) => limit.for_units(percent, 100).unwrap_or(limit),
            WarnAt::Amount(amount) => amount,
        }
    }
}

/// What part of a whole something is, in percent; more than the whole of nothing is all of it.
pub(crate) fn percent(part: u64, whole: u64) -> u64 {
    let scaled = u128::from(part).saturating_mul(100);
    let percent = scaled.checked_div(u128::from(whole));
    percent.map_or(100, |percent| u64::try_from(percent).unwrap_or(u64::MAX))
}

/// A bar of what is spent and held of a limit.
pub(crate) fn bar(spent: u64, held: u64, limit: u64) -> String {
    const CELLS: u64 = 20;
    let cells = |amount| percent(amount, limit).min(100).saturating_mul(CELLS).div_ceil(100);
    let full = cells(spent);
    let used = cells(spent.saturating_add(held)).max(full);
    let run = |letter: &str, count: u64| letter.repeat(usize::try_from(count).unwrap_or_default());
    let (held, free) = (used.saturating_sub(full), CELLS.saturating_sub(used));
    [run("█", full), run("▒", held), run("░", free)].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_shown_with_as_many_decimals_as_matter() {
        for (micro, shown) in [
            (0, "$0.00"),
            (1_500_000, "$1.50"),
            (25_000_000, "$25.00"),
            (150, "$0.00015"),
            (1_000_001, "$1.000001"),
            (1_234_500, "$1.2345"),
        ] {
            assert_eq!(dollars(MicroUsd::new(micro)), shown);
            assert_eq!(amount(shown), Ok(MicroUsd::new(micro)));
        }
    }

    #[test]
    fn a_warning_is_a_share_or_an_amount() {
        let at = |text: &str| WarnAt::parse(text).map(|warn| warn.of(MicroUsd::new(25_000_000)));
        assert_eq!(at("80%"), Ok(MicroUsd::new(20_000_000)));
        assert_eq!(at("12.5"), Ok(MicroUsd::new(12_500_000)));
        for wrong in ["0%", "101%", "%", "-1", "1.5%"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_bar_tells_spent_from_held_and_never_overflows() {
        assert_eq!(bar(50, 25, 100), "██████████▒▒▒▒▒░░░░░");
        assert_eq!(bar(1, 0, 100), "█░░░░░░░░░░░░░░░░░░░");
        assert_eq!(bar(300, 1, 100), "█".repeat(20));
        assert_eq!(bar(0, 0, 0), "█".repeat(20));
        assert_eq!(percent(u64::MAX, 1), u64::MAX);
    }
}
