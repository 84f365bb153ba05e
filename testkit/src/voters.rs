//! Buildings that keep the region's registry together, as voters of its ledger.
//!
//! Not here: what is asked of the registry (`region`). Invariant: a voter's files are made as `aegisctl cluster` makes them.

use aegis_authority::{Invitation, Mandate, VoterFiles, VoterName};
use serde_json::json;

use crate::agent::now;
use crate::{Building, Plan};

impl Plan {
    fn region_name(&self) -> String {
        self.setting("/region").unwrap().to_owned()
    }

    fn voter_files(&self) -> VoterFiles {
        let folder = self.data.path().join("control");
        std::fs::create_dir_all(&folder).unwrap();
        VoterFiles::at(&folder.join("cluster"))
    }

    /// Where other voters reach this one.
    pub fn voter_address(&self) -> String {
        self.at(&self.ports.voter)
    }

    /// Has a place for other voters. All of them are one token service, whichever is asked.
    pub fn voting(mut self, url: &str) -> Self {
        self.set("/control/address", json!(self.at(&self.ports.control)));
        self.set("/control/url", json!(url));
        let address = self.voter_address();
        self.set("/control/cluster", json!({ "listen": address, "address": address }));
        self
    }

    /// `aegisctl cluster init`
    pub fn founding(self) -> Self {
        let name = VoterName { cluster: self.region_name(), node: 1 };
        self.voter_files().create(&name, &Mandate::Found, now()).unwrap();
        let url = self.control_url();
        self.voting(&url)
    }

    /// `aegisctl cluster invite` there, `aegisctl cluster join` here; also the id.
    pub fn joining(self, other: &Building) -> (Self, u64) {
        let region = other.region();
        let wish = json!({ "address": self.voter_address() });
        let answer = region.post("/v1/cluster/members", wish);
        let invitation: Invitation = serde_json::from_value(answer["invitation"].clone()).unwrap();
        self.voter_files().accept(&invitation).unwrap();
        std::fs::create_dir_all(self.path("keys")).unwrap();
        self.secret("keys/region.pem", &invitation.region_key);
        self.secret("control/follower.token", &invitation.follower_token);
        (self.voting(region.url()), answer["id"].as_u64().unwrap())
    }

    fn secret(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        self.file(name, text);
        std::fs::set_permissions(self.path(name), std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// `aegisctl cluster restore` with the ledger of a backup.
    pub fn restoring(self, ledger: &[u8]) -> Self {
        let files = self.voter_files();
        std::fs::create_dir_all(files.backup().parent().unwrap()).unwrap();
        std::fs::write(files.backup(), ledger).unwrap();
        let name = VoterName { cluster: format!("{}.restored", self.region_name()), node: 1 };
        files.create(&name, &Mandate::Restore, now()).unwrap();
        let url = self.control_url();
        self.voting(&url)
    }
}

impl Building {
    /// `aegisctl cluster init` where a region of one voter was before.
    pub fn found_cluster(&mut self) {
        let name = VoterName { cluster: self.plan().region_name(), node: 1 };
        self.plan().voter_files().create(&name, &Mandate::Found, now()).unwrap();
        let address = self.plan().voter_address();
        self.reconfigure("/control/cluster", json!({ "listen": address, "address": address }));
    }

    /// `aegisctl cluster recover`
    pub fn recover(&self) {
        let files = self.plan().voter_files();
        let was = files.read().unwrap().unwrap().name;
        files.put_aside(now()).unwrap();
        let name = VoterName {
            cluster: format!("{}.recovered", self.plan().region_name()),
            node: was.node,
        };
        files.create(&name, &Mandate::Recover(was), now()).unwrap();
    }

    /// `aegisctl cluster rotate-cert`
    pub fn rotate_certificate(&self) {
        let files = self.plan().voter_files();
        files.renew(&files.read().unwrap().unwrap().name, now()).unwrap();
    }
}
