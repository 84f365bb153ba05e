//! Azurite, Microsoft's own emulator of Azure's blobs: a process of its own, asked with signed requests.
//!
//! Not here: what is kept in it. Invariant: it checks signatures and honours conditional puts; it knows no immutability policies, and
//! forgets everything when it ends.

use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(60);
pub const ACCOUNT: &str = "aegis";
/// Three bytes, with which the emulator is content.
const ACCOUNT_KEY: &str = "test";
const ASK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/azurite.mjs");

/// A running store of blobs.
#[derive(Debug)]
pub struct Azurite {
    child: Child,
    port: u16,
}

impl Azurite {
    /// Starts it, or says that it is absent; where `CI` is set, absence is a failure.
    #[expect(clippy::print_stderr, reason = "a skipped test must say so")]
    pub fn start() -> Option<Self> {
        let Some(program) = program() else {
            assert!(std::env::var_os("CI").is_none(), "azurite is not installed");
            eprintln!("skipped: azurite is not installed (`make buckets` does it)");
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = Command::new("node")
            .arg(program)
            .args(["--inMemoryPersistence", "--silent", "--disableTelemetry"])
            .args(["--blobPort", &port.to_string()])
            .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{ACCOUNT_KEY}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let azurite = Self { child: child.unwrap(), port };
        let begun = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(begun.elapsed() < PATIENCE, "azurite does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(azurite)
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn container(&self, name: &str) {
        assert_eq!(self.ask("PUT", &format!("{name}?restype=container"), ""), 201);
    }

    /// Sends one request as anybody might who has the account's key; hands out the status.
    pub fn ask(&self, method: &str, place: &str, body: &str) -> u16 {
        let port = self.port.to_string();
        let asked = Command::new("node")
            .args([ASK, &port, ACCOUNT, ACCOUNT_KEY, method, place, body])
            .output()
            .unwrap();
        String::from_utf8(asked.stdout).unwrap().trim().parse().unwrap()
    }
}

impl Drop for Azurite {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

/// Where clients find the account at `port`.
pub fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}/{ACCOUNT}")
}

/// What a client must know of the account at `port`, as `object_store` names it.
pub fn azure_options(port: u16) -> Vec<(String, String)> {
    let endpoint = endpoint(port);
    let options = [
        ("azure_storage_endpoint", endpoint.as_str()),
        ("azure_allow_http", "true"),
        ("azure_storage_account_name", ACCOUNT),
        ("azure_storage_account_key", ACCOUNT_KEY),
    ];
    options.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec()
}

/// Where `make buckets` puts the program, if it did.
fn program() -> Option<PathBuf> {
    let test = std::env::current_exe().ok()?;
    let programs = test
        .ancestors()
        .map(|folder| folder.join("azurite/node_modules/azurite/dist/src/blob/main.js"));
    programs.into_iter().find(|program: &PathBuf| program.is_file())
}
