//! The words of emitted Rego, for the linter: names, numbers, strings and punctuation of one line.
//!
//! Not here: which sequences of words are allowed (`linter`). Invariant: a line that holds anything else has no
//! tokens at all.

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token<'l> {
    Word(&'l str),
    Number(&'l str),
    /// A JSON string, with its quotes.
    Text(&'l str),
    /// A raw string, without its back-quotes.
    Raw(&'l str),
    Mark(&'l str),
}

const MARKS: [&str; 17] =
    [":=", "==", ">=", "<=", ">", "<", "(", ")", "[", "]", "{", "}", ",", ":", ".", "_,", "-"];

/// The tokens of one line, or `None` when something in it is no token.
pub(super) fn tokens(line: &str) -> Option<Vec<Token<'_>>> {
    let mut tokens = Vec::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (token, length) = first(rest)?;
        tokens.push(token);
        rest = rest.get(length..)?.trim_start_matches([' ', '\t']);
    }
    Some(tokens)
}

fn first(text: &str) -> Option<(Token<'_>, usize)> {
    let begins = text.chars().next()?;
    if begins == '"' {
        let length = json_string(text)?;
        return text.get(..length).map(|string| (Token::Text(string), length));
    }
    if let Some(raw) = text.strip_prefix('`') {
        let end = raw.find('`')?;
        return raw.get(..end).map(|raw| (Token::Raw(raw), end.saturating_add(2)));
    }
    if begins.is_ascii_digit() || begins == '-' {
        let length = text
            .find(|c: char| !(c.is_ascii_digit() || matches!(c, '-' | '.')))
            .unwrap_or(text.len());
        let number = text.get(..length)?;
        serde_json::from_str::<serde_json::Number>(number).ok()?;
        return Some((Token::Number(number), length));
    }
    if begins.is_ascii_alphabetic() || begins == '_' {
        let length =
            text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
        return text.get(..length).map(|word| (Token::Word(word), length));
    }
    let mark = MARKS.into_iter().find(|mark| text.starts_with(mark))?;
    Some((Token::Mark(mark), mark.len()))
}

/// How long the JSON string at the beginning of the text is.
fn json_string(text: &str) -> Option<usize> {
    let mut strings = serde_json::Deserializer::from_str(text).into_iter::<String>();
    strings.next()?.ok()?;
    Some(strings.byte_offset())
}
