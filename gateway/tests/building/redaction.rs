//! Personal data the policy wants blanked is gone from what the upstream receives, however it was packed.
//!
//! Not here: what counts as personal data (`dlp`).

use std::io::Write as _;

use aegis_domain::{Effect, Reason};
use aegis_testkit::{Ask, Building, Wire};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::house;

const SSN: &str = "123-45-6789";
const MAIL: &str = "ada@example.org";
const BIRTH: &str = "1984-03-12";

fn note() -> String {
    format!("Patient SSN {SSN}, born {BIRTH}, date of birth 03/12/1984, mail {MAIL}: stable.")
}

fn assert_clean(text: &str) {
    for raw in [SSN, MAIL, BIRTH, "03/12/1984"] {
        assert!(!text.contains(raw), "{raw} left in {text}");
    }
}

fn post(house: &Building) -> Ask<'_> {
    house.agent("bot").post("/care/v1/notes")
}

#[tokio::test]
async fn personal_data_is_gone_from_json() {
    let house = house().await;
    for wire in Wire::ALL {
        let ask = post(&house).json(&json!({ "text": note(), "mail": MAIL }));
        let record = ask.over(wire).send().await.is_ok().record();
        let received = house.upstream().last();
        assert_clean(&received.everything());
        let body: Value = serde_json::from_slice(&received.body).unwrap();
        assert!(body["text"].as_str().unwrap().ends_with(": stable."), "{body}");
        assert_eq!((record.decision, record.reason), (Effect::Sanitize, Reason::Sanitized));
        let found: Vec<_> =
            record.redactions.iter().map(|one| (one.rule.as_str(), one.count)).collect();
        assert_eq!(found, [("ssn", 1), ("email", 2), ("dob", 2)]);
    }
}

#[tokio::test]
async fn personal_data_is_gone_from_escaped_json() {
    let house = house().await;
    let escaped: String =
        SSN.chars().map(|letter| format!("\\u{:04x}", u32::from(letter))).collect();
    let body = format!(r#"{{"text":"SSN {escaped}."}}"#);
    post(&house).body("application/json", body).send().await.is_ok();
    let received = house.upstream().last();
    let body: Value = serde_json::from_slice(&received.body).unwrap();
    assert_clean(body["text"].as_str().unwrap());
    assert!(!received.text().contains(&escaped));
}

#[tokio::test]
async fn personal_data_is_gone_from_forms() {
    let house = house().await;
    let form = format!("text=SSN+{SSN}%2C+born+{BIRTH}&mail=ada%40example.org");
    post(&house).body("application/x-www-form-urlencoded", form).send().await.is_ok();
    let received = house.upstream().last();
    assert_clean(received.text());
    assert!(!received.text().contains("ada%40example.org"));
    assert!(received.text().contains("&mail="), "{}", received.text());
}

#[tokio::test]
async fn personal_data_is_gone_from_multipart() {
    let house = house().await;
    let part = |name: &str, text: &str| {
        format!("--limit\r\ncontent-disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
    };
    let body = format!("{}{}--limit--\r\n", part("text", &note()), part("mail", MAIL));
    post(&house).body("multipart/form-data; boundary=limit", body).send().await.is_ok();
    let received = house.upstream().last();
    assert_clean(received.text());
    assert!(received.text().ends_with("--limit--\r\n"));
    assert!(received.text().contains("name=\"mail\""));
}

#[tokio::test]
async fn personal_data_is_gone_from_base64_inside_json() {
    let house = house().await;
    let blob = STANDARD.encode(note());
    post(&house).json(&json!({ "blob": blob })).send().await.is_ok();
    let received = house.upstream().last();
    let body: Value = serde_json::from_slice(&received.body).unwrap();
    let left = body["blob"].as_str().unwrap();
    assert_ne!(left, blob);
    if let Ok(decoded) = STANDARD.decode(left) {
        assert_clean(&String::from_utf8_lossy(&decoded));
    }
}

#[tokio::test]
async fn personal_data_is_gone_from_compressed_bodies() {
    let house = house().await;
    let mut gzip = GzEncoder::new(Vec::new(), Compression::default());
    gzip.write_all(json!({ "text": note() }).to_string().as_bytes()).unwrap();
    let packed = gzip.finish().unwrap();
    for wire in Wire::ALL {
        let ask = post(&house).body("application/json", packed.clone()).over(wire);
        ask.header("content-encoding", "gzip").send().await.is_ok();
        let received = house.upstream().last();
        assert_eq!(received.header("content-encoding"), None);
        assert_clean(received.text());
        assert!(received.text().contains(": stable."));
    }
}

#[tokio::test]
async fn personal_data_is_gone_from_queries_and_refused_in_paths() {
    let house = house().await;
    let bot = house.agent("bot");
    bot.get(&format!("/care/v1/notes?text=SSN+{SSN}")).send().await.is_ok();
    let received = house.upstream().last();
    assert_clean(&received.target);
    assert!(received.target.starts_with("/v1/notes?text="));
    let stuck = bot.get(&format!("/care/v1/notes/{SSN}")).send().await;
    stuck.is_denied(Reason::Unredactable);
    assert_eq!(house.upstream().count(), 1);
}
