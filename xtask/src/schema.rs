//! `policies/schema/aegis-policy.schema.json` in step with the language.
//!
//! Not here: what the schema says (`policies/language`). Invariant: the file is generated whole, byte for byte; nobody
//! edits it.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use aegis_policy_language::schema_text;
use anyhow::Context as _;

use crate::finding::Finding;

pub(crate) const FILE: &str = "policies/schema/aegis-policy.schema.json";

pub(crate) fn check(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let text = match fs::read_to_string(root.join(FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error).context(FILE),
    };
    Ok(difference(&text).into_iter().collect())
}

pub(crate) fn fix(root: &Path) -> anyhow::Result<()> {
    let path = root.join(FILE);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).context(FILE)?;
    }
    fs::write(path, schema_text()).context(FILE)
}

/// The first line in which the file is not what the language says.
fn difference(text: &str) -> Option<Finding> {
    let wanted = schema_text();
    if text == wanted {
        return None;
    }
    let same = text.lines().zip(wanted.lines()).take_while(|(has, wants)| has == wants).count();
    Some(Finding {
        file: FILE.into(),
        line: same.saturating_add(1),
        problem: "the schema is not that of the language".into(),
        cure: "run `cargo xtask fix`".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_or_missing_schema_is_found_where_it_differs_and_fix_repairs_it() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(check(home.path()).unwrap()[0].line, 1);
        fix(home.path()).unwrap();
        assert_eq!(check(home.path()).unwrap(), Vec::new());
        let stale = schema_text().replacen("\"title\"", "\"titel\"", 1);
        let line = stale.lines().position(|line| line.contains("titel")).unwrap() + 1;
        fs::write(home.path().join(FILE), stale).unwrap();
        assert_eq!(check(home.path()).unwrap()[0].line, line);
    }
}
