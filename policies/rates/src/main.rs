//! `aegis-policy-rates`: prints the table of rates and the exceptions.
//!
//! Not here: the measuring (`lib`). Invariant: without the suites it says so and succeeds; nothing is written but text.

use std::io::Write as _;
use std::path::Path;

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut out = std::io::stdout();
    let Some(corpora) = aegis_policy_rates::corpora(&root) else {
        return Ok(writeln!(out, "skipped: corpora absent")?);
    };
    let rates = aegis_policy_rates::measure(&root, &corpora)?;
    writeln!(out, "{}", aegis_policy_rates::table(&rates))?;
    Ok(write!(out, "{}", aegis_policy_rates::exceptions(&rates))?)
}
