//! Contents, versions and pointers.
//!
//! Not here: what a bundle says. Invariant: a bundle is any bytes.

use super::*;

pub(super) fn line() -> LineKey {
    LineKey { tenant: tenant(), environment: Environment::parse("prod").unwrap() }
}

fn store(content: &[u8]) -> Action {
    let (digest, content) = (Hash::of(content), content.to_vec());
    Action::Release(ReleaseAct::Store { digest, content })
}

fn publish(number: u32, content: &[u8]) -> Action {
    let digest = Hash::of(content);
    let source = Hash::of(b"source");
    Action::Release(ReleaseAct::Publish { line: line(), number, bundle: digest, source })
}

pub(super) fn activate(seen: u64, active: u32) -> Action {
    let choice = Choice { active, shadow: None };
    Action::Release(ReleaseAct::Activate { line: line(), seen, choice })
}

pub(super) fn refused(refusal: ReleaseRefusal) -> Answer {
    Err(Refusal::Release(refusal))
}

/// Versions from one to the given number.
pub(super) fn published(last: u32) -> Desk {
    let mut desk = Desk::default();
    for number in 1..=last {
        let content = number.to_be_bytes();
        desk.act(store(&content), at(0)).unwrap();
        desk.act(publish(number, &content), at(0)).unwrap();
    }
    desk
}

#[test]
fn versions_count_up_and_a_pointer_moves_only_for_who_has_seen_it() {
    let mut desk = Desk::default();
    assert_eq!(desk.act(publish(1, b"one"), at(0)), refused(ReleaseRefusal::ContentUnknown));
    for (number, content) in [(1, b"one"), (2, b"two")] {
        desk.act(store(content), at(0)).unwrap();
        for other in [number - 1, number + 1] {
            let foretold = desk.act(publish(other, content), at(0));
            assert_eq!(foretold, refused(ReleaseRefusal::Number { next: number }));
        }
        assert_eq!(desk.act(publish(number, content), at(0)), Ok(Outcome::Version(number)));
    }
    assert_eq!(desk.act(activate(0, 3), at(1)), refused(ReleaseRefusal::VersionUnknown));
    assert_eq!(desk.act(activate(0, 1), at(1)), Ok(Outcome::Epoch(1)));
    assert_eq!(desk.act(activate(0, 2), at(2)), refused(ReleaseRefusal::Moved { epoch: 1 }));
    assert_eq!(desk.act(activate(1, 2), at(2)), Ok(Outcome::Epoch(2)));
    assert_eq!(
        desk.act(activate(2, 1), at(3)),
        Ok(Outcome::Epoch(3)),
        "a rollback is one more epoch"
    );
    let held = desk.ledger.releases().line(&line()).unwrap();
    assert_eq!(held.pointer().unwrap().choice.active, 1);
}

#[test]
fn a_content_is_what_its_digest_says_and_no_larger_than_an_entry() {
    let mut desk = Desk::default();
    let lie = ReleaseAct::Store { digest: Hash::of(b"one"), content: b"two".to_vec() };
    assert_eq!(desk.act(Action::Release(lie), at(0)), refused(ReleaseRefusal::Digest));
    let large = vec![0; 700 * 1_024 + 1];
    assert_eq!(desk.act(store(&large), at(0)), refused(ReleaseRefusal::TooLarge));
}

#[test]
fn what_a_rollback_needs_is_kept_and_the_rest_goes_after_an_hour() {
    let mut desk = Desk::default();
    let content = |number: u32| number.to_be_bytes();
    for number in 1..=8 {
        desk.act(store(&content(number)), at(0)).unwrap();
        desk.act(publish(number, &content(number)), at(0)).unwrap();
    }
    desk.act(activate(0, 1), at(1)).unwrap();
    desk.act(store(b"waits for its version"), at(3_599)).unwrap();
    desk.act(store(b"another"), at(3_600)).unwrap();
    let held = |number| desk.ledger.releases().content(Hash::of(&content(number))).is_some();
    // The one that decides and the newest five.
    let kept: Vec<_> = (1..=8).filter(|number| held(*number)).collect();
    assert_eq!(kept, [1, 4, 5, 6, 7, 8]);
    assert!(desk.ledger.releases().content(Hash::of(b"waits for its version")).is_some());
    let line = desk.ledger.releases().line(&line()).unwrap();
    assert_eq!(line.versions().count(), 8, "what a version was is known for ever");
    assert_eq!(desk.act(activate(1, 2), at(3_601)), refused(ReleaseRefusal::ContentGone));
}

#[test]
fn a_shadow_is_a_version_too() {
    let mut desk = published(1);
    let choose = |shadow| {
        let choice = Choice { active: 1, shadow };
        Action::Release(ReleaseAct::Activate { line: line(), seen: 0, choice })
    };
    assert_eq!(desk.act(choose(Some(2)), at(1)), refused(ReleaseRefusal::VersionUnknown));
    desk.act(choose(Some(1)), at(1)).unwrap();
}
