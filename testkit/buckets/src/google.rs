//! Google Cloud Storage as its documentation has it, as far as a log's shipper asks: objects by the XML API, a bucket's policy by the
//! JSON API. It stands here because no emulator in a package registry knows `x-goog-if-generation-match` in the XML API. Google's own
//! <https://github.com/googleapis/storage-testbench> does, and agrees on the condition and the policy, but it has neither lists nor entity
//! tags there, so no client of the XML API can use it.
//!
//! Not here: versions, signatures, time; a policy holds for as long as the store lives. Invariant: each rule names the page that says so,
//! and pages of lists are as short as Google may make them.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::fault_proxy::request;

const TOKEN: &str = "test";
/// Objects on one page of a list; Google gives 1,000 at most.
const PAGE: usize = 7;
/// Nobody asks when an object was written.
const WRITTEN: (&str, &str) = ("Mon, 23 Nov 2026 00:00:00 GMT", "2026-11-23T00:00:00.000Z");

/// A running store.
#[derive(Debug)]
pub struct Google {
    port: u16,
    buckets: Arc<Mutex<BTreeMap<String, Bucket>>>,
    is_over: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Bucket {
    /// Seconds, and whether it is locked.
    policy: Option<(u64, bool)>,
    generation: u64,
    objects: BTreeMap<String, Object>,
}

#[derive(Debug)]
struct Object {
    generation: u64,
    bytes: Vec<u8>,
}

/// A request's head, taken apart.
struct Asked<'h> {
    head: &'h str,
    method: &'h str,
    bucket: String,
    /// Empty for the bucket itself.
    object: String,
    query: BTreeMap<String, String>,
}

/// Status, other headers, body.
type Answer = (u16, Vec<String>, Vec<u8>);

impl Google {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let buckets = Arc::new(Mutex::new(BTreeMap::new()));
        let is_over = Arc::new(AtomicBool::new(false));
        let (shared, over) = (Arc::clone(&buckets), Arc::clone(&is_over));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let (buckets, stream) = (Arc::clone(&shared), stream.unwrap());
                std::thread::spawn(move || serve(stream, &buckets));
            }
        });
        Self { port, buckets, is_over }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Makes a bucket; its policy is a number of seconds, and whether it is locked.
    pub fn bucket(&self, name: &str, policy: Option<(u64, bool)>) {
        let bucket = Bucket { policy, ..Bucket::default() };
        self.buckets.lock().insert(name.to_owned(), bucket);
    }

    /// Sends one request as anybody might who has the account's token; hands out the status.
    pub fn ask(&self, method: &str, place: &str, body: &str) -> u16 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let length = body.len();
        let text = format!(
            "{method} /{place} HTTP/1.1\r\nauthorization: Bearer {TOKEN}\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Google {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// What a client must know of the store at `port`, as `object_store` names it.
pub fn google_options(port: u16) -> Vec<(String, String)> {
    let endpoint = format!("http://127.0.0.1:{port}");
    let options = [
        ("google_base_url", endpoint.as_str()),
        ("google_allow_http", "true"),
        ("google_bearer_token", TOKEN),
    ];
    options.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
}

fn serve(mut client: TcpStream, buckets: &Mutex<BTreeMap<String, Bucket>>) {
    let Some((head, body)) = request(&client) else { return };
    let asked = Asked::new(&head);
    let (status, headers, body) = match buckets.lock().get_mut(&asked.bucket) {
        _ if asked.header("authorization") != Some(&format!("Bearer {TOKEN}")) => {
            error(401, "AuthenticationRequired")
        }
        None => error(404, "NoSuchBucket"),
        Some(bucket) => bucket.answer(&asked, body),
    };
    let length = body.len();
    let mut text =
        format!("HTTP/1.1 {status} -\r\nconnection: close\r\ncontent-length: {length}\r\n");
    for header in headers {
        text.push_str(&header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    let body = if asked.method == "HEAD" { Vec::new() } else { body };
    drop(client.write_all(&[text.as_bytes(), &body].concat()));
}

impl<'h> Asked<'h> {
    fn new(head: &'h str) -> Self {
        let mut line = head.split(' ');
        let (method, target) = (line.next().unwrap(), line.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let path = path.trim_start_matches('/');
        let (bucket, object) = match path.strip_prefix("storage/v1/b/") {
            Some(bucket) => (bucket, "?"),
            None => path.split_once('/').unwrap_or((path, "")),
        };
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let query = pairs.map(|(name, value)| (name.to_owned(), plain(value))).collect();
        Self { head, method, bucket: plain(bucket), object: plain(object), query }
    }

    fn header(&self, wanted: &str) -> Option<&'h str> {
        let mut headers = self.head.lines().filter_map(|line| line.split_once(": "));
        headers.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value)
    }
}

impl Bucket {
    fn answer(&mut self, asked: &Asked<'_>, body: Vec<u8>) -> Answer {
        match (asked.method, asked.object.as_str()) {
            ("GET", "?") => self.resource(),
            ("GET", "") => self.list(asked),
            ("GET" | "HEAD", _) => self.read(asked),
            ("PUT", _) => self.write(asked, body),
            ("DELETE", _) => self.delete(asked),
            _ => error(405, "MethodNotAllowed"),
        }
    }

    /// <https://cloud.google.com/storage/docs/json_api/v1/buckets/get>, of which `fields` asks for the policy alone; a number of
    /// 64 bits is in quotes, and what is not so is left out.
    fn resource(&self) -> Answer {
        let policy = self.policy.map(|(seconds, is_locked)| {
            let locked = if is_locked { ",\"isLocked\":true" } else { "" };
            let since = WRITTEN.1;
            format!("\"retentionPolicy\":{{\"retentionPeriod\":\"{seconds}\",\"effectiveTime\":\"{since}\"{locked}}}")
        });
        let text = format!("{{{}}}", policy.unwrap_or_default());
        (200, vec!["content-type: application/json; charset=UTF-8".to_owned()], text.into())
    }

    /// <https://cloud.google.com/storage/docs/xml-api/put-object-upload>; the condition is that of
    /// <https://cloud.google.com/storage/docs/xml-api/reference-headers#xgoogifgenerationmatch>: 0 is for an object that is not there.
    fn write(&mut self, asked: &Asked<'_>, bytes: Vec<u8>) -> Answer {
        let live = self.objects.get(&asked.object).map_or(0, |object| object.generation);
        let wanted = asked.header("x-goog-if-generation-match");
        if wanted.is_some_and(|wanted| wanted.parse() != Ok(live)) {
            return error(412, "PreconditionFailed");
        }
        if let Some(refused) = self.held(asked) {
            return refused;
        }
        self.generation += 1;
        let generation = self.generation;
        self.objects.insert(asked.object.clone(), Object { generation, bytes });
        (200, described(generation), Vec::new())
    }

    fn delete(&mut self, asked: &Asked<'_>) -> Answer {
        if let Some(refused) = self.held(asked) {
            return refused;
        }
        match self.objects.remove(&asked.object) {
            Some(_) => (204, Vec::new(), Vec::new()),
            None => error(404, "NoSuchKey"),
        }
    }

    /// <https://cloud.google.com/storage/docs/bucket-lock>: nothing under a policy is written over or deleted.
    fn held(&self, asked: &Asked<'_>) -> Option<Answer> {
        let is_held = self.policy.is_some() && self.objects.contains_key(&asked.object);
        is_held.then(|| error(403, "RetentionPolicyNotMet"))
    }

    /// <https://cloud.google.com/storage/docs/xml-api/get-object-download>
    fn read(&self, asked: &Asked<'_>) -> Answer {
        let wanted: Option<u64> = asked.query.get("generation").map(|text| text.parse().unwrap());
        let object = self.objects.get(&asked.object);
        let is_wanted = |object: &&Object| wanted.is_none_or(|wanted| wanted == object.generation);
        let Some(Object { generation, bytes }) = object.filter(is_wanted) else {
            return error(404, "NoSuchKey");
        };
        let mut headers = described(*generation);
        let Some(range) = asked.header("range") else { return (200, headers, bytes.clone()) };
        let (from, to) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
        let (from, to): (usize, usize) = (from.parse().unwrap(), to.parse().unwrap());
        let to = to.min(bytes.len() - 1);
        headers.push(format!("content-range: bytes {from}-{to}/{}", bytes.len()));
        (206, headers, bytes[from..=to].to_vec())
    }

    /// <https://cloud.google.com/storage/docs/xml-api/get-bucket-list>, version 2: names in the order of their bytes, a page at a time.
    fn list(&self, asked: &Asked<'_>) -> Answer {
        let query = |name: &str| asked.query.get(name).cloned().unwrap_or_default();
        let (prefix, after) =
            (query("prefix"), query("start-after").max(query("continuation-token")));
        let behind = (Bound::Excluded(after), Bound::Unbounded);
        let mut found = self.objects.range(behind).filter(|(key, _)| key.starts_with(&prefix));
        let page: Vec<_> = found.by_ref().take(PAGE).collect();
        let mut text = format!(
            "<?xml version='1.0' encoding='UTF-8'?><ListBucketResult xmlns='http://doc.s3.amazonaws.com/2006-03-01'>\
             <Name>{}</Name><Prefix>{prefix}</Prefix>",
            asked.bucket
        );
        if let (Some((last, _)), Some(_)) = (page.last(), found.next()) {
            text.push_str(&format!("<NextContinuationToken>{last}</NextContinuationToken>"));
        }
        for (key, object) in page {
            let (generation, written) = (object.generation, WRITTEN.1);
            text.push_str(&format!(
                "<Contents><Key>{key}</Key><Generation>{generation}</Generation><MetaGeneration>1</MetaGeneration>\
                 <LastModified>{written}</LastModified><ETag>\"{generation}\"</ETag><Size>{}</Size></Contents>",
                object.bytes.len()
            ));
        }
        text.push_str("</ListBucketResult>");
        (200, vec!["content-type: application/xml; charset=UTF-8".to_owned()], text.into())
    }
}

/// What is said of an object whenever it is written or read.
fn described(generation: u64) -> Vec<String> {
    let written = WRITTEN.0;
    vec![
        format!("etag: \"{generation}\""),
        format!("x-goog-generation: {generation}"),
        "x-goog-metageneration: 1".to_owned(),
        format!("last-modified: {written}"),
    ]
}

/// <https://cloud.google.com/storage/docs/xml-api/reference-status>
fn error(status: u16, code: &str) -> Answer {
    let text = format!("<?xml version='1.0' encoding='UTF-8'?><Error><Code>{code}</Code></Error>");
    (status, vec!["content-type: application/xml; charset=UTF-8".to_owned()], text.into())
}

/// A part of an address without its percent signs.
fn plain(part: &str) -> String {
    let mut pieces = part.split('%');
    let mut text = pieces.next().unwrap().to_owned();
    for piece in pieces {
        text.push(char::from(u8::from_str_radix(&piece[..2], 16).unwrap()));
        text.push_str(&piece[2..]);
    }
    text
}
