//! The rules of rollouts: sticky, monotone, evenly spread, and stopped by their guards.

use proptest::prelude::*;

use super::*;

fn region(name: &str) -> Region {
    Region::parse(name).unwrap()
}

fn tenant(name: &str) -> TenantId {
    TenantId::parse(name).unwrap()
}

fn agent(name: &str) -> AgentId {
    AgentId::parse(name).unwrap()
}

fn stage(share: &str) -> Stage {
    Stage {
        regions: BTreeSet::new(),
        tenants: BTreeSet::new(),
        share: share.parse().unwrap(),
        min_duration: Ttl::from_s(60),
        calls_min: 10,
        guards: Vec::new(),
    }
}

fn guarded(limit: Limit, then: Reaction) -> Rollout {
    let guards = vec![Guard { limit, then }];
    Rollout::new("r", vec![Stage { guards, ..stage("5%") }, stage("100%")]).unwrap()
}

fn at(s: u64) -> Timestamp {
    Timestamp::from_unix_s(s)
}

fn calm() -> Observed {
    let counts = Counts { calls: 100, denied: 10, approvals: 5, engine_errors: 0, p99_us: 90 };
    Observed { stable: counts, candidate: counts }
}

#[test]
fn buckets_are_those_of_the_published_vectors() {
    let vectors: serde_json::Value =
        serde_json::from_str(include_str!("../../../docs/spec/vectors/rollout.json")).unwrap();
    let cases = vectors["buckets"].as_array().unwrap();
    assert!(cases.len() >= 10);
    for case in cases {
        let text = |name: &str| case[name].as_str().unwrap();
        let bucket =
            Bucket::of_agent(text("rollout"), &tenant(text("tenant")), &agent(text("agent")));
        assert_eq!(u64::from(bucket.number()), case["bucket"].as_u64().unwrap(), "{case}");
    }
    for (share, served) in vectors["spread"]["served"].as_object().unwrap() {
        let share: Share = share.parse().unwrap();
        let names = (0..1_000).map(|number| agent(&format!("agent-{number}")));
        let buckets = names.map(|agent| Bucket::of_agent("spread", &tenant("acme"), &agent));
        let counted = buckets.filter(|bucket| share.covers(*bucket)).count();
        assert_eq!(Some(u64::try_from(counted).unwrap()), served.as_u64(), "{share}");
    }
}

#[test]
fn agents_spread_evenly_over_the_buckets() {
    let mut tenths = [0_u32; 10];
    for number in 0..20_000 {
        let bucket = Bucket::of_agent("even", &tenant("acme"), &agent(&format!("a{number}")));
        tenths[usize::from(bucket.number() / 1_000)] += 1;
    }
    // 2,000 each; 5 standard deviations are 212.
    assert!(tenths.iter().all(|count| count.abs_diff(2_000) < 212), "{tenths:?}");
}

#[test]
fn shares_are_read_and_shown_exactly() {
    for (text, hundredths) in
        [("0%", 0), ("5%", 500), ("0.25%", 25), ("0.5%", 50), ("100%", 10_000)]
    {
        assert_eq!(text.parse(), Ok(Share(hundredths)));
    }
    assert_eq!(Share(25).to_string(), "0.25%");
    assert_eq!(Share(500).to_string(), "5%");
    for bad in ["", "%", "5", "100.01%", "101%", "-1%", "+1%", "1.234%", "1.%", ".5%", "1e1%", "٥%"]
    {
        assert_eq!(bad.parse::<Share>(), Err(ShareError), "{bad}");
    }
}

#[test]
fn a_stage_serves_only_the_regions_and_tenants_it_names() {
    let first = Stage {
        regions: BTreeSet::from([region("eu-west-1")]),
        tenants: BTreeSet::from([tenant("acme")]),
        ..stage("100%")
    };
    let rollout = Rollout::new("r", vec![first, stage("0%")]).unwrap();
    for stage in [0, 1] {
        let at = Progress::Running { stage, since: at(0) };
        let side = |r: &str, t: &str| rollout.side(at, &region(r), &tenant(t), &agent("bot"));
        assert_eq!(side("eu-west-1", "acme"), Side::Candidate, "also in a later, narrower stage");
        assert_eq!(side("us-east-1", "acme"), Side::Stable);
        assert_eq!(side("eu-west-1", "other"), Side::Stable);
    }
}

#[test]
fn a_stage_lasts_its_time_and_needs_its_calls() {
    let rollout = Rollout::new("r", vec![stage("5%"), stage("100%")]).unwrap();
    let begun = rollout.begin(at(0));
    assert_eq!(rollout.step(begun, at(59), &calm()), begun);
    assert_eq!(rollout.step(begun, at(9_999), &Observed::default()), begun);
    let second = rollout.step(begun, at(60), &calm());
    assert_eq!(second, Progress::Running { stage: 1, since: at(60) });
    assert_eq!(rollout.step(second, at(119), &calm()), second);
    // Where the candidate serves everyone, nothing is left to compare it with.
    let alone = Observed { stable: Counts::default(), ..calm() };
    assert_eq!(rollout.step(second, at(120), &alone), Progress::Complete);
    assert_eq!(rollout.step(Progress::Complete, at(121), &calm()), Progress::Complete);
}

#[test]
fn a_last_stage_for_some_never_ends_by_itself() {
    let rollout = Rollout::new("r", vec![stage("5%")]).unwrap();
    let begun = rollout.begin(at(0));
    assert_eq!(rollout.step(begun, at(1_000_000), &calm()), begun);
}

#[test]
fn every_guard_sees_its_own_breach_and_no_other() {
    type Spoil = fn(&mut Counts);
    let limits: [(Limit, Spoil); 4] = [
        (Limit::EngineErrors, |counts| counts.engine_errors = 1),
        (Limit::DenyRateDelta("5%".parse().unwrap()), |counts| counts.denied = 16),
        (Limit::ApprovalRateDelta("5%".parse().unwrap()), |counts| counts.approvals = 11),
        (Limit::P99 { us_max: 250 }, |counts| counts.p99_us = 251),
    ];
    for (guarded_by, _) in limits {
        let rollout = guarded(guarded_by, Reaction::RollBack);
        for (spoiled, spoil) in limits {
            let mut observed = calm();
            spoil(&mut observed.candidate);
            let next = rollout.step(rollout.begin(at(0)), at(1), &observed);
            let expected = match guarded_by == spoiled {
                true => Progress::RolledBack { by: guarded_by },
                false => rollout.begin(at(0)),
            };
            assert_eq!(next, expected, "{guarded_by:?} {spoiled:?}");
        }
    }
}

#[test]
fn a_rate_is_compared_both_ways_and_the_limit_itself_is_allowed() {
    let rollout = guarded(Limit::DenyRateDelta("5%".parse().unwrap()), Reaction::RollBack);
    let denied = |denied| {
        let mut observed = calm();
        observed.candidate.denied = denied;
        rollout.step(rollout.begin(at(0)), at(1), &observed) != rollout.begin(at(0))
    };
    assert_eq!([4, 5, 15, 16].map(denied), [true, false, false, true]);
}

#[test]
fn a_held_stage_goes_on_when_the_limit_holds_again_and_its_time_begins_anew() {
    let by = Limit::P99 { us_max: 100 };
    let rollout = guarded(by, Reaction::Hold);
    let mut slow = calm();
    slow.candidate.p99_us = 101;
    let held = rollout.step(rollout.begin(at(0)), at(30), &slow);
    assert_eq!(held, Progress::Held { stage: 0, since: at(30), by });
    assert_eq!(rollout.step(held, at(59), &slow), held, "it stays as it is while nothing changes");
    assert_eq!(rollout.step(held, at(59), &Observed::default()), held, "nothing was seen yet");
    let again = rollout.step(held, at(60), &calm());
    assert_eq!(again, Progress::Running { stage: 0, since: at(60) });
    assert_eq!(rollout.step(again, at(119), &calm()), again);
    let next = Progress::Running { stage: 1, since: at(120) };
    assert_eq!(rollout.step(again, at(120), &calm()), next);
}

#[test]
fn rolling_back_wins_over_holding_and_is_for_good() {
    let hold = Guard { limit: Limit::P99 { us_max: 1 }, then: Reaction::Hold };
    let back = Guard { limit: Limit::EngineErrors, then: Reaction::RollBack };
    let guards = vec![hold, back, hold];
    let rollout = Rollout::new("r", vec![Stage { guards, ..stage("100%") }]).unwrap();
    let mut observed = calm();
    observed.candidate.engine_errors = 1;
    let next = rollout.step(rollout.begin(at(0)), at(1), &observed);
    assert_eq!(next, Progress::RolledBack { by: Limit::EngineErrors });
    assert_eq!(rollout.step(next, at(9_999), &calm()), next);
    let side = rollout.side(next, &region("eu-west-1"), &tenant("acme"), &agent("bot"));
    assert_eq!(side, Side::Stable);
}

#[test]
fn a_rollout_has_stages() {
    assert_eq!(Rollout::new("r", Vec::new()), Err(RolloutError::Stages));
    assert_eq!(Rollout::new("r", vec![stage("1%"); 33]), Err(RolloutError::Stages));
    let guard = Guard { limit: Limit::EngineErrors, then: Reaction::Hold };
    let many = Stage { guards: vec![guard; 17], ..stage("1%") };
    assert_eq!(Rollout::new("r", vec![many]), Err(RolloutError::Guards));
}

#[test]
fn an_aborted_rollout_serves_nobody_for_good() {
    let rollout = Rollout::new("r", vec![stage("100%")]).unwrap();
    assert_eq!(rollout.step(Progress::Aborted, at(9_999), &calm()), Progress::Aborted);
    let side =
        rollout.side(Progress::Aborted, &region("eu-west-1"), &tenant("acme"), &agent("bot"));
    assert_eq!(side, Side::Stable);
}

#[test]
fn a_stage_is_written_as_people_write_it_and_read_back() {
    let text = r#"{"share":"5%","min_duration_s":600,"calls_min":100,"guards":[
        {"limit":"engine_errors","then":"roll_back"},
        {"limit":{"deny_rate_delta":"2%"},"then":"hold"},
        {"limit":{"p99":{"us_max":5000}},"then":"hold"}]}"#;
    let read: Stage = serde_json::from_str(text).unwrap();
    assert_eq!((read.min_duration, read.guards.len()), (Ttl::from_s(600), 3));
    let rollout = Rollout::new("r", vec![read]).unwrap();
    let written = serde_json::to_string(&rollout).unwrap();
    assert_eq!(serde_json::from_str::<Rollout>(&written).unwrap(), rollout);
    for bad in [r#"{"share":"101%"}"#, r#"{"share":"5%","shares":1}"#, "{}"] {
        assert!(serde_json::from_str::<Stage>(bad).is_err(), "{bad}");
    }
    assert!(serde_json::from_str::<Rollout>(r#"{"id":"r","stages":[]}"#).is_err());
}

prop_compose! {
    fn any_stage()(
        share in 0_u16..=10_000, regions in 0_u8..4, tenants in 0_u8..4, duration in 0_u64..100,
    ) -> Stage {
        let pick = |bits: u8, names: [&str; 2]| -> Vec<String> {
            let chosen = names.iter().enumerate().filter(|(index, _)| bits >> index & 1 == 1);
            chosen.map(|(_, name)| (*name).to_owned()).collect()
        };
        Stage {
            regions: pick(regions, ["r-1", "r-2"]).iter().map(|name| region(name)).collect(),
            tenants: pick(tenants, ["t-1", "t-2"]).iter().map(|name| tenant(name)).collect(),
            share: Share(share),
            min_duration: Ttl::from_s(duration),
            calls_min: 0,
            guards: vec![Guard { limit: Limit::P99 { us_max: 100 }, then: Reaction::Hold }],
        }
    }
}

proptest! {
    #[test]
    fn an_agent_stays_with_the_candidate_as_stages_and_shares_grow(
        stages in prop::collection::vec(any_stage(), 1..6),
        steps in prop::collection::vec((0_u64..200, any::<bool>()), 1..20),
        name in "[a-z]{1,8}", where_ in 1_u8..3, whose in 1_u8..3,
    ) {
        let rollout = Rollout::new("r", stages).unwrap();
        let (region, tenant, agent) =
            (region(&format!("r-{where_}")), tenant(&format!("t-{whose}")), agent(&name));
        let (mut now, mut progress) = (0, rollout.begin(at(0)));
        let mut before = rollout.side(progress, &region, &tenant, &agent);
        for (later, is_slow) in steps {
            now += later;
            let mut observed = calm();
            observed.candidate.p99_us = if is_slow { 101 } else { 1 };
            progress = rollout.step(progress, at(now), &observed);
            let side = rollout.side(progress, &region, &tenant, &agent);
            prop_assert!(side >= before, "{progress:?}");
            prop_assert_eq!(side, rollout.side(progress, &region, &tenant, &agent));
            before = side;
        }
    }

    #[test]
    fn a_larger_share_covers_all_that_a_smaller_one_does(
        small in 0_u16..=10_000, large in 0_u16..=10_000, name in "[a-z0-9]{1,12}",
    ) {
        let (small, large) = (Share(small.min(large)), Share(small.max(large)));
        let bucket = Bucket::of_agent("r", &tenant("acme"), &agent(&name));
        prop_assert!(!small.covers(bucket) || large.covers(bucket));
        prop_assert!(Share::ALL.covers(bucket) && !Share::NONE.covers(bucket));
    }
}
