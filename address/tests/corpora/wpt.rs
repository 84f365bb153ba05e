//! The URL cases of web-platform-tests: where we accept, our host and port are those of the WHATWG parser.
//!
//! Not here: internationalised names one by one (`idna`). Invariant: a case that must fail is never accepted.

use aegis_address::HttpUrl;
use serde_json::Value;
use url::Url;

use crate::corpus;

fn text<'a>(case: &'a Value, key: &str) -> &'a str {
    case.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Host and port, as the standard's parser reads them.
fn standard(url: &str) -> Option<(String, u16)> {
    let url = Url::parse(url).ok()?;
    Some((url.host_str()?.to_owned(), url.port_or_known_default()?))
}

/// Ours, in the spelling of the standard's serialiser, which writes an IPv6 address without a dotted tail.
fn ours(url: &HttpUrl) -> (String, u16) {
    let host = match url.authority.host.address() {
        Some(std::net::IpAddr::V6(address)) => url::Host::<&str>::Ipv6(address).to_string(),
        Some(std::net::IpAddr::V4(_)) | None => url.authority.host.to_string(),
    };
    (host, url.port())
}

#[test]
fn where_a_url_is_accepted_its_host_is_the_one_of_the_standard() {
    let Some(data) = corpus("url-wpt/urltestdata.json") else { return };
    let cases: Vec<Value> = serde_json::from_str(&data).unwrap();
    let cases: Vec<&Value> = cases.iter().filter(|case| case.is_object()).collect();
    let (mut accepted, mut failing, mut failing_refused) = (0, 0, 0);
    let mut disagreements = Vec::new();
    for case in &cases {
        let input = text(case, "input");
        let must_fail = case.get("failure") == Some(&Value::Bool(true));
        let read = HttpUrl::parse(input);
        failing += usize::from(must_fail);
        failing_refused += usize::from(must_fail && read.is_err());
        let Ok(url) = read else { continue };
        accepted += 1;
        let listed = standard(text(case, "href"));
        let second_opinion = standard(input);
        let mine = Some(ours(&url));
        if must_fail || listed != mine || second_opinion != mine {
            disagreements.push(format!("{input:?}: {mine:?}, {listed:?}, {second_opinion:?}"));
        }
    }
    println!(
        "url-wpt: {} URLs: {accepted} accepted, {} refused, {} disagreements; {failing} must fail, {failing_refused} refused",
        cases.len(),
        cases.len() - accepted,
        disagreements.len()
    );
    assert_eq!(disagreements, Vec::<String>::new());
    assert!(cases.len() >= 869 && failing >= 273 && failing_refused == failing);
    assert!(accepted >= 60, "a reader that refuses everything proves nothing: {accepted}");
}
