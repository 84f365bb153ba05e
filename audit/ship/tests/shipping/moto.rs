//! Moto, an S3 in Python: a process of its own, its buckets made over plain HTTP.
//!
//! It honours conditional puts and default retention; it does not hold everything that Object Lock promises.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use aegis_audit_ship::Address;

use crate::fault_proxy::Proxy;

const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) struct Moto {
    child: Child,
    pub(crate) port: u16,
    /// Without faults.
    proxy: Proxy,
}

impl Moto {
    /// Starts it, or says that it is absent; where `CI` is set, absence is a failure.
    #[expect(clippy::print_stderr, reason = "a skipped test must say so")]
    pub(crate) fn start() -> Option<Self> {
        let Some(packages) = packages() else {
            assert!(std::env::var_os("CI").is_none(), "moto is not installed");
            eprintln!("skipped: moto is not installed (`make buckets` does it)");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("python3")
            .args(["-m", "moto.server", "-H", "127.0.0.1", "-p", &port.to_string()])
            .env("PYTHONPATH", packages)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let proxy = Proxy::before(port, "PUT", &[]);
        let moto = Self { child: child.unwrap(), port, proxy };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "moto does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(moto)
    }

    /// Makes a bucket with Object Lock and a default retention.
    pub(crate) fn locked_bucket(&self, name: &str, mode: &str, days: u32) {
        let path = format!("/{name}");
        let locked = [("x-amz-bucket-object-lock-enabled", "true")];
        assert_eq!(self.ask(("PUT", &path), &locked, ""), 200);
        let rule = format!(
            "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule><DefaultRetention>\
             <Mode>{mode}</Mode><Days>{days}</Days></DefaultRetention></Rule></ObjectLockConfiguration>"
        );
        assert_eq!(self.ask(("PUT", &format!("{path}?object-lock")), &[], &rule), 200);
    }

    /// Sends one request as anybody might who got into the account; hands out the status.
    pub(crate) fn ask(&self, request: (&str, &str), headers: &[(&str, &str)], body: &str) -> u16 {
        ask(self.port, request, headers, body)
    }

    pub(crate) fn address(&self, bucket: &str) -> Address {
        address(self.proxy.port, bucket)
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Sends one request to the S3 that listens on `port`; hands out the status.
pub(crate) fn ask(
    port: u16,
    (method, path): (&str, &str),
    headers: &[(&str, &str)],
    body: &str,
) -> u16 {
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
pub(crate) fn put_other(port: u16, path: &str) -> u16 {
    ask(port, ("PUT", path), &[("content-md5", "DMF1ucDxtqgxw5niaXcmYQ==")], "a")
}

/// A bucket of the S3 that listens on `port`.
pub(crate) fn address(port: u16, bucket: &str) -> Address {
    let endpoint = format!("http://127.0.0.1:{port}");
    let options = [
        ("aws_endpoint", endpoint.as_str()),
        ("aws_allow_http", "true"),
        ("aws_region", "us-east-1"),
        ("aws_access_key_id", "test"),
        ("aws_secret_access_key", "test"),
    ];
    let options = options.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    Address { url: format!("s3://{bucket}/gw-1"), options }
}

/// Where `make buckets` puts the Python packages.
pub(crate) fn packages() -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let packages = test.ancestors().map(|folder| folder.join("moto"));
    packages.into_iter().find(|folder: &PathBuf| Path::new(folder).join("moto/server.py").is_file())
}
