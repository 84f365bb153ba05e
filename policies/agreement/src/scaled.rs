//! A policy of any size, for figures: tools of 20 rules each, as a payments team might write them.
//!
//! Not here: packs that anyone should use (`policies/packs`). Invariant: every tool is alike, so that only the number of
//! tools differs between sizes, and the last one's test is an allowed call that meets all of its rules.

use std::fmt::Write as _;

const RULES_PER_TOOL: usize = 20;

/// A policy with this many rules, or the next multiple of 20.
pub fn scaled(rules: usize) -> String {
    let tools = rules.div_ceil(RULES_PER_TOOL);
    let mut text = HEAD.to_owned();
    for tool in 0..tools {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{}", TOOL.replace("NUMBER", &tool.to_string()));
    }
    text.push_str("tests:\n");
    text.push_str(&TEST.replace("NUMBER", &tools.saturating_sub(1).to_string()));
    text
}

const HEAD: &str = "\
apiVersion: aegis.dev/v1
kind: PolicySet
metadata: { tenant: acme, env: prod }
lists:
  currencies: [USD, EUR, GBP, CHF, SEK]
calendars:
  hours: { tz: Europe/Berlin, weekly: ['Mon-Fri 08:00-20:00'] }
approvals:
  fin: { route: 'slack:#fin', expires: 15m }
obligations:
  blank: { redact: { detectors: [ssn, email] } }
tools:
";

const TOOL: &str = "  \
  pay.NUMBER:
    class: write
    match: { hosts: [api.NUMBER.test], methods: [POST], paths: [/v1/pay] }
    allow: { groups: [finance], scopes: ['payments:write'] }
    params:
      amount: { type: integer, required: true, min: 1, max: 500000 }
      currency: { type: string, required: true, in: $currencies }
      destination: { type: string, required: true, pattern: '^acct_[A-Za-z0-9]{8,24}$' }
      memo: { type: string, max_length: 140 }
    rules:
    - { id: ceiling, effect: deny, when: { param: amount, gt: 450000 } }
    - { id: chf, effect: deny, when: { all: [ { param: currency, eq: CHF }, { param: amount, gt: 90000 } ] } }
    - { id: sek, effect: deny, when: { all: [ { param: currency, eq: SEK }, { param: amount, gt: 80000 } ] } }
    - { id: blocked-a, effect: deny, when: { param: destination, prefix: acct_XX } }
    - { id: blocked-b, effect: deny, when: { param: destination, prefix: acct_YY } }
    - { id: blocked-c, effect: deny, when: { param: destination, suffix: '000' } }
    - { id: blocked-d, effect: deny, when: { param: destination, contains: ZZZ } }
    - { id: urgent, effect: deny, when: { param: memo, contains: urgent } }
    - { id: link, effect: deny, when: { param: memo, contains: 'http' } }
    - { id: tier, effect: deny, when: { not: { agent: tier, in: [gold, silver] } } }
    - { id: suspended, effect: deny, when: { agent: suspended, eq: true } }
    - { id: region, effect: deny, when: { not: { request: region, in: [eu-west-1, us-east-1] } } }
    - { id: secrets, effect: deny, when: { dlp: [secret] } }
    - { id: budget, effect: deny, when: { budget_remaining: { lt: estimated_cost } } }
    - { id: high, effect: approval_needed, when: { param: amount, gt: 100000 }, approval: fin }
    - { id: off-hours, effect: approval_needed, when: { all: [ { not: { calendar: hours } }, { param: amount, gt: 20000 } ] }, approval: fin }
    - { id: foreign, effect: approval_needed, when: { all: [ { param: currency, neq: USD }, { param: amount, gt: 50000 } ] }, approval: fin }
    - { id: silver, effect: approval_needed, when: { all: [ { agent: tier, eq: silver }, { param: amount, gt: 10000 } ] }, approval: fin }
    - { id: memo-pii, effect: sanitize, when: { dlp: [ssn, email] }, obligation: blank }
    - { id: large, effect: deny, mode: shadow, when: { param: amount, gt: 40000 } }
";

const TEST: &str = "\
- name: pay
  tool: pay.NUMBER
  agent: { groups: [finance], scopes: ['payments:write'], attributes: { tier: gold } }
  region: eu-west-1
  at: 2026-11-20T10:00:00Z
  cases:
  - { params: { amount: 4200, currency: USD, destination: acct_1A2b3C4d5E, memo: rent }, expect: allow }
";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pack;

    #[test]
    fn every_size_compiles_and_its_test_is_allowed() {
        for rules in [20, 200] {
            let pack = Pack::compile("scaled", &scaled(rules)).unwrap();
            assert_eq!(pack.set.tools.values().map(|tool| tool.rules.len()).sum::<usize>(), rules);
            assert!(aegis_policy::cases::run(&pack.snapshot, &pack.set).passed());
        }
    }
}
