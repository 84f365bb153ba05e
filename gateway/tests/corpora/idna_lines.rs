//! `IdnaTestV2.txt` as lines of a source and the A-labels it stands for.
//!
//! Not here: what a line's status excuses (`address/tests/corpora/idna.rs`). Invariant: a column that is left out is the one
//! before it, as the file's header says.

pub(crate) struct Line {
    pub(crate) source: String,
    /// What the standard makes of it, whether it calls that valid or not.
    pub(crate) ascii: String,
}

/// The lines that are texts, and how many there are in all.
pub(crate) fn read(data: &str) -> (Vec<Line>, usize) {
    let lines: Vec<&str> =
        data.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    (lines.iter().filter_map(|line| parse(line)).collect(), lines.len())
}

fn parse(line: &str) -> Option<Line> {
    let data = line.split('#').next()?.trim();
    let columns: Vec<&str> = data.split(';').map(str::trim).collect();
    let &[source, unicode, _, ascii, ..] = columns.as_slice() else { return None };
    let or = |column: String, other: &str| match column.as_str() {
        "" => other.to_owned(),
        "\"\"" => String::new(),
        _ => column,
    };
    let source = or(unescape(source)?, "");
    let unicode = or(unescape(unicode)?, &source);
    let ascii = or(unescape(ascii)?, &unicode);
    Some(Line { source, ascii })
}

/// `\uXXXX` and `\x{XXXX}`; `None` for an unpaired surrogate, which no text of ours can hold.
fn unescape(column: &str) -> Option<String> {
    let mut out = String::new();
    let mut rest = column;
    while let Some((before, escape)) = rest.split_once('\\') {
        out.push_str(before);
        let (digits, after) = match escape.strip_prefix("x{") {
            Some(braced) => braced.split_once('}')?,
            None => escape.strip_prefix('u')?.split_at_checked(4)?,
        };
        out.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
        rest = after;
    }
    Some(out + rest)
}
