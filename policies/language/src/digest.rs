//! The digest that names a policy source: SHA-256 over its canonical JSON.
//!
//! Not here: the digest of what it compiles to (`snapshot`). Invariant: comments, layout, key order and the choice
//! of YAML or JSON do not change it. Several files count in the order of their names, one line each.

use sha2::{Digest as _, Sha256};

use crate::canonical;
use aegis_document::Document;

pub(crate) fn of(documents: &[Document]) -> String {
    let mut documents: Vec<&Document> = documents.iter().collect();
    documents.sort_by_key(|document| document.file());
    let texts: Vec<String> = documents
        .iter()
        .filter_map(|document| document.decode(|root, problems| root.json(problems)).ok())
        .map(|json| canonical::json(&json))
        .collect();
    canonical::hex(&Sha256::digest(texts.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::canonical::hex;

    fn digest(text: &str) -> String {
        of(&[Document::parse("f", text).unwrap()])
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
    fn keys_are_sorted_by_utf_16() {
        // RFC 8785 §3.2.3: U+1F600 is D83D DE00 in UTF-16 and so comes before U+FB33.
        let json = "{\"\u{1f600}\":1,\"\u{fb33}\":2}";
        assert_eq!(digest("{\"\u{fb33}\": 2, \"\u{1f600}\": 1}"), hex(&Sha256::digest(json)));
    }
}
