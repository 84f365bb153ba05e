//! Where the voters of a region are reached by those who follow it, and which of them is asked first.
//!
//! Not here: asking them, which adapters do, each in its own words. Invariant: there is one at least; a round asks each once
//! at most, and begins with the one that answered last.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Base URLs of one control API, as several voters serve it.
#[derive(Debug)]
pub struct VoterUrls {
    first: Box<str>,
    others: Box<[Box<str>]>,
    /// The place of the one that answered last. A torn order between threads costs a question, never an answer.
    preferred: AtomicUsize,
}

impl VoterUrls {
    /// In the order in which they are asked at first.
    pub fn new(first: &str, others: &[String]) -> Self {
        let trimmed = |url: &str| url.trim_end_matches('/').into();
        Self {
            first: trimmed(first),
            others: others.iter().map(|url| trimmed(url)).collect(),
            preferred: AtomicUsize::new(0),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&*self.first).chain(self.others.iter().map(|url| &**url))
    }

    /// Asks until one answers; gives what the last one failed with, where none does.
    pub fn ask<T, E>(&self, mut ask: impl FnMut(&str) -> Result<T, E>) -> Result<T, E> {
        let begin = self.preferred.load(Ordering::Relaxed);
        let mut place = begin;
        loop {
            let answer = ask(self.at(place));
            let next = if place < self.others.len() { place.saturating_add(1) } else { 0 };
            if answer.is_ok() {
                self.preferred.store(place, Ordering::Relaxed);
            }
            if answer.is_ok() || next == begin {
                return answer;
            }
            place = next;
        }
    }

    fn at(&self, place: usize) -> &str {
        let other = place.checked_sub(1).and_then(|place| self.others.get(place));
        other.unwrap_or(&self.first)
    }
}

impl Clone for VoterUrls {
    /// Whoever gets the copy finds out by itself who answers.
    fn clone(&self) -> Self {
        let (first, others) = (self.first.clone(), self.others.clone());
        Self { first, others, preferred: AtomicUsize::new(0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> VoterUrls {
        VoterUrls::new("https://a/", &["https://b".to_owned(), "https://c".to_owned()])
    }

    /// Who is asked in one round, where only some answer.
    fn round(voters: &VoterUrls, answering: &[&str]) -> (Vec<String>, Result<(), String>) {
        let mut asked = Vec::new();
        let answer = voters.ask(|url| {
            asked.push(url.to_owned());
            if answering.contains(&url) { Ok(()) } else { Err(url.to_owned()) }
        });
        (asked, answer)
    }

    #[test]
    fn each_is_asked_once_in_turn_until_one_answers_and_that_one_first_from_then_on() {
        let voters = three();
        assert_eq!(round(&voters, &["https://a"]).0, ["https://a"]);
        assert_eq!(round(&voters, &["https://c"]).0, ["https://a", "https://b", "https://c"]);
        assert_eq!(round(&voters, &["https://b", "https://c"]).0, ["https://c"]);
        assert_eq!(round(&voters, &["https://b"]).0, ["https://c", "https://a", "https://b"]);
    }

    #[test]
    fn where_none_answers_each_was_asked_and_the_last_failure_is_told() {
        let voters = three();
        let (asked, answer) = round(&voters, &[]);
        assert_eq!((asked.len(), answer), (3, Err("https://c".to_owned())));
        let alone = VoterUrls::new("https://a", &[]);
        assert_eq!(round(&alone, &[]), (vec!["https://a".to_owned()], Err("https://a".to_owned())));
    }
}
