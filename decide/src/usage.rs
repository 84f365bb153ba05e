//! What a chat model says it used, read from its answer while that passes by.
//!
//! Not here: prices (`price`). Sources: the usage fields of the OpenAI, Anthropic and Gemini APIs.
//! Invariant: memory is bounded whatever the upstream sends, and the answer itself is never touched.

use serde_json::Value;

use crate::Usage;

/// The longest line of an event stream, and the longest plain answer, that is looked into.
const LOOKED_AT_MAX: usize = 1_024 * 1_024;

/// Watches one answer.
#[derive(Debug)]
pub struct UsageReader {
    shape: Shape,
    pending: Vec<u8>,
    is_overflown: bool,
    seen: Option<Usage>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    Json,
    EventStream,
    Other,
}

impl UsageReader {
    pub fn new(content_type: Option<&str>) -> Self {
        let essence =
            content_type.and_then(|text| text.split(';').next()).unwrap_or_default().trim();
        let shape = match essence.to_ascii_lowercase().as_str() {
            "text/event-stream" => Shape::EventStream,
            "application/json" => Shape::Json,
            _ => Shape::Other,
        };
        Self { shape, pending: Vec::new(), is_overflown: false, seen: None }
    }

    /// Takes the next piece of the answer.
    pub fn feed(&mut self, bytes: &[u8]) {
        match self.shape {
            Shape::Other => {}
            Shape::Json => self.keep(bytes),
            Shape::EventStream => {
                for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
                    self.keep(piece);
                    if piece.ends_with(b"\n") {
                        self.end_of_line();
                    }
                }
            }
        }
    }

    /// Whether this kind of answer may say what it uses before it ends.
    pub fn tells_on_the_way(&self) -> bool {
        self.shape == Shape::EventStream
    }

    /// What a stream of events has told until now. An answer of one piece tells it with its end.
    pub fn told(&self) -> Option<Usage> {
        self.seen
    }

    /// What is known so far; complete once the answer is.
    pub fn usage(&mut self) -> Option<Usage> {
        if self.shape == Shape::Json && !self.is_overflown {
            let document = serde_json::from_slice(&self.pending).ok();
            self.seen = document.as_ref().and_then(usage_in);
        }
        self.seen
    }

    fn keep(&mut self, bytes: &[u8]) {
        if self.pending.len().saturating_add(bytes.len()) > LOOKED_AT_MAX {
            self.is_overflown = true;
            self.pending.clear();
        }
        if !self.is_overflown {
            self.pending.extend_from_slice(bytes);
        }
    }

    fn end_of_line(&mut self) {
        let line = std::mem::take(&mut self.pending);
        let was_overflown = std::mem::take(&mut self.is_overflown);
        let data = line.strip_prefix(b"data:").filter(|_| !was_overflown);
        let event = data.and_then(|data| serde_json::from_slice::<Value>(data).ok());
        let usage = event.as_ref().and_then(usage_in);
        // Counts are cumulative; Anthropic names input first and output later.
        self.seen = match (self.seen, usage) {
            (Some(a), Some(b)) => Some(Usage {
                input_tokens: a.input_tokens.max(b.input_tokens),
                output_tokens: a.output_tokens.max(b.output_tokens),
            }),
            (before, after) => before.or(after),
        };
    }
}

/// Usage where the known APIs put it.
fn usage_in(document: &Value) -> Option<Usage> {
    let places = ["/usage", "/response/usage", "/message/usage", "/usageMetadata"];
    let usage =
        places.iter().find_map(|place| document.pointer(place).filter(|v| v.is_object()))?;
    let sum = |names: &[&str]| {
        let counts = names.iter().filter_map(|name| usage.get(*name).and_then(Value::as_u64));
        counts.fold(0_u64, u64::saturating_add)
    };
    let input = [
        // OpenAI counts cached tokens in; Anthropic counts them apart.
        sum(&["prompt_tokens"]),
        sum(&["input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens"]),
        sum(&["promptTokenCount"]),
    ];
    let output = [
        sum(&["completion_tokens"]),
        sum(&["output_tokens"]),
        sum(&["candidatesTokenCount", "thoughtsTokenCount"]),
    ];
    Some(Usage {
        input_tokens: input.into_iter().max().unwrap_or(0),
        output_tokens: output.into_iter().max().unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &str, answer: &str, piece: usize) -> Option<Usage> {
        let mut reader = UsageReader::new(Some(content_type));
        answer.as_bytes().chunks(piece).for_each(|bytes| reader.feed(bytes));
        reader.usage()
    }

    #[test]
    fn a_streamed_answer_gives_the_same_usage_however_it_is_cut() {
        let openai = "data: {\"choices\":[{}]}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":9}}\n\ndata: [DONE]\n\n";
        let anthropic = "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":5,\"cache_read_input_tokens\":2,\"output_tokens\":1}}}\n\nevent: message_delta\ndata: {\"usage\":{\"output_tokens\":9}}\n\n";
        for piece in [1, 3, 1_000] {
            for answer in [openai, anthropic] {
                let usage = read("text/event-stream; charset=utf-8", answer, piece);
                assert_eq!(usage, Some(Usage { input_tokens: 7, output_tokens: 9 }), "{answer}");
            }
        }
    }

    #[test]
    fn a_plain_answer_and_one_without_usage() {
        let json = r#"{"usage":{"prompt_tokens":1,"completion_tokens":2}}"#;
        let usage = Some(Usage { input_tokens: 1, output_tokens: 2 });
        assert_eq!(read("application/json", json, 5), usage);
        assert_eq!(read("application/json", "{}", 5), None);
        assert_eq!(read("text/html", json, 5), None);
    }

    #[test]
    fn a_line_without_end_costs_bounded_memory_and_the_next_one_counts_again() {
        let mut reader = UsageReader::new(Some("text/event-stream"));
        let endless = vec![b'a'; LOOKED_AT_MAX];
        reader.feed(&endless);
        reader.feed(&endless);
        assert!(reader.pending.len() <= LOOKED_AT_MAX);
        reader.feed(b"\ndata: {\"usage\":{\"prompt_tokens\":1}}\n");
        assert_eq!(reader.usage(), Some(Usage { input_tokens: 1, output_tokens: 0 }));
    }
}
