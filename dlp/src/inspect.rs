//! Looks through a body, layer under layer, and lists what must be blanked.
//!
//! Not here: what a finding looks like (`detect`) and what is done with hits (`redact`, `scan`).
//! Invariant: hits are spans of the text they were asked about, with replacements in that text's own encoding.

use aegis_domain::Detector;

use crate::detect::{Context, detect};
use crate::glance::Glance;
use crate::hit::{Hit, merge, splice, total, whole};
use crate::json::{Token, TokenKind, Tokens, Values};
use crate::view::{View, fold, text_of};
use crate::{ContentKind, DlpError, encoded, escapes, form, json};

/// How many encodings inside one another are undone.
const LAYERS_MAX: usize = 3;

/// How many bytes may be looked at for each byte of the body, all layers together, and how many at least.
const WORK_PER_BYTE: usize = 32;
const WORK_MIN: usize = 4 << 20;

/// The most bytes that one compressed run inside a body may hold.
const INFLATED_MAX: usize = 4 << 20;

/// How much of a value a finding takes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Grain {
    /// Just the finding.
    Span,
    /// The whole value it lies in: the second try, when blanking the finding left something.
    Value,
}

/// One pass over one body.
pub(crate) struct Inspector<'a> {
    wanted: &'a [Detector],
    grain: Grain,
    /// What the name of the part says that the body is the content of.
    field: Context,
    work_left: usize,
    exhausted: bool,
}

impl<'a> Inspector<'a> {
    pub(crate) fn new(wanted: &'a [Detector], grain: Grain, body_bytes: usize) -> Self {
        let work_left = body_bytes.saturating_mul(WORK_PER_BYTE).max(WORK_MIN);
        Self { wanted, grain, field: Context::NONE, work_left, exhausted: false }
    }

    /// The body is the content of a field of that name.
    pub(crate) fn of_field(self, name: &str) -> Self {
        Self { field: Context::of_name(name), ..self }
    }

    /// Everything to blank in a body that is not multipart.
    pub(crate) fn body(&mut self, body: &[u8], kind: &ContentKind) -> Result<Vec<Hit>, DlpError> {
        let hits = match kind {
            ContentKind::Json => {
                let text = std::str::from_utf8(body)
                    .map_err(|error| DlpError::NotUtf8 { at: error.valid_up_to() })?;
                if text.is_empty() { Vec::new() } else { self.json(text, Values::One, 0)? }
            }
            ContentKind::Form => self.form(&text_of(body)),
            ContentKind::Multipart { .. } | ContentKind::Text | ContentKind::Other => {
                self.blob(body, self.field, 0)
            }
        };
        if self.exhausted { Err(DlpError::TooMuchWork) } else { Ok(hits) }
    }

    /// Hits in a form or a query.
    pub(crate) fn form(&mut self, text: &str) -> Vec<Hit> {
        // Clients that forget the content type send JSON under this one (`curl -d`).
        if text.starts_with(['{', '['])
            && let Ok(hits) = self.json(text, Values::One, 0)
        {
            return hits;
        }
        let mut hits = Vec::new();
        for pair in form::pairs(text) {
            let (key, value) = (text.get(pair.key.clone()), text.get(pair.value.clone()));
            let key = form::decoded(key.unwrap_or_default(), pair.key.start);
            let value = form::decoded(value.unwrap_or_default(), pair.value.start);
            let seen = self.value(key.text(), Context::NAME, 0);
            hits.extend(rewritten(&key, seen.hits, form::encode));
            let seen = self.value(value.text(), seen.context, 0);
            hits.extend(rewritten(&value, seen.hits, form::encode));
        }
        merge(hits)
    }

    /// Hits in JSON: keys, strings and numbers, each with the name of its field as context.
    fn json(&mut self, text: &str, values: Values, layer: usize) -> Result<Vec<Hit>, DlpError> {
        let mut tokens = Tokens::new(text, values);
        let (mut hits, mut blanked_keys) = (Vec::new(), 0usize);
        let (mut fields, mut field) = (Vec::new(), Context::NONE);
        while let Some(token) = tokens.next()? {
            let around = fields.last().copied().unwrap_or(Context::NONE);
            match token.kind {
                TokenKind::OpenObject | TokenKind::OpenArray => fields.push(field),
                TokenKind::Close => {
                    fields.pop();
                    field = fields.last().copied().unwrap_or(Context::NONE);
                }
                TokenKind::Key => {
                    let known = hits.len();
                    let name = self.json_string(text, &token, (Context::NAME, layer), &mut hits);
                    field = name.and(around.inherited());
                    blanked_keys += usize::from(hits.len() > known);
                    // Two blanked names in one object must not become the same name.
                    if let Some(last) = hits.get_mut(known..).and_then(<[Hit]>::last_mut)
                        && blanked_keys > 1
                    {
                        last.with.push_str(&format!("#{blanked_keys}"));
                    }
                }
                TokenKind::String => {
                    self.json_string(text, &token, (field, layer), &mut hits);
                }
                TokenKind::Number => {
                    let number = text.get(token.span.clone()).unwrap_or_default();
                    hits.extend(self.json_number(number, field).map(|hit| at(hit, &token)));
                }
                TokenKind::Literal => {}
            }
        }
        Ok(hits)
    }

    /// Adds the hits of a key or string value; gives the context that it sets as a key.
    fn json_string(
        &mut self,
        text: &str,
        token: &Token,
        (field, layer): (Context, usize),
        hits: &mut Vec<Hit>,
    ) -> Context {
        let inner = token.inner();
        let inside = text.get(inner.clone()).unwrap_or_default();
        if memchr::memchr(b'\\', inside.as_bytes()).is_none() {
            let seen = self.value(inside, field, layer);
            hits.extend(seen.hits.into_iter().map(|hit| Hit {
                span: inner.start + hit.span.start..inner.start + hit.span.end,
                with: json::escape(&hit.with),
                counts: hit.counts,
            }));
            return seen.context;
        }
        let view = json::unescape(inside, inner.start);
        let seen = self.value(view.text(), field, layer);
        hits.extend(rewritten(&view, seen.hits, json::escape));
        seen.context
    }

    /// A number that is a finding becomes a string.
    fn json_number(&mut self, number: &str, field: Context) -> Option<Hit> {
        let digits = whole_number(number)?;
        let found = whole(&self.value(&digits, field, LAYERS_MAX).hits, number.len()).pop()?;
        Some(Hit { with: format!("\"{}\"", found.with), ..found })
    }

    /// One key or value, as coarse as this pass wants it.
    fn value(&mut self, text: &str, field: Context, layer: usize) -> Seen {
        let seen = self.text(text, field, layer);
        match self.grain {
            Grain::Span => seen,
            Grain::Value => Seen { hits: whole(&seen.hits, text.len()), context: seen.context },
        }
    }

    /// Hits in a text and in all that is encoded in it, `layer` encodings deep.
    fn text(&mut self, text: &str, field: Context, layer: usize) -> Seen {
        if !self.pay(text.len()) {
            return Seen { hits: Vec::new(), context: Context::NONE };
        }
        let glance = Glance::over(text);
        if !glance.folds() {
            return self.folded(text, glance, field, layer);
        }
        let view = fold(text);
        let seen = self.folded(view.text(), Glance::over(view.text()), field, layer);
        Seen { hits: rewritten(&view, seen.hits, str::to_owned), context: seen.context }
    }

    fn folded(&mut self, folded: &str, glance: Glance, field: Context, layer: usize) -> Seen {
        if layer < LAYERS_MAX
            && let Some(hits) = self.json_text(folded, layer)
        {
            return Seen { hits, context: Context::NONE };
        }
        let found = detect(folded, glance, field, self.wanted);
        let mut hits = found.hits;
        if layer < LAYERS_MAX {
            let layer = layer.saturating_add(1);
            for view in escapes::views(folded, glance) {
                self.through(&view, folded, (field, layer), &mut hits);
            }
            if glance.run >= encoded::RUN_MIN {
                self.runs(folded, (field, layer), &mut hits);
            }
        }
        Seen { hits: merge(hits), context: found.context }
    }

    /// The hits of a text that is itself JSON, or lines of it.
    fn json_text(&mut self, text: &str, layer: usize) -> Option<Vec<Hit>> {
        let trimmed = text.trim_ascii();
        let is_container = matches!(
            (trimmed.as_bytes().first(), trimmed.as_bytes().last()),
            (Some(b'{'), Some(b'}')) | (Some(b'['), Some(b']')) | (Some(b'"'), Some(b'"'))
        );
        if !is_container || trimmed.len() < 2 {
            return None;
        }
        // A dry run first: half-read JSON must neither cost findings nor count twice.
        let mut tokens = Tokens::new(text, Values::Many);
        while tokens.next().ok()?.is_some() {}
        self.json(text, Values::Many, layer.saturating_add(1)).ok()
    }

    /// Adds what is found in a view of `text` whose escapes are undone.
    fn through(
        &mut self,
        view: &View,
        text: &str,
        (field, layer): (Context, usize),
        hits: &mut Vec<Hit>,
    ) {
        for hit in self.text(view.text(), field, layer).hits {
            let span = view.source(&hit.span);
            let source = text.get(span.clone()).unwrap_or_default();
            let with = escapes::escaped_like(&hit.with, source);
            hits.push(Hit { span, with, counts: hit.counts });
        }
    }

    /// Adds what is found in runs of base64 or hex, encoded again.
    fn runs(&mut self, text: &str, (field, layer): (Context, usize), hits: &mut Vec<Hit>) {
        for run in encoded::runs(text) {
            let inner = self.blob(&run.content, field, layer);
            if !inner.is_empty() {
                let with = run.encode(&splice(&run.content, &inner));
                hits.push(Hit { span: run.span, with, counts: total(&inner) });
            }
        }
    }

    /// Hits in bytes that may be text or compressed; what is compressed is blanked whole.
    fn blob(&mut self, bytes: &[u8], field: Context, layer: usize) -> Vec<Hit> {
        if layer < LAYERS_MAX
            && let Some((inside, outcome)) = encoded::inflated(bytes, INFLATED_MAX)
        {
            self.exhausted |= matches!(outcome, Err(DlpError::TooLarge { .. }));
            // Inflating costs its output, also where the stream turns out to be damaged.
            if self.pay(inside.len()) {
                let found = whole(&self.blob(&inside, field, layer.saturating_add(1)), bytes.len());
                if outcome.is_ok() || !found.is_empty() {
                    return found;
                }
            }
        }
        self.value(&text_of(bytes), field, layer).hits
    }

    fn pay(&mut self, bytes: usize) -> bool {
        match self.work_left.checked_sub(bytes) {
            Some(left) => self.work_left = left,
            None => self.exhausted = true,
        }
        !self.exhausted
    }
}

/// What one text held, and what it says about the value beside it if it is a field's name.
struct Seen {
    hits: Vec<Hit>,
    context: Context,
}

/// Hits of a view as hits of its source.
fn rewritten(view: &View, hits: Vec<Hit>, encode: fn(&str) -> String) -> Vec<Hit> {
    let rewrite = |hit: Hit| Hit {
        span: view.source(&hit.span),
        with: encode(&hit.with),
        counts: hit.counts,
    };
    hits.into_iter().map(rewrite).collect()
}

fn at(hit: Hit, token: &Token) -> Hit {
    Hit { span: token.span.clone(), ..hit }
}

/// The digits of a JSON number that stands for a whole one, also if written `4.1e15`.
fn whole_number(number: &str) -> Option<String> {
    let number = number.strip_prefix('-').unwrap_or(number);
    if number.bytes().all(|byte| byte.is_ascii_digit()) {
        return (number.len() >= 8).then(|| number.to_owned());
    }
    // Up to 2^53 every whole number is exact as a float; card numbers of 16 digits are below.
    let value: f64 = number.parse().ok()?;
    (value.fract() == 0.0 && (1e7..9.1e15).contains(&value)).then(|| format!("{value:.0}"))
}
