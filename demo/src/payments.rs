//! The demo's payments API: payouts that are made and looked up.
//!
//! Not here: limits on amounts; those are the policy's. Invariant: nothing is stored.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::upstream::{Received, Reply, json as answer};

pub(crate) fn reply(method: &Method, received: &Received) -> Reply {
    match (method.as_str(), received.path.strip_prefix("/v1/payouts")) {
        ("POST", Some("")) => {
            let asked: Value = serde_json::from_slice(&received.body).unwrap_or_default();
            let paid =
                json!({ "id": "po_10421042", "status": "paid", "amount": asked.get("amount") });
            answer(StatusCode::CREATED, &paid)
        }
        ("GET", Some(id)) if id.len() > 1 => {
            let id = id.trim_start_matches('/');
            answer(StatusCode::OK, &json!({ "id": id, "status": "paid", "amount": 4200 }))
        }
        _ => answer(StatusCode::NOT_FOUND, &json!({ "error": "no such resource" })),
    }
}
