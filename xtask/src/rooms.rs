//! Each outside library has one room, so that it can be replaced from one room.
//!
//! Not here: arrows between our own crates (`layers`). Invariant: only code counts, never a comment or a string; tests
//! may name what they like.

use proc_macro2::{Ident, TokenStream, TokenTree};

use crate::document::{ARCHITECTURE, Map, Room};
use crate::finding::Finding;
use crate::layers::fits;
use crate::source::Source;
use crate::tree::Tree;

pub(crate) fn check(tree: &Tree, map: &Map) -> Vec<Finding> {
    let sources = tree.crates.iter().flat_map(|krate| &krate.sources);
    sources.filter(|source| !source.is_auxiliary()).flat_map(|source| judge(source, map)).collect()
}

fn judge(source: &Source, map: &Map) -> Vec<Finding> {
    let mut named = Vec::new();
    crates_named(&source.tokens, &mut named);
    let own_modules = modules(&source.tokens);
    let mut findings: Vec<Finding> = named
        .iter()
        .filter(|(name, line)| !own_modules.contains(name) && !source.is_test_line(*line))
        .filter_map(|(name, line)| {
            let room = map.rooms.iter().find(|room| fits(&room.library, name))?;
            (!is_inside(room, &source.path)).then(|| Finding {
                file: source.path.clone(),
                line: *line,
                problem: format!("{name} may be named only in {}", room.paths.join(", ")),
                cure: format!("go through that room; the rooms are in {ARCHITECTURE}"),
            })
        })
        .collect();
    findings.dedup();
    findings
}

fn is_inside(room: &Room, path: &str) -> bool {
    room.paths.iter().any(|prefix| path.starts_with(prefix.as_str()))
}

/// Every word at the start of a path or right after `use`, with its line.
fn crates_named(tokens: &TokenStream, found: &mut Vec<(String, usize)>) {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => crates_named(&group.stream(), found),
            TokenTree::Ident(word) => {
                let (before, rest) = tokens.split_at(at);
                let after = rest.get(1..).unwrap_or_default();
                if starts_path(before, after) {
                    found.push((word.to_string(), word.span().start().line));
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn starts_path(before: &[TokenTree], after: &[TokenTree]) -> bool {
    match before {
        [.., TokenTree::Ident(word), first, second] if is_double_colon(first, second) => {
            word == "use"
        }
        [.., TokenTree::Ident(word)] if is_import(word) => true,
        _ => matches!(after, [first, second, ..] if is_double_colon(first, second)),
    }
}

fn is_import(word: &Ident) -> bool {
    word == "use" || word == "crate"
}

fn is_double_colon(first: &TokenTree, second: &TokenTree) -> bool {
    [first, second]
        .into_iter()
        .all(|token| matches!(token, TokenTree::Punct(mark) if mark.as_char() == ':'))
}

/// The modules a file declares: a plain path that begins with one means the module, not a crate of that name.
fn modules(tokens: &TokenStream) -> Vec<String> {
    let tokens: Vec<TokenTree> = tokens.clone().into_iter().collect();
    let pairs = tokens.windows(2);
    pairs
        .filter_map(|pair| match pair {
            [TokenTree::Ident(keyword), TokenTree::Ident(name)] if keyword == "mod" => {
                Some(name.to_string())
            }
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::sample;

    fn lines(path: &str, text: &str) -> Vec<usize> {
        let rooms = "| pingora* | gateway/src/door/, gateway/src/rooms/forward.rs |\n\
                     | redis | state/src/redis |";
        let map = sample("| a | top | nothing |", rooms);
        let source = Source::parse(path.into(), text.into()).unwrap();
        judge(&source, &map).into_iter().map(|finding| finding.line).collect()
    }

    #[test]
    fn a_library_named_outside_its_room_fails() {
        let text = "use pingora_core::Error;\nfn a() -> redis::Client {}\nuse ::redis::x;\n\
                    use redis;\nextern crate redis;\nuse {a, redis::b};\n";
        assert_eq!(lines("gateway/src/wire.rs", text), [1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_library_named_in_its_room_passes() {
        assert!(lines("gateway/src/door/h1.rs", "use pingora_core::Error;").is_empty());
        assert!(lines("gateway/src/rooms/forward.rs", "use pingora::x;").is_empty());
        assert!(lines("state/src/redis/mod.rs", "use redis::x;").is_empty());
    }

    #[test]
    fn words_and_own_modules_are_not_imports() {
        for text in [
            "//! Uses pingora::x.\nconst A: &str = \"use redis::x\";",
            "mod redis;\npub use redis::Home;",
            "use crate::redis::Home;",
            "fn redis(redis: u8) {}",
            "#[cfg(test)]\nmod tests {\n    use redis::x;\n}",
        ] {
            assert!(lines("state/src/lib.rs", text).is_empty(), "{text}");
        }
    }
}
