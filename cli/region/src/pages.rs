//! A whole list of the control API, page after page.
//!
//! Not here: what is shown of it. Invariant: a list ends when the server says so, or when it gives one cursor twice.

use aegis_control_client::{Client, encoded};
use serde_json::Value;

use crate::region::RegionError;

/// The things under `name`; `path` may hold a query already.
pub(crate) fn all(
    client: &Client,
    path: &str,
    name: &'static str,
) -> Result<Vec<Value>, RegionError> {
    read(client, path, name).map(|(things, _)| things)
}

/// The same, and what they are worth, where that is said: as much as the page that is worth least.
pub(crate) fn read(
    client: &Client,
    path: &str,
    name: &'static str,
) -> Result<(Vec<Value>, Option<String>), RegionError> {
    let joint = if path.contains('?') { '&' } else { '?' };
    let first = format!("{path}{joint}limit=1000");
    let (mut things, mut cursor, mut worth) = (Vec::new(), None::<String>, None::<String>);
    loop {
        let page = match &cursor {
            None => first.clone(),
            Some(cursor) => format!("{first}&cursor={}", encoded(cursor)),
        };
        let answer = client.get(&page)?;
        if worth.as_deref() != Some("own") {
            worth = answer.read;
        }
        let body = answer.body;
        let listed = body.get(name).and_then(Value::as_array);
        things.extend(listed.ok_or(RegionError::Answer { what: name })?.iter().cloned());
        let next = body.get("next").and_then(Value::as_str).map(str::to_owned);
        if next.is_none() || next == cursor {
            return Ok((things, worth));
        }
        cursor = next;
    }
}
