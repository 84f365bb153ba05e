//! Proofs over HTTP: an agent asks about the record that its attestation promises.

use std::time::{Duration, Instant};

use aegis_audit_chain::Hash;
use aegis_audit_proof::{Proof, Proven};
use aegis_audit_trust::Trust;
use aegis_testkit::{Agent, Building, Plan, Reply};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::GATEWAY;

/// As an attestation promises (`mmd`).
const MERGE_DELAY: Duration = Duration::from_secs(60);

/// What an attestation says.
fn promise(reply: &Reply) -> Value {
    let token = reply.header("aegis-attestation").unwrap();
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

/// Where the proof of an attested record is.
fn path(promise: &Value) -> String {
    let log = Hash::of(promise["log"].as_str().unwrap().as_bytes());
    format!("/v1/audit/proof/{log}/{}", promise["seq"].as_str().unwrap())
}

/// Asks until there is a proof; until then every answer says when to ask again.
async fn proof(agent: &Agent<'_>, promise: &Value) -> String {
    let begun = Instant::now();
    loop {
        let reply = agent.get(&format!("/-{}", path(promise))).send().await;
        if reply.status == 200 {
            return reply.text();
        }
        assert_eq!(
            (reply.status.as_u16(), reply.header("retry-after").as_deref()),
            (404, Some("1"))
        );
        assert!(begun.elapsed() < MERGE_DELAY, "{}", reply.text());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Believes a proof by the trust file alone.
fn check(house: &Building, text: &str, promise: &Value) -> Proven {
    let trust = std::fs::read_to_string(house.data().join("trust.txt")).unwrap();
    let proof = Proof::parse(text).unwrap();
    assert_eq!(Hash::leaf(&proof.record).to_string(), promise["leaf"].as_str().unwrap());
    let proven = proof.check(&Trust::parse(&trust).unwrap()).unwrap();
    assert_eq!(proven.head.origin.as_str(), promise["log"].as_str().unwrap());
    assert_eq!(proven.record.head.seq.to_string(), promise["seq"].as_str().unwrap());
    proven
}

async fn call(agent: &Agent<'_>) -> Value {
    promise(&agent.post("/open/x").json(&json!({ "text": "a" })).send().await)
}

#[tokio::test]
async fn an_attested_record_is_proved_to_its_agent_and_to_nobody_else() {
    let house = Plan::new().await.start(GATEWAY).await;
    let bot = house.agent("bot");
    let refused = bot.post("/open/x").json(&json!({ "text": "forbidden" })).send().await;
    for promise in [call(&bot).await, promise(&refused)] {
        let text = proof(&bot, &promise).await;
        check(&house, &text, &promise);
        let path = path(&promise);
        let unknown = bot.get(&format!("/-{path}999")).send().await;
        assert_eq!(unknown.status, 404);
        for stranger in [house.agent("second-bot"), house.agent("bot").of("other")] {
            let reply = stranger.get(&format!("/-{path}")).send().await;
            assert_eq!((reply.status.as_u16(), reply.text()), (404, unknown.text()));
        }
        let nobody = bot.get(&format!("/-{path}")).without("authorization").send().await;
        assert_eq!(nobody.status, 401);
        let operator = house.ops("GET", &path).await;
        assert_eq!((operator.status, operator.text()), (200, text));
    }
    // Nobody's record: the stream's first.
    let genesis = path(&json!({ "log": promise(&refused)["log"], "seq": "0" }));
    assert_eq!(bot.get(&format!("/-{genesis}")).send().await.status, 404);
    assert_eq!(house.ops("GET", &genesis).await.status, 200);
    for bad in ["/-/v1/audit/proof/", "/-/v1/audit/proof/x/1", "/-/v1/audit/proof/../../x"] {
        assert!(bot.get(bad).send().await.status.is_client_error(), "{bad}");
    }
}

#[tokio::test]
async fn earlier_lives_are_proved_as_well_also_those_that_were_killed() {
    let plan = Plan::new().await.without("/tenants/other").without("/tenants/abroad");
    let mut house = plan.start(GATEWAY).await;
    let mut promises = Vec::new();
    for life in 0..3 {
        for _ in 0..5 {
            promises.push(call(&house.agent("bot")).await);
        }
        match life {
            // In the second in which no head covers the last of them yet.
            1 => {
                house.shoot();
                house.ended().await;
            }
            _ => house.stop().await,
        }
        house.start_again().await;
    }
    let mut by_region = 0;
    for promise in &promises {
        let text = proof(&house.agent("bot"), promise).await;
        let head = check(&house, &text, promise).head;
        by_region += usize::from(!text.contains(&format!("\u{2014} {} ", head.origin)));
    }
    assert!((1..=5).contains(&by_region), "{by_region} of a life that was killed");
    house.stop().await;
}

#[tokio::test]
async fn a_record_that_was_changed_on_disk_is_not_proved() {
    let plan = Plan::new().await.without("/tenants/other").without("/tenants/abroad");
    let house = plan.start(GATEWAY).await;
    let (first, second) = (call(&house.agent("bot")).await, call(&house.agent("bot")).await);
    proof(&house.agent("bot"), &second).await;
    let name = std::fs::read_to_string(house.data().join("gateway.name")).unwrap();
    let wal = house.data().join("audit/streams").join(name);
    let wal = wal.join("00000000000000000001/wal/00000000000000000000.wal");
    let mut bytes = std::fs::read(&wal).unwrap();
    // With its checksum made good, as whoever can write to the disk would.
    let needle = first["jti"].as_str().unwrap().as_bytes();
    let at = bytes.windows(needle.len()).position(|window| window == needle).unwrap();
    let start = bytes[..at].windows(6).rposition(|window| window == b"{\"v\":1").unwrap();
    bytes[at] ^= 1;
    let length = u32::from_be_bytes(bytes[start - 8..start - 4].try_into().unwrap()) as usize;
    let mut framed = Vec::new();
    aegis_audit_chain::frame::push_frame(&mut framed, &bytes[start..start + length]);
    bytes[start - 8..start + length].copy_from_slice(&framed);
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::OpenOptions::new().write(true).open(&wal).unwrap();
    file.write_all_at(&bytes[start - 8..start + length], (start - 8) as u64).unwrap();
    let reply = house.ops("GET", &path(&first)).await;
    assert_eq!(reply.status, 500, "{}", reply.text());
    assert!(reply.text().contains("not what was signed"), "{}", reply.text());
}
