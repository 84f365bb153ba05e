//! URLs that are made to be misread, as request targets: never a panic, and one authority or none.

use aegis_gate::{Head, Limits, Reading, Target};

use crate::{corpus, json_lines};

#[derive(Default)]
struct Counts {
    absolute: usize,
    connect: usize,
    origin: usize,
}

/// Reads one URL in the three forms of a request; what passes names the authority that plain cutting finds.
fn read(url: &str, counts: &mut Counts) {
    let after_scheme = url.split_once("://").map_or("", |(_, rest)| rest);
    let cut = after_scheme.find(['/', '?', '#', '\\']).unwrap_or(after_scheme.len());
    let (host, resource) = after_scheme.split_at(cut);
    let absolute = format!("GET {url} HTTP/1.1\r\nHost: {host}\r\n\r\n");
    if let Some(Target::Absolute { authority, .. }) = target(&absolute) {
        let port = authority.port().map(|port| format!(":{port}")).unwrap_or_default();
        assert_eq!(format!("{}{port}", authority.host()), host, "{url:?}");
        counts.absolute += 1;
    }
    let host_port = if authority_has_port(host) { host.to_owned() } else { format!("{host}:80") };
    let connect = format!("CONNECT {host_port} HTTP/1.1\r\nHost: {host_port}\r\n\r\n");
    if let Some(Target::Authority { authority, port }) = target(&connect) {
        assert_eq!(format!("{}:{port}", authority.host()), host_port, "{url:?}");
        counts.connect += 1;
    }
    let origin = format!("GET {resource} HTTP/1.1\r\nHost: a\r\n\r\n");
    if let Some(Target::Origin(read)) = target(&origin) {
        assert!(read.path.starts_with('/') && !read.path.contains("//"), "{url:?}");
        assert!(read.path.bytes().all(|byte| byte.is_ascii_graphic()), "{url:?}");
        counts.origin += 1;
    }
}

fn authority_has_port(host: &str) -> bool {
    let after_address = host.rsplit(']').next().unwrap_or_default();
    after_address.contains(':')
}

fn target(text: &str) -> Option<Target<'_>> {
    match Head::read(text.as_bytes(), Limits::REQUEST) {
        Ok(Reading::Complete(head)) => Some(head.target),
        Ok(Reading::Partial | Reading::Http2Preface) | Err(_) => None,
    }
}

fn print(set: &str, of: usize, counts: &Counts) {
    let Counts { absolute, connect, origin } = counts;
    println!(
        "{set}: of {of} URLs, read as absolute {absolute}, CONNECT {connect}, origin {origin}"
    );
}

#[test]
fn a_hostile_url_names_one_authority_or_is_refused() {
    if let Some(folder) = corpus("ssrf") {
        let lines = json_lines(folder.join("urls.jsonl"));
        let mut counts = Counts::default();
        lines.iter().for_each(|line| read(line["url"].as_str().unwrap(), &mut counts));
        print("ssrf", lines.len(), &counts);
    }
    if let Some(folder) = corpus("url-wpt") {
        let text = std::fs::read_to_string(folder.join("urltestdata.json")).unwrap();
        let cases: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
        let mut counts = Counts::default();
        let mut urls = 0;
        for input in cases.iter().filter_map(|case| case["input"].as_str()) {
            read(input, &mut counts);
            urls += 1;
        }
        print("url-wpt", urls, &counts);
    }
}
