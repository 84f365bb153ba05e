//! E-mail addresses.
//!
//! Not here: undoing what they are wrapped in (`view`). Invariant: sizes are those of RFC 5321 §4.5.3.1, and the domain
//! ends in a top-level name.

use std::ops::Range;

const LOCAL_MAX: usize = 64;
const DOMAIN_MAX: usize = 255;
const LABEL_MAX: usize = 63;

/// Endings that make `icon@2x.png` a picture.
const PICTURES: &[&str] = &["png", "jpg", "jpeg", "gif", "webp", "svg", "avif", "ico"];

pub(super) fn find(text: &str) -> Vec<Range<usize>> {
    memchr::memchr_iter(b'@', text.as_bytes()).filter_map(|at| address(text, at)).collect()
}

/// The address around the `@` at `at`.
fn address(text: &str, at: usize) -> Option<Range<usize>> {
    let start = local_start(text.get(..at)?)?;
    let domain = domain(text.get(at.checked_add(1)?..)?)?;
    Some(start..at.checked_add(1)?.checked_add(domain.len())?)
}

/// Where the local part that ends `before` starts.
fn local_start(before: &str) -> Option<usize> {
    if let Some(quoted) = before.strip_suffix('"') {
        // RFC 5321 §4.1.2, Quoted-string.
        return quoted.rfind('"').filter(|start| before.len() - start <= LOCAL_MAX);
    }
    let is_local = |c: char| c.is_alphanumeric() || matches!(c, '.' | '_' | '+' | '-');
    let start = before.rfind(|c| !is_local(c)).map_or(0, |at| {
        at + before.get(at..).and_then(|rest| rest.chars().next()).map_or(1, char::len_utf8)
    });
    let mut local = before.get(start..)?;
    // In form data that nobody decoded `+` is a blank: drop words until the rest can be a local part.
    while local.len() > LOCAL_MAX {
        local = local.split_once('+')?.1;
    }
    let trimmed = local.trim_start_matches(['.', '+', '-']);
    (!trimmed.is_empty()).then(|| before.len() - trimmed.len())
}

/// The domain that `after` begins with: labels, the last of them letters only.
fn domain(after: &str) -> Option<&str> {
    let is_domain = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-');
    let reach = after.get(..after.find(|c| !is_domain(c)).unwrap_or(after.len()))?;
    let (mut end, mut at) = (None, 0usize);
    for (place, label) in reach.split('.').enumerate() {
        if label.is_empty() || label.len() > LABEL_MAX || label.starts_with('-') {
            break;
        }
        let whole = label.trim_end_matches('-');
        at = at.saturating_add(whole.len());
        if place > 0 && is_top_level(whole) {
            end = Some(at);
        }
        if whole.len() < label.len() {
            break;
        }
        at = at.saturating_add(1);
    }
    let domain = after.get(..end?).filter(|domain| domain.len() <= DOMAIN_MAX)?;
    let last = domain.rsplit('.').next().unwrap_or_default();
    (!PICTURES.iter().any(|picture| last.eq_ignore_ascii_case(picture))).then_some(domain)
}

fn is_top_level(label: &str) -> bool {
    let is_puny = label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--"));
    is_puny || (label.chars().count() >= 2 && label.chars().all(char::is_alphabetic))
}

#[cfg(test)]
mod tests {
    use aegis_domain::Detector::Email;

    use super::super::found;

    #[test]
    fn addresses_are_found_without_what_stands_around_them() {
        for (text, address) in [
            ("mail a.b+c@example.com.", "a.b+c@example.com"),
            ("<jo@sub.example.co.uk>", "jo@sub.example.co.uk"),
            ("email=jo@example.com&x", "jo@example.com"),
            ("szász@bücher.de", "szász@bücher.de"),
            ("x \"jo doe\"@example.com", "\"jo doe\"@example.com"),
            ("hackers' sue@armyspy.com", "sue@armyspy.com"),
            ("jo@example.xn--p1ai", "jo@example.xn--p1ai"),
            ("jo@example.com-", "jo@example.com"),
            ("jo@example.com.5", "jo@example.com"),
        ] {
            assert_eq!(found(text, Email), [address], "{text}");
        }
    }

    #[test]
    fn what_only_has_an_at_sign_is_left_alone() {
        let long = format!("{}@example.com", "a".repeat(65));
        for text in ["@user", "a@b", "icon@2x.png", "pkg@1.2.3", "a@.com", "@example.com", &long] {
            assert_eq!(found(text, Email).len(), 0, "{text}");
        }
    }
}
