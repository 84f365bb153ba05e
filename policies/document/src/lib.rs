//! A text a person wrote, as a tree that knows where everything stands: YAML, and so JSON.
//!
//! Not here: what the text means; policies (`policies/language`) and the gateway's config decode their own types from it.
//! Invariant: every node has a position, no key occurs twice, nothing is shared (no anchors, aliases or tags),
//! and nothing is deeper than `DEPTH_MAX`. All problems of a text are reported together.

mod diagnostic;
mod mapping;
mod node;
mod scalar;

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span as YamlSpan};

pub use diagnostic::{DIAGNOSTICS_MAX, Diagnostic, Diagnostics, Problems};
pub use mapping::{Mapping, nearest};
pub use node::{Location, Node, Position};

use node::{Content, Entry};
use scalar::{Excerpt, Scalar};

/// The most bytes a text may have.
pub const BYTES_MAX: usize = 1 << 20;
/// How deep lists and mappings may stand in each other.
pub const DEPTH_MAX: usize = 64;

/// One parsed text.
#[derive(Clone, Debug)]
pub struct Document {
    file: Arc<str>,
    text: Arc<str>,
    root: Node,
}

impl Document {
    /// Reads a text that holds exactly one YAML document; `file` is what diagnostics call it.
    pub fn parse(file: &str, text: &str) -> Result<Self, Diagnostics> {
        let mut problems = Problems::new(file);
        let root = if text.len() > BYTES_MAX {
            problems.report(Position::START, format!("the text is longer than {BYTES_MAX} bytes"));
            None
        } else {
            Builder::new(&mut problems).read(text)
        };
        let file = problems.file();
        problems.finish(root).map(|root| Self { file, text: text.into(), root })
    }

    pub fn file(&self) -> &str {
        &self.file
    }

    /// The text as it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn root(&self) -> &Node {
        &self.root
    }

    /// Decodes the whole text. `None` from `decode` stands for "reported": any problem makes this an error.
    pub fn decode<T>(
        &self,
        decode: impl FnOnce(&Node, &mut Problems) -> Option<T>,
    ) -> Result<T, Diagnostics> {
        let mut problems = Problems::new(&self.file);
        let value = decode(&self.root, &mut problems);
        problems.finish(value)
    }
}

/// A list or mapping whose end has not been seen.
struct Open {
    start: Position,
    content: OpenContent,
}

enum OpenContent {
    List(Vec<Node>),
    Mapping { entries: Vec<Entry>, seen: HashMap<String, Position>, key: Option<Node> },
}

/// Turns parser events into nodes, without recursion.
struct Builder<'p> {
    problems: &'p mut Problems,
    open: Vec<Open>,
    root: Option<Node>,
    documents: usize,
}

impl<'p> Builder<'p> {
    fn new(problems: &'p mut Problems) -> Self {
        Self { problems, open: Vec::new(), root: None, documents: 0 }
    }

    fn read(mut self, text: &str) -> Option<Node> {
        for event in Parser::new_from_str(text) {
            let (event, span) = match event {
                Ok(found) => found,
                Err(error) => {
                    let at = within(text, position(*error.marker()));
                    self.problems.report(at, error.info());
                    return None;
                }
            };
            self.step(event, span)?;
        }
        if self.root.is_none() {
            self.problems.report(Position::START, "the text is empty");
        }
        self.root
    }

    /// Takes one event; `None` stops the reading, after a report.
    fn step(&mut self, event: Event<'_>, span: YamlSpan) -> Option<()> {
        let at = position(span.start);
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => {}
            Event::DocumentStart(_) => return self.start_document(at),
            Event::Alias(_) => {
                self.problems.report(at, "aliases (`*name`) are not allowed");
                self.place(Node::new(at, Content::Scalar(Scalar::Null)));
            }
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_properties(at, anchor, tag.is_some());
                let scalar = match style {
                    ScalarStyle::Plain => Scalar::plain(&text),
                    ScalarStyle::SingleQuoted
                    | ScalarStyle::DoubleQuoted
                    | ScalarStyle::Literal
                    | ScalarStyle::Folded => Scalar::Text(text.into_owned()),
                };
                self.place(Node::new(at, Content::Scalar(scalar)));
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_properties(at, anchor, tag.is_some());
                return self.open(at, OpenContent::List(Vec::new()));
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_properties(at, anchor, tag.is_some());
                let (entries, seen) = (Vec::new(), HashMap::new());
                return self.open(at, OpenContent::Mapping { entries, seen, key: None });
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(),
        }
        Some(())
    }

    fn start_document(&mut self, at: Position) -> Option<()> {
        self.documents = self.documents.saturating_add(1);
        if self.documents > 1 {
            self.problems.report(at, "a second document begins here; one file holds one document");
            return None;
        }
        Some(())
    }

    fn refuse_properties(&mut self, at: Position, anchor: usize, tagged: bool) {
        if anchor > 0 {
            self.problems.report(at, "anchors (`&name`) are not allowed");
        }
        if tagged {
            self.problems.report(at, "tags (`!name`) are not allowed");
        }
    }

    fn open(&mut self, start: Position, content: OpenContent) -> Option<()> {
        if self.open.len() >= DEPTH_MAX {
            self.problems.report(start, format!("nested deeper than {DEPTH_MAX} levels"));
            return None;
        }
        self.open.push(Open { start, content });
        Some(())
    }

    fn close(&mut self) {
        let Some(Open { start, content }) = self.open.pop() else { return };
        let content = match content {
            OpenContent::List(items) => Content::List(items),
            OpenContent::Mapping { entries, .. } => Content::Mapping(entries),
        };
        self.place(Node::new(start, content));
    }

    /// Puts a finished node where it belongs: into the list, as key or value, or at the root.
    fn place(&mut self, node: Node) {
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match &mut open.content {
            OpenContent::List(items) => items.push(node),
            OpenContent::Mapping { entries, seen, key } => match key.take() {
                None => *key = Some(node),
                Some(name) => {
                    if is_new_key(self.problems, seen, &name) {
                        entries.push(Entry { key: name, value: node });
                    }
                }
            },
        }
    }
}

/// Reports keys that are no text or were seen before in the same mapping.
fn is_new_key(problems: &mut Problems, seen: &mut HashMap<String, Position>, key: &Node) -> bool {
    let Some(name) = key.key_text() else {
        problems.report(key.position(), format!("a key must be text, found {}", key.found()));
        return false;
    };
    if let Some(first) = seen.get(name.as_ref()) {
        let message = format!(
            "`{}` stands here a second time; the first is at line {}",
            Excerpt(&name),
            first.line
        );
        problems.report(key.position(), message);
        return false;
    }
    seen.insert(name.into_owned(), key.position());
    true
}

/// The parser counts bytes in a directive; a place beyond its line helps nobody.
fn within(text: &str, at: Position) -> Position {
    let text = text.replace("\r\n", "\n");
    let before = usize::try_from(at.line).unwrap_or(usize::MAX).saturating_sub(1);
    let line = text.split(['\n', '\r']).nth(before).unwrap_or_default();
    let end = u32::try_from(line.chars().count()).unwrap_or(u32::MAX).saturating_add(1);
    Position { line: at.line, column: at.column.min(end) }
}

fn position(marker: Marker) -> Position {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Position { line: number(marker.line()), column: number(marker.col()).saturating_add(1) }
}
