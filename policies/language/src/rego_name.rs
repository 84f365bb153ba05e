//! What names of the language become in Rego: the package of a tool, and the words no identifier may be.
//!
//! Not here: the Rego itself (`policies/engine`). The language knows these because two tools with one package are an
//! error of whoever named them, and are reported where they stand.

use aegis_domain::ToolName;

/// The last part of a tool's package: its name with everything else turned into `_`.
pub fn package_of(tool: &ToolName) -> String {
    let plain: String = tool
        .as_str()
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '_' })
        .collect();
    if plain.starts_with(|c: char| c.is_ascii_digit()) || is_keyword(&plain) {
        format!("t_{plain}")
    } else {
        plain
    }
}

/// Rego's keywords, with and without `import rego.v1`.
const KEYWORDS: [&str; 17] = [
    "as", "contains", "data", "default", "else", "every", "false", "if", "import", "in", "input",
    "not", "null", "package", "some", "true", "with",
];

pub fn is_keyword(name: &str) -> bool {
    KEYWORDS.contains(&name)
}
