//! A voter as a witness: what <https://c2sp.org/tlog-witness> says of `add-checkpoint`, case by case, and what it cosigns.
//!
//! Not here: the client (`audit/witness`), and three voters (`voters`). Invariant: heads are signed by real keys over real trees,
//! and every answer is one that the OpenAPI document names.

use aegis_audit_chain::cosignature::Witness;
use aegis_audit_chain::note::{SecretKey, Signer};
use aegis_audit_chain::submission::Submission;
use aegis_audit_chain::{Hash, Head, Origin, tree};
use aegis_control_client::Conditions;
use serde_json::{Value, json};

use crate::node::{Node, checked, now, refusal};
use crate::openapi;

const ORIGIN: &str = "audit.example/eu-west-1/registry/1";
const PATH: &str = "/v1/audit/witness/add-checkpoint";

fn signer(seed: u8) -> Signer {
    Signer::new(ORIGIN, SecretKey::from_seed(&[seed; 32]))
}

/// A log of so many records; `kind` tells histories apart.
struct Log(Vec<Hash>);

impl Log {
    fn of(records: usize, kind: &str) -> Self {
        Self((0..records).map(|number| Hash::leaf(format!("{kind} {number}").as_bytes())).collect())
    }

    fn head(&self, size: usize) -> Head {
        let origin = Origin::parse(ORIGIN).unwrap();
        Head { origin, size: size as u64, root: tree::root(&self.0[..size]) }
    }

    fn note(&self, size: usize) -> String {
        self.head(size).note(&signer(1))
    }

    /// The body that shows this log's head of one size after another.
    fn body(&self, old: usize, size: usize) -> String {
        let proof = match old {
            0 => Vec::new(),
            old => tree::consistency_proof(&self.0[..size], old).unwrap(),
        };
        Submission { old: old as u64, proof, note: &self.note(size) }.to_string()
    }
}

/// What a witness answered: status, content type, body.
fn show(node: &Node, body: &str) -> (u16, String, String) {
    let config = ureq::Agent::config_builder().http_status_as_error(false).build();
    let request = ureq::Agent::from(config).post(format!("{}{PATH}", node.url));
    let mut answer = request.header("content-type", "text/plain").send(body).unwrap();
    let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
    let text = answer.body_mut().read_to_string().unwrap();
    openapi::check("post", PATH, answer.status().as_u16(), None);
    (answer.status().as_u16(), kind, text)
}

fn status(node: &Node, body: &str) -> u16 {
    show(node, body).0
}

fn register(node: &Node) -> Value {
    let wish = json!({ "key": signer(1).verifier().to_string() });
    let answer = node.admin.put("/v1/audit/logs", &wish, &Conditions::default());
    checked("put", "/v1/audit/logs", answer).unwrap().body
}

fn started() -> Node {
    let node = Node::start();
    register(&node);
    node
}

/// The voter's key, once the ledger has it.
fn witness(node: &Node) -> Witness {
    let begun = std::time::Instant::now();
    loop {
        let listed = node.get("/v1/audit/logs").body;
        if let Some(key) = listed["witnesses"][0]["key"].as_str() {
            return Witness::parse(key).unwrap();
        }
        assert!(begun.elapsed().as_secs() < 30, "{listed}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn seen(size: u64) -> (u16, String, String) {
    (409, "text/x.tlog.size".to_owned(), format!("{size}\n"))
}

#[test]
fn a_head_that_extends_the_last_is_cosigned_with_the_key_that_the_ledger_shows() {
    let (node, log) = (started(), Log::of(20, "a"));
    let witness = witness(&node);
    for (old, size) in [(0, 3), (3, 3), (3, 8), (8, 20), (20, 20)] {
        let (status, kind, lines) = show(&node, &log.body(old, size));
        assert_eq!((status, kind.as_str()), (200, "text/plain; charset=utf-8"), "{old} {size}");
        let at = witness.cosigned_at(&log.head(size).checkpoint(), &lines).unwrap().unwrap();
        assert!(now().unix_s().abs_diff(at.unix_s()) < 60);
        assert_eq!(lines.lines().count(), 1);
    }
    let listed = &node.get("/v1/audit/logs").body["logs"][0];
    assert_eq!((listed["origin"].as_str(), listed["size"].as_u64()), (Some(ORIGIN), Some(20)));
    let note = listed["head"].as_str().unwrap();
    let lines = note.strip_prefix(&log.note(20)).unwrap();
    assert!(witness.cosigned_at(&log.head(20).checkpoint(), lines).unwrap().is_some());
}

#[test]
fn each_case_of_the_specification_has_its_status() {
    let (node, log) = (started(), Log::of(20, "a"));
    // "or zero if it never cosigned a checkpoint for that origin"
    assert_eq!(show(&node, &log.body(3, 8)), seen(0));
    assert_eq!(status(&node, &log.body(0, 8)), 200);
    let good = log.body(8, 12);
    let forged = log.head(12).note(&signer(2));
    let with_note = |note: &str| {
        let proof = tree::consistency_proof(&log.0[..12], 8).unwrap();
        Submission { old: 8, proof, note }.to_string()
    };
    let cases = [
        ("no body", String::new(), 400),
        ("no old size", good.replace("old 8\n", ""), 400),
        ("old size with a zero before it", good.replace("old 8", "old 08"), 400),
        ("no empty line", good.replacen("\n\n", "\n", 1), 400),
        ("a note without signatures", with_note(&log.head(12).checkpoint()), 400),
        ("an old size past the head's", log.body(8, 12).replace("old 8", "old 13"), 400),
        ("an unknown origin", good.replace("registry/1", "registry/2"), 404),
        ("an origin that no log here can have", good.replace(ORIGIN, "example.com/log"), 404),
        ("a signature by another key", with_note(&forged), 403),
        (
            "a changed root",
            good.replace(&log.head(12).root.standard(), &Hash::ZERO.standard()),
            403,
        ),
        ("a proof that leads elsewhere", Log::of(12, "b").body(8, 12), 422),
        ("no proof", Submission { old: 8, proof: vec![], note: &log.note(12) }.to_string(), 422),
        ("a proof where none is needed", good.replace(&log.note(12), &log.note(8)), 422),
    ];
    for (name, body, wanted) in cases {
        assert_eq!(status(&node, &body), wanted, "{name}");
    }
    // "If it doesn't match, the witness MUST respond with a 409": with the size it cosigned last.
    for old in [0, 3, 9] {
        assert_eq!(show(&node, &log.body(old, 12)), seen(8), "{old}");
    }
    assert_eq!(show(&node, &log.body(3, 3)), seen(8), "a head it has gone past");
    // "the witness MUST check that the root hashes are also identical"
    let other = Submission { old: 8, proof: vec![], note: &Log::of(8, "b").note(8) }.to_string();
    assert_eq!(show(&node, &other), seen(8));
    // "it MUST ignore signatures from unknown keys"
    let line = forged.lines().last().unwrap().to_owned() + "\n";
    assert_eq!(status(&node, &with_note(&(log.note(12) + &line))), 200);
}

/// Attack 6: whoever has the key shows different people different records.
#[test]
fn two_histories_under_one_key_are_kept_as_evidence_that_a_third_party_can_check() {
    let (node, log, fork) = (started(), Log::of(12, "a"), Log::of(12, "b"));
    for (old, size) in [(0, 8), (8, 12)] {
        assert_eq!(status(&node, &log.body(old, size)), 200);
    }
    // Also where the old size is stale, and so answered with 409.
    assert_eq!(show(&node, &fork.body(0, 8)), seen(12));
    assert_eq!(show(&node, &fork.body(0, 8)), seen(12), "said again, kept once");
    let listed = node.get("/v1/audit/logs").body["logs"][0].clone();
    assert_eq!(listed["size"], 12, "the log itself goes on");
    let [evidence] = listed["evidence"].as_array().unwrap().as_slice() else { panic!("{listed}") };
    let key = signer(1).verifier().clone();
    let opened = |name: &str| Head::open(evidence[name].as_str().unwrap(), &key).unwrap();
    assert_eq!((opened("anchored"), opened("conflicting")), (log.head(8), fork.head(8)));
}

#[test]
fn two_histories_of_different_length_are_evidence_by_the_proof_they_were_shown_with() {
    let (node, log, fork) = (started(), Log::of(40, "a"), Log::of(40, "b"));
    for (old, size) in [(0, 7), (7, 12)] {
        assert_eq!(status(&node, &log.body(old, size)), 200);
    }
    // As a gateway shows them whose key and disk somebody copied: with the proof of its own history.
    for _ in 0..2 {
        assert_eq!(status(&node, &fork.body(12, 30)), 422);
        assert_eq!(show(&node, &fork.body(7, 9)), seen(12));
    }
    // Nobody can tell what this is: a true head, brought with a proof that shows nothing.
    let bad = Submission { old: 12, proof: vec![Hash::ZERO], note: &log.note(20) }.to_string();
    assert_eq!(status(&node, &bad), 422);
    let listed = node.get("/v1/audit/logs").body["logs"][0].clone();
    let found = listed["evidence"].as_array().unwrap();
    assert_eq!(found.len(), 2, "said again, kept once: {listed}");
    let (key, wanted) = (signer(1).verifier().clone(), [(12, 30), (7, 9)]);
    for (evidence, (size, larger)) in found.iter().zip(wanted) {
        let opened = |name: &str| Head::open(evidence[name].as_str().unwrap(), &key).unwrap();
        assert_eq!(
            (opened("anchored"), opened("conflicting")),
            (log.head(size), fork.head(larger))
        );
        let proof = tree::consistency_proof(&fork.0[..larger], size).unwrap();
        let shown: Vec<_> = proof.iter().map(Hash::standard).collect();
        assert_eq!(evidence["proof"], json!(shown));
    }
    let doubt = &listed["doubts"][0];
    assert_eq!(
        (doubt["anchored"].as_str(), doubt["doubted"].as_str()),
        (Some(&*log.note(12)), Some(&*log.note(20)))
    );

    assert_eq!(status(&node, &log.body(12, 20)), 200, "the log itself goes on");
    let listed = node.get("/v1/audit/logs").body["logs"][0].clone();
    assert_eq!((&listed["size"], &listed["doubts"]), (&json!(20), &json!([])));
}

#[test]
fn a_log_is_registered_by_those_who_may_and_its_name_has_one_key() {
    let node = Node::start();
    let put = |client: &aegis_control_client::Client, key: &str| {
        let wish = json!({ "key": key });
        checked(
            "put",
            "/v1/audit/logs",
            client.put("/v1/audit/logs", &wish, &Conditions::default()),
        )
    };
    let key = signer(1).verifier().to_string();
    assert_eq!(refusal(put(&node.anyone(), &key)).0, 401);
    assert_eq!(refusal(put(&node.admin, "no key")), (422, "log-key".to_owned()));
    put(&node.admin, &key).unwrap();
    put(&node.admin, &key).unwrap();
    let other = signer(2).verifier().to_string();
    assert_eq!(refusal(put(&node.admin, &other)), (409, "log-exists".to_owned()));
}

#[test]
fn what_was_cosigned_is_not_forgotten_and_the_key_stays() {
    let (node, log) = (started(), Log::of(12, "a"));
    assert_eq!(status(&node, &log.body(0, 8)), 200);
    let before = witness(&node);
    let node = Node::with(node.stop(), aegis_control::SubjectSources::default());
    assert_eq!(witness(&node), before);
    assert_eq!(show(&node, &log.body(0, 12)), seen(8));
    assert_eq!(status(&node, &log.body(8, 12)), 200);
    let mode = std::fs::metadata(node.home.path().join("cosigner.secret")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
}
