//! Lists come in pages of one shape: `?limit=..&cursor=..` in, and `next`, the cursor of the page after, beside the things.
//!
//! Not here: what is listed (`api`). Invariant: a cursor names the last thing of a page by its place in the list's order, so
//! what comes or goes in between makes no other thing come twice or not at all.

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::problem::Problem;

const LIMIT_DEFAULT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// What the query of a list says that can be asked for nothing but its pages.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pages {
    limit: Option<usize>,
    cursor: Option<String>,
}

impl Pages {
    pub fn page<P: DeserializeOwned>(self) -> Result<Page<P>, Problem> {
        Page::read(self.limit, self.cursor.as_deref())
    }
}

/// A query whose parameters are all known, each of them sent once.
pub fn query<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    let Query(query) = query
        .map_err(|_| Problem::Malformed("a query parameter is unknown or malformed".into()))?;
    Ok(query)
}

/// One page of a list in the order of `P`.
#[derive(Debug)]
pub struct Page<P> {
    limit: usize,
    /// Where the page before ended.
    pub after: Option<P>,
}

impl<P: DeserializeOwned> Page<P> {
    pub fn read(limit: Option<usize>, cursor: Option<&str>) -> Result<Self, Problem> {
        let limit = limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Problem::Malformed(format!("limit is not 1 to {LIMIT_MAX}")));
        }
        let after = cursor.map(read_cursor).transpose()?;
        Ok(Self { limit, after })
    }
}

impl<P: Serialize> Page<P> {
    /// The first of the things that come after the page before, and the cursor of the next page if there are more.
    pub fn cut<T>(
        &self,
        things: impl Iterator<Item = T>,
        place: impl Fn(&T) -> P,
    ) -> (Vec<T>, Option<String>) {
        let mut things: Vec<T> = things.take(self.limit.saturating_add(1)).collect();
        let is_last = things.len() <= self.limit;
        things.truncate(self.limit);
        let last = things.last().filter(|_| !is_last);
        // A place is a name or two, which always have a JSON form.
        let cursor =
            |thing| URL_SAFE_NO_PAD.encode(serde_json::to_vec(&place(thing)).unwrap_or_default());
        let next = last.map(cursor);
        (things, next)
    }
}

fn read_cursor<P: DeserializeOwned>(cursor: &str) -> Result<P, Problem> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor).ok();
    let place = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    place.ok_or_else(|| Problem::Malformed("cursor is not one that this list gave".into()))
}
