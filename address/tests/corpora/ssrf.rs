//! Server-side request forgery: no URL, name or notation of the public lists leads to a forbidden address.
//!
//! Not here: sockets (the building tests). Invariant: what is dialled is what `Dialable` let through, so a breach is a
//! `Dialable` with another address than the one the lists allow.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aegis_address::{
    Authority, Dialable, HttpUrl, classify, is_metadata_name, may_dial, parse_host,
};
use aegis_domain::Host;
use ipnet::IpNet;
use serde_json::Value;

use crate::corpus;

const ALLOWED: &str = "198.51.100.10";

/// What the test data's name server answers: each answer it may give, one after another.
struct Names(BTreeMap<String, Vec<Vec<IpAddr>>>);

impl Names {
    fn read(fixture: &Value) -> Self {
        let mut names: BTreeMap<String, Vec<Vec<IpAddr>>> = BTreeMap::new();
        for family in ["a", "aaaa"] {
            let table = fixture.get(family).and_then(Value::as_object).unwrap();
            for (name, answers) in table {
                let answers = answers.as_array().unwrap().iter().filter_map(Value::as_str);
                let answers: Vec<IpAddr> = answers.map(|text| text.parse().unwrap()).collect();
                let one_by_one = name == "rebind.test";
                let sets = if one_by_one {
                    answers.iter().map(|address| vec![*address]).collect()
                } else {
                    vec![answers]
                };
                names.insert(name.clone(), sets);
            }
        }
        names.insert("localhost".to_owned(), vec![vec![Ipv4Addr::LOCALHOST.into()]]);
        Self(names)
    }

    fn answers(&self, host: &Host) -> Vec<Vec<IpAddr>> {
        if let Some(address) = host.address() {
            return vec![vec![address]];
        }
        let inside = host.as_str().strip_suffix(".nip.io").map(|name| name.replace('-', "."));
        let inside = inside.and_then(|name| name.parse().ok());
        inside.map_or_else(
            || self.0.get(host.as_str()).cloned().unwrap_or_default(),
            |address| vec![vec![address]],
        )
    }
}

#[derive(Default, Debug)]
struct Tally {
    unread: usize,
    unresolved: usize,
    forbidden: usize,
    allowed: usize,
    breaches: Vec<String>,
}

impl Tally {
    fn judge(&mut self, url: &str, host: Option<Host>, names: &Names) {
        let named: Vec<IpNet> = vec![ALLOWED.parse::<IpAddr>().unwrap().into()];
        let Some(host) = host else {
            self.unread += 1;
            return;
        };
        if is_metadata_name(&host) {
            self.forbidden += 1;
            return;
        }
        let answers = names.answers(&host);
        self.unresolved += usize::from(answers.is_empty());
        for answer in answers {
            match Dialable::check(answer, &named) {
                Err(_) => self.forbidden += 1,
                Ok(dialable) if dialable.turn(0).to_string() == ALLOWED => self.allowed += 1,
                Ok(dialable) => self.breaches.push(format!("{url} -> {dialable:?}")),
            }
        }
    }

    fn print(&self, mode: &str, of: usize) {
        println!(
            "ssrf, {mode}: {of} URLs: {} refused unread, {} forbidden, {} of no known name, {} allowed, {} breaches",
            self.unread,
            self.forbidden,
            self.unresolved,
            self.allowed,
            self.breaches.len()
        );
        assert_eq!(self.breaches, Vec::<String>::new());
    }
}

/// What a client puts into CONNECT for a URL: the text between the scheme and the path, with a port.
fn connect_target(url: &str) -> String {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    if has_port { authority.to_owned() } else { format!("{authority}:80") }
}

#[test]
fn no_url_leads_to_a_forbidden_address() {
    let (Some(urls), Some(fixture)) = (corpus("ssrf/urls.jsonl"), corpus("ssrf/dns_fixture.json"))
    else {
        return;
    };
    let names = Names::read(&serde_json::from_str(&fixture).unwrap());
    let urls: Vec<Value> = urls.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (mut absolute, mut connect) = (Tally::default(), Tally::default());
    for url in urls.iter().filter_map(|line| line.get("url")?.as_str()) {
        let read = HttpUrl::parse(url).map(|url| url.authority.host);
        absolute.judge(url, read.ok(), &names);
        let read = Authority::parse(&connect_target(url)).map(|authority| authority.host);
        connect.judge(url, read.ok(), &names);
    }
    absolute.print("absolute-form", urls.len());
    connect.print("CONNECT", urls.len());
    assert!(urls.len() >= 1_552);
    assert!(absolute.forbidden >= 250, "a reader that refuses everything proves nothing");
}

#[test]
fn every_name_of_the_fixture_is_refused_but_the_control() {
    let Some(fixture) = corpus("ssrf/dns_fixture.json") else { return };
    let names = Names::read(&serde_json::from_str(&fixture).unwrap());
    let mut tally = Tally::default();
    for name in names.0.keys() {
        tally.judge(name, Some(parse_host(name).unwrap()), &names);
    }
    tally.print("names of the DNS fixture", names.0.len());
    // The control, and the first answer of the name that is rebound afterwards.
    assert_eq!(tally.allowed, 2);
}

#[test]
fn every_listed_network_is_forbidden_from_its_first_address_to_its_last() {
    let Some(classes) = corpus("ssrf/address_classes.json") else { return };
    let classes: Value = serde_json::from_str(&classes).unwrap();
    let mut networks = 0;
    let mut probes = 0;
    for family in ["forbidden_v4", "forbidden_v6"] {
        for row in classes.get(family).and_then(Value::as_array).unwrap() {
            let net: IpNet = row.get("net").and_then(Value::as_str).unwrap().parse().unwrap();
            networks += 1;
            for address in samples(net) {
                probes += 1;
                assert!(may_dial(address, &[]).is_err(), "{address} of {net} is public");
            }
        }
    }
    println!("ssrf, networks: {networks} networks, {probes} probes, 0 public");
    assert!(networks >= 34);
}

/// The ends of a network and 255 addresses spread over it.
fn samples(net: IpNet) -> Vec<IpAddr> {
    let spread = |first: u128, last: u128| {
        let step = (last - first) / 256 + 1;
        let mut all: Vec<u128> = (0..256).map(|at| (first + step * at).min(last)).collect();
        all.push(last);
        all
    };
    match net {
        IpNet::V4(net) => spread(net.network().to_bits().into(), net.broadcast().to_bits().into())
            .into_iter()
            .map(|bits| IpAddr::V4(Ipv4Addr::from_bits(u32::try_from(bits).unwrap())))
            .collect(),
        IpNet::V6(net) => spread(net.network().to_bits(), net.broadcast().to_bits())
            .into_iter()
            .map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits)))
            .collect(),
    }
}

/// The thirteen encodings of an IPv4 address that the data names.
fn encodings(address: Ipv4Addr) -> Vec<(&'static str, String)> {
    let number = address.to_bits();
    let [high, low] = [number >> 16, number & 0xffff];
    vec![
        ("dec", format!("{number}")),
        ("hex", format!("{number:#x}")),
        ("oct", format!("0{number:o}")),
        ("v4mapped", format!("[::ffff:{address}]")),
        ("v4mapped-hex", format!("[::ffff:{high:x}:{low:x}]")),
        ("v4compat", format!("[::{address}]")),
        ("nat64", format!("[64:ff9b::{address}]")),
        ("nat64-local", format!("[64:ff9b:1::{address}]")),
        ("6to4", format!("[2002:{high:x}:{low:x}::1]")),
        (
            "teredo",
            format!("[2001:0:4136:e378:8000:63bf:{:x}:{:x}]", !high & 0xffff, !low & 0xffff),
        ),
        ("siit", format!("[::ffff:0:{address}]")),
        ("isatap", format!("[fe80::5efe:{address}]")),
        ("trailing-dot", format!("{address}.")),
    ]
}

#[test]
fn every_sample_address_is_refused_in_every_encoding() {
    let Some(classes) = corpus("ssrf/address_classes.json") else { return };
    let classes: Value = serde_json::from_str(&classes).unwrap();
    let listed = classes.get("encodings_of_v4").and_then(Value::as_array).unwrap();
    let listed: Vec<&str> = listed.iter().filter_map(|row| row.get("id")?.as_str()).collect();
    let sample = |family: &str| -> Vec<String> {
        let rows = classes.get(family).and_then(Value::as_array).unwrap();
        rows.iter().map(|row| strings_of(row, "address")).collect()
    };
    let (v4, v6) = (sample("sample_v4"), sample("sample_v6"));
    let (mut unread, mut forbidden) = (0, 0);
    let mut texts: Vec<String> = v6.iter().map(|text| format!("[{text}]")).collect();
    texts.extend(v6.iter().map(|text| format!("[{text}%25lo]")));
    for text in &v4 {
        let encoded = encodings(text.parse().unwrap());
        assert_eq!(encoded.iter().map(|(id, _)| *id).collect::<Vec<_>>(), listed);
        texts.push(text.clone());
        texts.extend(encoded.into_iter().map(|(_, text)| text));
    }
    for text in &texts {
        match parse_host(text).map(|host| host.address()) {
            Err(_) => unread += 1,
            Ok(Some(address)) if may_dial(address, &[]).is_err() => forbidden += 1,
            Ok(other) => panic!("{text} is read as {other:?}"),
        }
    }
    println!(
        "ssrf, samples: {} addresses, {} encodings, {} notations: {unread} refused unread, {forbidden} forbidden, 0 public",
        v4.len() + v6.len(),
        listed.len(),
        texts.len()
    );
    assert!(v4.len() + v6.len() >= 37 && listed.len() >= 13);
}

fn strings_of(row: &Value, key: &str) -> String {
    row.get(key).and_then(Value::as_str).unwrap().to_owned()
}

#[test]
fn the_control_is_dialled_when_the_test_names_it() {
    let control: IpAddr = ALLOWED.parse().unwrap();
    assert_eq!(may_dial(control, &[control.into()]), Ok(()));
    assert_eq!(classify("93.184.216.34".parse().unwrap()).as_str(), "public");
}
