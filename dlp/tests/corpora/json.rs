//! JSONTestSuite for the strict reading, and the big list of naughty strings for everything.

use aegis_dlp::{ContentKind, check_json, json_params, redact, scan, scan_query};
use aegis_domain::{Detector, Obligation};
use bytes::Bytes;
use serde_json::Value;

use crate::corpus;

/// Valid by RFC 8259, refused here because two readers may disagree about what they mean.
const DUPLICATES: [&str; 2] =
    ["y_object_duplicated_key.json", "y_object_duplicated_key_and_value.json"];

#[test]
fn good_json_is_accepted_and_bad_json_refused() {
    let Some(folder) = corpus("jsontestsuite") else { return };
    let (mut good, mut bad, mut accepted) = (0, 0, 0);
    for entry in std::fs::read_dir(folder.join("test_parsing")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let body = std::fs::read(&path).unwrap();
        let checked = check_json(&body);
        match name.as_bytes()[0] {
            b'y' if DUPLICATES.contains(&name.as_str()) => assert!(checked.is_err(), "{name}"),
            b'y' => {
                good += 1;
                assert_eq!(checked, Ok(()), "{name}");
            }
            b'n' => {
                bad += 1;
                assert!(checked.is_err(), "{name}");
            }
            _ => accepted += usize::from(checked.is_ok()),
        }
        // Whatever it is, looking at it does no harm, and what policy reads is what was checked.
        let _seen = scan(&body, &ContentKind::Json);
        if let Ok(params) = json_params(&body) {
            assert_eq!(checked, Ok(()), "{name}");
            assert_eq!(serde_json::from_slice::<Value>(&body).unwrap(), Value::Object(params));
        }
    }
    println!(
        "jsontestsuite: {good} y accepted, 2 y with duplicate keys refused, {bad} n refused, {accepted} of 35 i accepted"
    );
}

#[test]
fn naughty_strings_neither_panic_nor_break_json() {
    let Some(folder) = corpus("blns") else { return };
    let text = std::fs::read_to_string(folder.join("blns.json")).unwrap();
    let strings: Vec<String> = serde_json::from_str(&text).unwrap();
    let order = [Obligation::Redact { detectors: Detector::ALL.to_vec() }];
    for string in &strings {
        let body = serde_json::json!({ string.as_str(): [string, { "ssn": string }] }).to_string();
        let redacted = redact(&Bytes::from(body), &ContentKind::Json, &order).unwrap();
        assert_eq!(check_json(&redacted.body), Ok(()), "{string:?}");
        let _query = scan_query(string);
        let _text = scan(string.as_bytes(), &ContentKind::Text);
    }
    assert_eq!(redact(&Bytes::from(text), &ContentKind::Json, &order).map(|_| ()), Ok(()));
}
