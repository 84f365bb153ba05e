//! `docs/reasons.md` in step with `domain::Reason`: one code, one row.
//!
//! Not here: what a reason means (`domain`). Invariant: the table between the markers is generated, byte for byte; the
//! prose around it is people's.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use aegis_domain::Reason;
use anyhow::Context as _;

use crate::document::section;
use crate::finding::Finding;

pub(crate) const FILE: &str = "docs/reasons.md";
const MARKER: &str = "reasons";

pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let text = fs::read_to_string(root.join(FILE)).context(FILE)?;
    Ok(difference(&text)?.into_iter().collect())
}

pub(crate) fn fix(root: &Path) -> anyhow::Result<()> {
    let path = root.join(FILE);
    let text = fs::read_to_string(&path).context(FILE)?;
    let (_, inside) = section(&text, MARKER).context(FILE)?;
    let opening = format!("<!-- {MARKER} -->\n");
    let fixed = text.replacen(&format!("{opening}{inside}"), &format!("{opening}{}", table()), 1);
    fs::write(&path, fixed).context(FILE)
}

/// The first line in which the document is not what the enum says.
fn difference(text: &str) -> anyhow::Result<Option<Finding>> {
    let (first_line, inside) = section(text, MARKER).context(FILE)?;
    let wanted = table();
    let (mut has, mut wants) = (inside.lines(), wanted.lines());
    for line in first_line.. {
        let problem = match (has.next(), wants.next()) {
            (None, None) => break,
            (Some(has), Some(wants)) if has == wants => continue,
            (_, Some(wants)) => format!("the row should be {wants:?}"),
            (Some(has), None) => format!("no reason has the row {has:?}"),
        };
        let cure = "run `cargo xtask fix`".into();
        return Ok(Some(Finding { file: FILE.into(), line, problem, cure }));
    }
    Ok(None)
}

fn table() -> String {
    let mut table = String::from("| code | fault | what to do |\n|---|---|---|\n");
    for reason in Reason::ALL {
        let advice = reason.advice().replace('<', "\\<").replace('|', "\\|");
        // Writing to a String cannot fail.
        writeln!(table, "| `{}` | {:?} | {advice} |", reason.code(), reason.fault()).ok();
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(table: &str) -> String {
        format!("# Reasons\n\n<!-- reasons -->\n{table}<!-- end reasons -->\n\nAfter.\n")
    }

    #[test]
    fn every_reason_has_its_row() {
        assert_eq!(difference(&page(&table())).unwrap(), None);
        let rows = table();
        assert!(
            Reason::ALL.iter().all(|reason| rows.contains(&format!("| `{}` |", reason.code())))
        );
    }

    #[test]
    fn a_missing_an_extra_and_a_changed_row_are_found_where_they_are() {
        let good = table();
        let missing: String = good
            .lines()
            .filter(|line| !line.contains("`Allowed`"))
            .map(|l| format!("{l}\n"))
            .collect();
        let extra = format!("{good}| `Invented` | Call | nothing |\n");
        let changed = good.replace("| `TokenExpired` | Identity |", "| `TokenExpired` | Call |");
        for (text, code) in
            [(&missing, "Allowed"), (&extra, "Invented"), (&changed, "TokenExpired")]
        {
            let found = difference(&page(text)).unwrap().unwrap();
            assert!(found.problem.contains(code), "{found}");
        }
        let last = good.lines().count() + 4;
        assert_eq!(difference(&page(&extra)).unwrap().unwrap().line, last);
    }

    #[test]
    fn fix_repairs_the_table_and_leaves_the_prose() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir(home.path().join("docs")).unwrap();
        fs::write(home.path().join(FILE), page("| old |\n")).unwrap();
        fix(home.path()).unwrap();
        assert_eq!(fs::read_to_string(home.path().join(FILE)).unwrap(), page(&table()));
    }
}
