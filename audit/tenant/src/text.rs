//! A package as a file: lines of text, the records among them byte for byte.
//!
//! Not here: whether it holds. Invariant: one package has one text; whatever else is refused.

use std::fmt::Write as _;

use aegis_audit_chain::roster::{Line, Reach};
use aegis_audit_chain::{Hash, Origin};
use aegis_domain::TenantId;

use crate::package::{Package, RegistryPart, Standing, StreamPart};

const TITLE: &str = "aegis.dev/audit/tenant-package@v1";

/// Why a text is no package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} is not what a tenant's package has there")]
pub struct TextError {
    pub line: usize,
}

impl Package {
    pub fn to_text(&self) -> String {
        let mut out = format!("{TITLE}\ntenant {}\n", self.tenant);
        for registry in &self.registries {
            line(&mut out, &format!("registry {} {}", registry.origin, registry.records.len()));
            records(&mut out, &registry.records);
            registry.streams.iter().for_each(|stream| write(&mut out, stream));
        }
        out
    }

    pub fn parse(text: &str) -> Result<Self, TextError> {
        let mut lines = Lines { text, at: 0 };
        let package = read(&mut lines).filter(|package| package.to_text() == text);
        package.ok_or(TextError { line: lines.at })
    }
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn records(out: &mut String, records: &[Vec<u8>]) {
    // A record that is no UTF-8 was refused when it was written and when it was read.
    records.iter().for_each(|record| line(out, &String::from_utf8_lossy(record)));
}

fn write(out: &mut String, stream: &StreamPart) {
    let StreamPart { origin, size, records: own, path, standing, roster } = stream;
    // Writing to a String cannot fail.
    writeln!(out, "stream {origin} {size} {}", own.len()).ok();
    records(out, own);
    path.iter().for_each(|hash| line(out, &format!("path {}", hash.standard())));
    match standing {
        Standing::Present { index, reach } => {
            let last = reach.last.standard();
            line(out, &format!("reach {index} {} {last}", reach.records));
        }
        Standing::Absent(beside) => beside.iter().for_each(|(index, shown)| {
            let (key, value) = (shown.key.standard(), shown.value.standard());
            line(out, &format!("beside {index} {key} {value}"));
        }),
    }
    roster.iter().for_each(|hash| line(out, &format!("roster {}", hash.standard())));
}

/// The lines that are still to be read, each of which must end.
struct Lines<'t> {
    text: &'t str,
    at: usize,
}

impl<'t> Lines<'t> {
    fn next(&mut self) -> Option<&'t str> {
        self.at = self.at.saturating_add(1);
        let (line, rest) = self.text.split_once('\n')?;
        self.text = rest;
        Some(line)
    }

    /// The next line without its first word, if that is it; else the line stays.
    fn word(&mut self, word: &str) -> Option<&'t str> {
        let rest = self.text.strip_prefix(word)?.strip_prefix(' ')?;
        let (line, rest) = rest.split_once('\n')?;
        (self.text, self.at) = (rest, self.at.saturating_add(1));
        Some(line)
    }

    fn records(&mut self, count: &str) -> Option<Vec<Vec<u8>>> {
        let count: usize = count.parse().ok()?;
        (0..count).map(|_| self.next().map(|line| line.as_bytes().to_vec())).collect()
    }

    fn hashes(&mut self, word: &str) -> Option<Vec<Hash>> {
        let mut hashes = Vec::new();
        while let Some(hash) = self.word(word) {
            hashes.push(Hash::parse_standard(hash)?);
        }
        Some(hashes)
    }
}

fn read(lines: &mut Lines<'_>) -> Option<Package> {
    if lines.next()? != TITLE {
        return None;
    }
    let tenant = TenantId::parse(lines.word("tenant")?).ok()?;
    let mut registries = Vec::new();
    while let Some(named) = lines.word("registry") {
        let (origin, count) = named.split_once(' ')?;
        let origin = Origin::parse(origin).ok()?;
        let (records, mut streams) = (lines.records(count)?, Vec::new());
        while let Some(named) = lines.word("stream") {
            streams.push(read_stream(lines, named)?);
        }
        registries.push(RegistryPart { origin, records, streams });
    }
    lines.text.is_empty().then_some(Package { tenant, registries })
}

fn read_stream(lines: &mut Lines<'_>, named: &str) -> Option<StreamPart> {
    let mut words = named.split(' ');
    let origin = Origin::parse(words.next()?).ok()?;
    let size = words.next()?.parse().ok()?;
    let records = lines.records(words.next()?)?;
    let path = lines.hashes("path")?;
    let standing = read_standing(lines)?;
    let roster = lines.hashes("roster")?;
    words.next().is_none().then_some(StreamPart { origin, size, records, path, standing, roster })
}

fn read_standing(lines: &mut Lines<'_>) -> Option<Standing> {
    if let Some(reach) = lines.word("reach") {
        let (index, rest) = reach.split_once(' ')?;
        let (records, last) = rest.split_once(' ')?;
        let last = Hash::parse_standard(last)?;
        let reach = Reach { records: records.parse().ok()?, last };
        return Some(Standing::Present { index: index.parse().ok()?, reach });
    }
    let mut beside = Vec::new();
    while let Some(shown) = lines.word("beside") {
        let (index, rest) = shown.split_once(' ')?;
        let (key, value) = rest.split_once(' ')?;
        let line = Line { key: Hash::parse_standard(key)?, value: Hash::parse_standard(value)? };
        beside.push((index.parse().ok()?, line));
    }
    Some(Standing::Absent(beside))
}
