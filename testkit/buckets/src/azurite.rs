//! Azurite, Microsoft's own emulator of Azure's blobs: a process of its own, asked with signed requests.
//!
//! Not here: what is kept in it. Invariant: it checks signatures and honours conditional puts; it knows no immutability policies, and
//! forgets everything when it ends.

use std::process::Command;

use crate::process::{Process, absent, installed};

pub const ACCOUNT: &str = "aegis";
/// Three bytes, with which the emulator is content.
const ACCOUNT_KEY: &str = "test";
const ASK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/azurite.mjs");

/// A running store of blobs.
#[derive(Debug)]
pub struct Azurite(Process);

impl Azurite {
    /// Starts it, or says that it is absent; where `CI` is set, absence is a failure.
    pub fn start() -> Option<Self> {
        let file = "node_modules/azurite/dist/src/blob/main.js";
        let Some(folder) = installed("azurite", file) else { return absent("azurite") };
        Some(Self(Process::start("azurite", |port| {
            let mut command = Command::new("node");
            command
                .arg(folder.join(file))
                .args(["--inMemoryPersistence", "--silent", "--disableTelemetry"])
                .args(["--blobPort", &port.to_string()])
                .env("AZURITE_ACCOUNTS", format!("{ACCOUNT}:{ACCOUNT_KEY}"));
            command
        })))
    }

    pub fn port(&self) -> u16 {
        self.0.port
    }

    pub fn container(&self, name: &str) {
        assert_eq!(self.ask("PUT", &format!("{name}?restype=container"), ""), 201);
    }

    /// Sends one request as anybody might who has the account's key; hands out the status.
    pub fn ask(&self, method: &str, place: &str, body: &str) -> u16 {
        let port = self.0.port.to_string();
        let asked = Command::new("node")
            .args([ASK, &port, ACCOUNT, ACCOUNT_KEY, method, place, body])
            .output()
            .unwrap();
        String::from_utf8(asked.stdout).unwrap().trim().parse().unwrap()
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
