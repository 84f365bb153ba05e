//! The demo's chat model: answers whole, or streams its answer word by word with usage at the end.
//!
//! Not here: thinking. Invariant: the usage it reports never passes `max_tokens`.

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use serde_json::{Value, json};

use crate::upstream::{Received, Reply, json as answer};

const WORDS: [&str; 8] = ["Budgets", " are", " held", " before", " and", " settled", " after", "."];
/// The pause between two words, so that streaming can be seen.
const PAUSE: Duration = Duration::from_millis(40);

pub(crate) fn reply(received: &Received) -> Reply {
    let asked: Value = serde_json::from_slice(&received.body).unwrap_or_default();
    let max_tokens = asked.get("max_tokens").and_then(Value::as_u64).unwrap_or(u64::MAX);
    let words = WORDS.iter().take(usize::try_from(max_tokens).unwrap_or(usize::MAX));
    let words: Vec<&str> = words.copied().collect();
    let usage =
        json!({ "prompt_tokens": received.body.len() / 4, "completion_tokens": words.len() });
    if asked.get("stream").and_then(Value::as_bool) == Some(true) {
        return stream(&words, &usage);
    }
    let message = json!({ "role": "assistant", "content": words.concat() });
    answer(StatusCode::OK, &json!({ "choices": [{ "message": message }], "usage": usage }))
}

fn stream(words: &[&str], usage: &Value) -> Reply {
    let mut events: Vec<String> = words
        .iter()
        .map(|word| json!({ "choices": [{ "delta": { "content": word } }] }).to_string())
        .collect();
    events.push(json!({ "choices": [], "usage": usage }).to_string());
    events.push("[DONE]".to_owned());
    let frames = futures::stream::iter(events).then(|event| async move {
        tokio::time::sleep(PAUSE).await;
        Ok::<_, Infallible>(Frame::data(Bytes::from(format!("data: {event}\n\n"))))
    });
    let mut reply = Response::new(BodyExt::boxed(StreamBody::new(frames)));
    let content_type = HeaderValue::from_static("text/event-stream");
    reply.headers_mut().insert(http::header::CONTENT_TYPE, content_type);
    reply
}
