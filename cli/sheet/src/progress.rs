//! A bar for people who wait: on stderr, only on a terminal, and only after a second.
//!
//! Not here: results. Invariant: nothing of it reaches stdout or a pipe.

use std::cell::Cell;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

const PATIENCE: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub struct Progress {
    bar: ProgressBar,
    /// When it may come into sight; `None` once it has, or when it never shall.
    due: Cell<Option<Instant>>,
}

impl Progress {
    pub fn new(bytes: u64) -> Self {
        let bar = ProgressBar::with_draw_target(Some(bytes), ProgressDrawTarget::hidden());
        let style = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Self { bar, due: Cell::new(Instant::now().checked_add(PATIENCE)) }
    }

    /// One that never shows.
    pub fn hidden() -> Self {
        let progress = Self::new(0);
        progress.due.set(None);
        progress
    }

    pub fn advance(&self, bytes: usize) {
        self.bar.inc(u64::try_from(bytes).unwrap_or(u64::MAX));
        self.appear();
    }

    /// Says how many bytes are done in all.
    pub fn reach(&self, bytes: u64) {
        self.bar.set_position(bytes);
        self.appear();
    }

    fn appear(&self) {
        if self.due.get().is_some_and(|due| Instant::now() >= due) {
            self.due.set(None);
            // Draws nothing unless stderr is a terminal.
            self.bar.set_draw_target(ProgressDrawTarget::stderr());
        }
    }

    pub fn done(&self) {
        self.bar.finish_and_clear();
    }
}
