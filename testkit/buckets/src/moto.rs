//! Moto, an S3 in Python: a process of its own, its buckets made over plain HTTP.
//!
//! Not here: what is kept in it. Invariant: it honours conditional puts, versions and default retention; it does not hold
//! everything that Object Lock promises, and forgets all of it when it ends.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use crate::Proxy;
use crate::process::{Process, absent, installed};

/// A running S3.
#[derive(Debug)]
pub struct Moto {
    process: Process,
    /// Without faults.
    proxy: Proxy,
}

/// A port where an S3 will be; until then, nobody answers.
#[derive(Debug)]
pub struct MotoToBe {
    /// Of the S3 itself.
    port: Arc<AtomicU16>,
    proxy: Proxy,
}

impl MotoToBe {
    /// Where clients will find it.
    pub fn port(&self) -> u16 {
        self.proxy.port()
    }

    /// Starts it, or says that it is absent; where `CI` is set, absence is a failure.
    pub fn start(self) -> Option<Moto> {
        let Some(packages) = packages() else { return absent("moto") };
        let process = Process::start("moto", |port| {
            self.port.store(port, Ordering::Relaxed);
            let mut command = Command::new("python3");
            command
                .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
                .env("PYTHONPATH", packages);
            command
        });
        Some(Moto { process, proxy: self.proxy })
    }
}

impl Moto {
    /// Starts it, or says that it is absent.
    pub fn start() -> Option<Self> {
        Self::to_be().start()
    }

    /// One that is still to be started.
    pub fn to_be() -> MotoToBe {
        let port = Arc::new(AtomicU16::new(0));
        let proxy = Proxy::before_what_comes(&port);
        MotoToBe { port, proxy }
    }

    /// Where clients find it.
    pub fn port(&self) -> u16 {
        self.proxy.port()
    }

    /// Where it listens itself, for proxies before it.
    pub fn own_port(&self) -> u16 {
        self.process.port
    }

    /// Makes a bucket with Object Lock and a default retention.
    pub fn locked_bucket(&self, name: &str, mode: &str, days: u32) {
        self.lockable_bucket(name);
        self.lock(name, mode, days);
    }

    /// A bucket that could keep what is in it, and is not told to.
    pub fn lockable_bucket(&self, name: &str) {
        let locked = [("x-amz-bucket-object-lock-enabled", "true")];
        assert_eq!(self.ask(("PUT", &format!("/{name}")), &locked, ""), 200);
    }

    pub fn lock(&self, name: &str, mode: &str, days: u32) {
        let rule = format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
             <Mode>{mode}</Mode><Days>{days}</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
        );
        assert_eq!(self.ask(("PUT", &format!("/{name}?object-lock")), &[], &rule), 200);
    }

    /// Sends one request as anybody might who got into the account; hands out the status.
    pub fn ask(&self, request: (&str, &str), headers: &[(&str, &str)], body: &str) -> u16 {
        ask(self.own_port(), request, headers, body)
    }

    /// Answers nobody from now on, and breaks no connection.
    pub fn freeze(&self) {
        self.process.signal("STOP");
    }

    /// Goes on.
    pub fn thaw(&self) {
        self.process.signal("CONT");
    }
}

/// What a client must know of the S3 that listens on `port`, as `object_store` names it.
pub fn options(port: u16) -> Vec<(String, String)> {
    let endpoint = format!("http://127.0.0.1:{port}");
    let options = [
        ("aws_endpoint", endpoint.as_str()),
        ("aws_allow_http", "true"),
        ("aws_region", "us-east-1"),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
    ];
    options.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
}

/// Sends one request to the S3 that listens on `port`; hands out the status.
pub fn ask(port: u16, (method, path): (&str, &str), headers: &[(&str, &str)], body: &str) -> u16 {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n");
    // Moto looks at the service's name only.
    head.push_str("authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("content-length: {}\r\n\r\n{body}", body.len()));
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Writes another object under a name, whether or not it is taken.
pub fn put_other(port: u16, path: &str) -> u16 {
    ask(port, ("PUT", path), &[("content-md5", "DMF1ucDxtqgxw5niaXcmYQ==")], "a")
}

/// Where `make buckets` puts the Python packages, if it did.
pub fn packages() -> Option<PathBuf> {
    installed("moto", "moto/server.py")
}
