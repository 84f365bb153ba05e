//! The demo's patient record API: records that are read and notes that are added.
//!
//! Not here: redaction; the point is to show what arrives. Invariant: the records are invented.

use http::{Method, StatusCode};
use serde_json::json;

use crate::upstream::{Received, Reply, json as answer};

pub(crate) fn reply(method: &Method, received: &Received) -> Reply {
    let rest = received.path.strip_prefix("/v1/patients/").unwrap_or_default();
    match (method.as_str(), rest.split_once('/')) {
        ("GET", None) if !rest.is_empty() => {
            let record = json!({ "id": rest, "name": "Ada Example", "allergies": ["penicillin"] });
            answer(StatusCode::OK, &record)
        }
        ("POST", Some((id, "notes"))) => {
            let note =
                json!({ "patient": id, "note": "nt_7", "stored_bytes": received.body.len() });
            answer(StatusCode::CREATED, &note)
        }
        _ => answer(StatusCode::NOT_FOUND, &json!({ "error": "no such resource" })),
    }
}
