//! The digest that names a policy source: SHA-256 over its canonical JSON.
//!
//! Not here: the digest of what it compiles to (`snapshot`). Invariant: comments, layout, key order, the choice of YAML or
//! JSON and the folders files lie in do not change it. Several files count in the order of their names, one line each.

use sha2::{Digest as _, Sha256};

use crate::{Source, canonical};
use aegis_document::Document;

/// The files in the order in which they count, and the digest over them.
pub(crate) fn of(documents: &[Document]) -> (Vec<Source>, String) {
    let mut files: Vec<(Source, String)> = documents.iter().filter_map(counted).collect();
    files.sort_by(|(a, a_json), (b, b_json)| (&a.file, a_json).cmp(&(&b.file, b_json)));
    let (sources, texts): (Vec<Source>, Vec<String>) = files.into_iter().unzip();
    (sources, canonical::hex(&Sha256::digest(texts.join("\n"))))
}

/// A file and what of it is hashed.
fn counted(document: &Document) -> Option<(Source, String)> {
    let json = document.decode(|root, problems| root.json(problems)).ok()?;
    let file = document.file().rsplit(['/', '\\']).next().unwrap_or_default().to_owned();
    Some((Source { file, text: document.text().to_owned() }, canonical::json(&json)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::hex;

    fn digest(text: &str) -> String {
        of(&[Document::parse("f", text).unwrap()]).1
    }

    #[test]
    fn layout_and_notation_do_not_change_the_digest() {
        let json = r#"{"a":1,"b":["x",0.000001,true,null]}"#;
        let expected = hex(&Sha256::digest(json));
        assert_eq!(digest(json), expected);
        assert_eq!(digest("# c\nb: [x, 1e-6, true, ~]\na: 1.0\n"), expected);
        assert_ne!(digest("{a: 2}"), digest("{a: 1}"));
    }

    #[test]
    fn folders_and_the_order_of_reading_do_not_change_the_digest() {
        let file = |name: &str, text: &str| Document::parse(name, text).unwrap();
        let (sources, digest) = of(&[file("x/b", "{b: 1}"), file("y/a", "{a: 1}")]);
        assert_eq!(sources[0], Source { file: "a".to_owned(), text: "{a: 1}".to_owned() });
        assert_eq!(digest, of(&[file("a", "{a: 1}"), file("b", "{b: 1}")]).1);
    }

    #[test]
    fn keys_are_sorted_by_utf_16() {
        // RFC 8785 §3.2.3: U+1F600 is D83D DE00 in UTF-16 and so comes before U+FB33.
        let json = "{\"\u{1f600}\":1,\"\u{fb33}\":2}";
        assert_eq!(digest("{\"\u{fb33}\": 2, \"\u{1f600}\": 1}"), hex(&Sha256::digest(json)));
    }
}
