//! Tables in our own documents: the map in `docs/architecture.md` is the law that `check` holds the code against.
//!
//! Not here: judging code by them. Invariant: a table stands between `<!-- name -->` and `<!-- end name -->`; one that is
//! missing or malformed is an error, never an empty table.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use crate::finding::Finding;

/// Where the map is drawn.
pub(crate) const ARCHITECTURE: &str = "docs/architecture.md";
/// Where it is said which test holds what.
const TESTED: [&str; 2] = ["docs/testing.md", "docs/threat-model.md"];

/// What a crate is, and which of our crates it may list.
pub(crate) struct Layer {
    pub(crate) dir: String,
    pub(crate) pure: Purity,
    pub(crate) may_import: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purity {
    /// No runtime, network, clock or randomness.
    Pure,
    Touching,
}

/// An outside library and the path prefixes under which it may be named.
pub(crate) struct Room {
    /// A crate name as written in code; a trailing `*` stands for any ending.
    pub(crate) library: String,
    pub(crate) paths: Vec<String>,
}

pub(crate) struct Map {
    pub(crate) layers: Vec<Layer>,
    pub(crate) rooms: Vec<Room>,
}

impl Map {
    pub(crate) fn read(root: &Path) -> anyhow::Result<Self> {
        Self::parse(&fs::read_to_string(root.join(ARCHITECTURE)).context(ARCHITECTURE)?)
    }

    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let layers = rows(text, "layers")?.into_iter().map(layer).collect::<anyhow::Result<_>>()?;
        let rooms = rows(text, "rooms")?.into_iter().map(room).collect::<anyhow::Result<_>>()?;
        Ok(Self { layers, rooms })
    }

    pub(crate) fn layer(&self, dir: &str) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.dir == dir)
    }
}

/// The text between the markers of `name`, and the number of its first line.
pub(crate) fn section<'a>(text: &'a str, name: &str) -> anyhow::Result<(usize, &'a str)> {
    let (before, rest) = text
        .split_once(&format!("<!-- {name} -->\n"))
        .with_context(|| format!("marker <!-- {name} --> is missing"))?;
    let (inside, _) = rest
        .split_once(&format!("<!-- end {name} -->"))
        .with_context(|| format!("marker <!-- end {name} --> is missing"))?;
    Ok((before.lines().count().saturating_add(2), inside))
}

/// Every path the prose of the map names that does not exist. Tables of law are exempt: they run ahead of the code.
pub(crate) fn dead_paths(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let text = fs::read_to_string(root.join(ARCHITECTURE)).context(ARCHITECTURE)?;
    let mut in_law = false;
    let mut findings = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.starts_with("<!-- ") {
            in_law = !line.starts_with("<!-- end ");
        }
        let quoted = line.split('`').skip(1).step_by(2).filter(|word| is_path(word));
        findings.extend(quoted.filter(|path| !in_law && !root.join(path).exists()).map(|path| {
            Finding {
                file: ARCHITECTURE.into(),
                line: at.saturating_add(1),
                problem: format!("{path} does not exist"),
                cure: "name where it is now".into(),
            }
        }));
    }
    Ok(findings)
}

fn is_path(word: &str) -> bool {
    word.contains('/')
        && word.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-'))
}

/// Every test that these pages name, as `path.rs::name`, and that is not there.
pub(crate) fn dead_tests(root: &Path) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for page in TESTED {
        findings.extend(dead_tests_of(page, root)?);
    }
    Ok(findings)
}

fn dead_tests_of(page: &str, root: &Path) -> anyhow::Result<Vec<Finding>> {
    let text = fs::read_to_string(root.join(page)).with_context(|| page.to_owned())?;
    let mut findings = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let quoted = line.split('`').skip(1).step_by(2);
        let named = quoted.filter_map(|word| word.split_once(".rs::"));
        for (path, test) in named {
            let path = format!("{path}.rs");
            let source = fs::read_to_string(root.join(&path)).unwrap_or_default();
            if !source.contains(&format!("fn {test}(")) {
                findings.push(Finding {
                    file: page.into(),
                    line: at.saturating_add(1),
                    problem: format!("{path} has no test {test}"),
                    cure: "name where it is now".into(),
                });
            }
        }
    }
    Ok(findings)
}

/// The cells of a table, without its heading, its rule and the back-ticks.
fn rows(text: &str, name: &str) -> anyhow::Result<Vec<Vec<String>>> {
    let (_, inside) = section(text, name)?;
    let rows: Vec<Vec<String>> = inside
        .lines()
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            let cells = line.trim_matches('|').split('|');
            cells.map(|cell| cell.replace('`', "").trim().to_owned()).collect()
        })
        .collect();
    anyhow::ensure!(!rows.is_empty(), "{ARCHITECTURE}: table {name} has no rows");
    Ok(rows)
}

fn layer(cells: Vec<String>) -> anyhow::Result<Layer> {
    let [dir, kind, imports] = cells.as_slice() else {
        anyhow::bail!("{ARCHITECTURE}: table layers wants: crate, kind, may import");
    };
    let pure = match kind.as_str() {
        "pure" => Purity::Pure,
        "adapter" | "top" | "tool" => Purity::Touching,
        other => {
            anyhow::bail!("{ARCHITECTURE}: {dir} is {other:?}, not pure, adapter, top or tool")
        }
    };
    let may_import = match imports.as_str() {
        "nothing" => Vec::new(),
        list => split(list),
    };
    Ok(Layer { dir: dir.clone(), pure, may_import })
}

fn room(cells: Vec<String>) -> anyhow::Result<Room> {
    let [libraries, paths] = cells.as_slice() else {
        anyhow::bail!("{ARCHITECTURE}: table rooms wants: library, room");
    };
    Ok(Room { library: libraries.clone(), paths: split(paths) })
}

fn split(list: &str) -> Vec<String> {
    list.split(',').map(|word| word.trim().to_owned()).collect()
}

/// The rows of a map for the tests of the checks.
#[cfg(test)]
pub(crate) fn sample(layers: &str, rooms: &str) -> Map {
    let table = |name: &str, heading: &str, rows: &str| {
        format!("<!-- {name} -->\n{heading}\n|---|\n{rows}\n<!-- end {name} -->\n")
    };
    let text = table("layers", "| crate | kind | may import |", layers)
        + &table("rooms", "| library | room |", rooms);
    Map::parse(&text).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_without_its_table_is_an_error_not_an_empty_law() {
        assert!(Map::parse("").is_err());
        assert!(Map::parse("<!-- layers -->\n| a |\n|---|\n<!-- end layers -->").is_err());
    }

    #[test]
    fn a_path_that_moved_is_found_outside_the_tables_of_law() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("docs")).unwrap();
        let text =
            "See `docs/architecture.md` and\n`a b/c`, `gone/x.rs`.\n<!-- rooms -->\n| `soon/x` |\n";
        fs::write(home.path().join(ARCHITECTURE), text).unwrap();
        let found = dead_paths(home.path()).unwrap();
        assert_eq!(found.len(), 1);
        assert!(
            found[0].to_string().starts_with("docs/architecture.md:2: gone/x.rs"),
            "{}",
            found[0]
        );
    }

    #[test]
    fn a_test_that_the_page_names_must_be_there() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("docs")).unwrap();
        fs::write(home.path().join("a.rs"), "fn there() {}\n").unwrap();
        let text = "`a.rs::there`\n`a.rs::gone`, `b.rs::there`\n";
        fs::write(home.path().join("docs/testing.md"), text).unwrap();
        fs::write(home.path().join("docs/threat-model.md"), "`a.rs::there`\n").unwrap();
        let found = dead_tests(home.path()).unwrap();
        let found: Vec<_> = found.iter().map(|it| (it.line, it.problem.as_str())).collect();
        assert_eq!(found, [(2, "a.rs has no test gone"), (2, "b.rs has no test there")]);
    }

    #[test]
    fn a_row_is_read_without_its_decoration() {
        let map = sample("| `dlp` | pure | `domain`, `x` |", "| `redis` | `state/src/redis` |");
        assert_eq!(map.layer("dlp").unwrap().may_import, ["domain", "x"]);
        assert_eq!(map.rooms[0].library, "redis");
    }
}
