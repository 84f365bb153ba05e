//! One difference between two versions, as it is shown.
//!
//! Not here: how it is found. Invariant: a change has a place in the old version, in the new one, or in both.

use std::fmt;

use aegis_document::Location;

/// What a change does to the calls it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// Nothing is decided differently.
    Neutral,
    /// No call gets a weaker effect than before.
    Stricter,
    /// No call gets a stronger effect than before.
    Looser,
    /// Some calls may get a stronger effect, others a weaker one.
    Unclear,
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Neutral => "neutral",
            Direction::Stricter => "stricter",
            Direction::Looser => "looser",
            Direction::Unclear => "unclear",
        }
    }

    pub(super) fn opposite(self) -> Self {
        match self {
            Direction::Stricter => Direction::Looser,
            Direction::Looser => Direction::Stricter,
            Direction::Neutral | Direction::Unclear => self,
        }
    }

    /// Of two changes at once.
    pub(super) fn and(self, other: Self) -> Self {
        match (self, other) {
            (Direction::Neutral, one) | (one, Direction::Neutral) => one,
            (one, other) if one == other => one,
            _ => Direction::Unclear,
        }
    }
}

/// The places of one thing in the old and in the new version.
pub(super) type Places<'l> = (Option<&'l Location>, Option<&'l Location>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What changed, such as `tools.pay.rules.high-value`.
    pub path: String,
    pub message: String,
    pub direction: Direction,
    /// An enforced rule stopped being enforced: this needs a permission of its own.
    pub downgrade: bool,
    pub old: Option<Location>,
    pub new: Option<Location>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, message, direction, .. } = self;
        if let Some(at) = self.new.as_ref().or(self.old.as_ref()) {
            write!(f, "{at}: ")?;
        }
        write!(f, "{path}: {message} [{}]", direction.as_str())?;
        if self.downgrade { f.write_str(" [downgrade]") } else { Ok(()) }
    }
}

#[derive(Debug, Default)]
pub(super) struct Changes(pub(super) Vec<Change>);

impl Changes {
    pub(super) fn add(
        &mut self,
        path: &str,
        message: String,
        direction: Direction,
        (old, new): Places<'_>,
    ) {
        let (old, new) = (old.cloned(), new.cloned());
        let path = path.to_owned();
        self.0.push(Change { path, message, direction, downgrade: false, old, new });
    }

    pub(super) fn add_downgrade(&mut self, path: &str, message: &str, places: Places<'_>) {
        self.add(path, message.to_owned(), Direction::Looser, places);
        if let Some(change) = self.0.last_mut() {
            change.downgrade = true;
        }
    }

    /// Adds what was put into and taken out of a list, if anything was; `more` is the direction of putting in.
    pub(super) fn members<'m>(
        &mut self,
        path: &str,
        (old, new): (impl Iterator<Item = &'m str>, impl Iterator<Item = &'m str>),
        more: Direction,
        places: Places<'_>,
    ) {
        let (old, new): (std::collections::BTreeSet<&str>, std::collections::BTreeSet<&str>) =
            (old.collect(), new.collect());
        let added: Vec<&str> = new.difference(&old).copied().collect();
        let removed: Vec<&str> = old.difference(&new).copied().collect();
        let mut parts = Vec::new();
        let mut direction = Direction::Neutral;
        for (verb, names, towards) in
            [("adds", &added, more), ("removes", &removed, more.opposite())]
        {
            if !names.is_empty() {
                parts.push(format!("{verb} {}", listed(names)));
                direction = direction.and(towards);
            }
        }
        if !parts.is_empty() {
            self.add(path, parts.join(", "), direction, places);
        }
    }
}

/// The names in back-quotes, the first few of them.
fn listed(names: &[&str]) -> String {
    const SHOWN_MAX: usize = 10;
    let shown: Vec<String> = names.iter().take(SHOWN_MAX).map(|name| format!("`{name}`")).collect();
    match names.len().saturating_sub(SHOWN_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}
