//! A policy version as a bundle: the same bytes everywhere, bound to its signer, and enough to run from.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "fixtures stand outside test functions"
)]

use aegis_document::Document;
use aegis_identity::{KeySet, SigningKey, TokenError, verify_jws_within};
use aegis_policy::{
    Bundle, CompileContext, Hostile, SIGNATURE_BYTES_MAX, SIGNATURE_TYPE, SignatureError, Snapshot,
    SourceError, cases,
};
use aegis_policy_language::PolicySet;

const SMALL: &str = "\
apiVersion: aegis.dev/v1
kind: PolicySet
metadata: { tenant: acme, env: prod }
tools:
  read: { class: read, match: { hosts: [a.test], methods: [GET], paths: [/] }, allow: {} }
";

/// RFC 8032 §7.1, TEST 1: published, so never a key for anything real.
fn key() -> SigningKey {
    let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    let byte = |at: usize| u8::from_str_radix(&seed[at * 2..at * 2 + 2], 16).unwrap();
    SigningKey::from_seed(std::array::from_fn(byte))
}

fn compile(text: &str) -> Snapshot {
    let document = Document::parse("policy.yaml", text).unwrap();
    Snapshot::compile(&[document], CompileContext { version: 7 }).unwrap()
}

fn demo() -> Snapshot {
    compile(include_str!("../../packs/demo.yaml"))
}

fn sign(bundle: &Bundle, key: &SigningKey) -> Bundle {
    let jwt = key.sign(SIGNATURE_TYPE, bundle.signing_payload().as_bytes());
    bundle.clone().signed(jwt)
}

fn verify(bundle: &Bundle, key: &SigningKey) -> Result<(), SignatureError<TokenError>> {
    let keys = KeySet::default().with(key.public_key().clone()).unwrap();
    bundle.verify(|jwt| verify_jws_within(jwt, SIGNATURE_TYPE, &keys, SIGNATURE_BYTES_MAX))
}

#[test]
fn a_policy_has_this_digest_on_every_machine() {
    let bundle = compile(SMALL).bundle().clone();
    let signed = sign(&bundle, &key()).archive().unwrap();
    assert_eq!(bundle.manifest().revision, "acme/prod@7+c8aed62761ce.v2");
    assert_eq!(bundle.digest(), "7166eae32ad88daafea19c539710598a4288e11e5e35e194cb31b26f871ee03f");
    assert_eq!(signed.sha256, "9a93b165898db5643314dd0442955a352fba2eb5dfed4839eb4db1c257b55ce4");
}

#[test]
fn a_signed_bundle_verifies_after_a_journey_and_with_its_key_only() {
    let signed = sign(demo().bundle(), &key());
    let opened = Bundle::open(&signed.archive().unwrap().bytes).unwrap();
    assert_eq!(opened, signed);
    assert_eq!(verify(&opened, &key()), Ok(()));
    assert_eq!(verify(demo().bundle(), &key()), Err(SignatureError::Unsigned));
    let other = SigningKey::from_seed([7; 32]);
    assert!(matches!(verify(&opened, &other), Err(SignatureError::Refused(_))));
    let as_token = key().sign("at+jwt", signed.signing_payload().as_bytes());
    let other_type = verify(&signed.signed(as_token), &key());
    assert_eq!(other_type, Err(SignatureError::Refused(TokenError::TypeUnexpected)));
}

#[test]
fn the_largest_set_can_be_signed() {
    let tools = (0..200).map(|n| {
        format!(
            "  {}{n}: {{ class: read, match: {{ hosts: [a.test], methods: [GET], paths: [/] }}, allow: {{}} }}\n",
            "t".repeat(120)
        )
    });
    let text = format!("{}{}", &SMALL[..SMALL.find("  read").unwrap()], tools.collect::<String>());
    let bundle = compile(&text).bundle().clone();
    assert!(bundle.files().iter().all(|file| file.name.len() <= 100));
    assert_eq!(verify(&sign(&bundle, &key()), &key()), Ok(()));
}

#[test]
fn the_signed_list_and_the_files_must_be_the_same() {
    let bundle = demo().bundle().clone();
    let payload = |change: &dyn Fn(&mut Vec<serde_json::Value>)| {
        let mut payload: serde_json::Value =
            serde_json::from_str(&bundle.signing_payload()).unwrap();
        change(payload["files"].as_array_mut().unwrap());
        let jwt = key().sign(SIGNATURE_TYPE, payload.to_string().as_bytes());
        verify(&bundle.clone().signed(jwt), &key()).unwrap_err()
    };
    let name = || ".manifest".to_owned();
    let altered = |files: &mut Vec<serde_json::Value>| files[0]["hash"] = "00".repeat(32).into();
    assert_eq!(payload(&altered), SignatureError::Altered { name: name() });
    let weak = |files: &mut Vec<serde_json::Value>| files[0]["algorithm"] = "MD5".into();
    assert_eq!(payload(&weak), SignatureError::Altered { name: name() });
    let unlisted = |files: &mut Vec<serde_json::Value>| drop(files.remove(0));
    assert_eq!(payload(&unlisted), SignatureError::Unlisted { name: name() });
    let missing = |files: &mut Vec<serde_json::Value>| {
        let mut more = files[0].clone();
        more["name"] = "aegis/more.rego".into();
        files.push(more);
    };
    let name = "aegis/more.rego".to_owned();
    assert_eq!(payload(&missing), SignatureError::Missing { name });
    let twice = |files: &mut Vec<serde_json::Value>| files.push(files[0].clone());
    assert_eq!(payload(&twice), SignatureError::Malformed);
}

fn set(text: &str) -> PolicySet {
    PolicySet::parse(&[Document::parse("some/folder/demo.yaml", text).unwrap()]).unwrap()
}

#[test]
fn a_gateway_runs_from_the_bundle_alone() {
    for text in
        [include_str!("../../packs/demo.yaml"), include_str!("../../cases/four-domains.yaml")]
    {
        let set = set(text);
        let compiled = Snapshot::of(&set, CompileContext { version: 42 }).unwrap();
        let signed = sign(compiled.bundle(), &key()).archive().unwrap();
        let (their_set, theirs) =
            Snapshot::from_bundle(Bundle::open(&signed.bytes).unwrap()).unwrap();
        assert_eq!(theirs.policy_ref(), compiled.policy_ref());
        assert_eq!(theirs.bundle().archive().unwrap(), signed);
        assert!(cases::run(&theirs, &their_set).passed());
        let examples = set.examples.iter();
        let good = examples.map(|example| cases::document(&compiled, &set, example).unwrap());
        for document in Hostile::new(good.collect(), 3).take(200) {
            assert_eq!(theirs.decide(&document), compiled.decide(&document), "{document}");
        }
    }
}

#[test]
fn a_set_of_several_files_comes_back_whole() {
    let (one, two) = (SMALL, SMALL.replace("  read:", "  more:"));
    let documents =
        [Document::parse("b/x.yaml", one).unwrap(), Document::parse("a/y.yaml", &two).unwrap()];
    let snapshot = Snapshot::compile(&documents, CompileContext { version: 1 }).unwrap();
    let (set, again) = Snapshot::from_bundle(snapshot.bundle().clone()).unwrap();
    assert_eq!(again.policy_ref(), snapshot.policy_ref());
    assert_eq!(set.tools.len(), 2);
}

/// A bundle with one text in its files replaced, as someone with a signing key and an editor could make it.
fn edited(snapshot: &Snapshot, from: &str, to: &str) -> SourceError {
    let packed = snapshot.bundle().archive().unwrap().bytes;
    let mut tar = miniz_oxide::inflate::decompress_to_vec(&packed[10..packed.len() - 8]).unwrap();
    assert_eq!(from.len(), to.len());
    let at = tar.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
    tar[at..at + to.len()].copy_from_slice(to.as_bytes());
    let body = miniz_oxide::deflate::compress_to_vec(&tar, 9);
    let length = u32::try_from(tar.len()).unwrap().to_le_bytes();
    let packed = [&packed[..10], &body, &crc32fast::hash(&tar).to_le_bytes(), &length].concat();
    Snapshot::from_bundle(Bundle::open(&packed).unwrap()).unwrap_err()
}

#[test]
fn a_module_that_its_source_does_not_compile_to_is_never_run() {
    let snapshot = compile(&SMALL.replace("allow: {}", "allow: { scopes: [pay] }"));
    let (scopes, groups) = ("\"pay\" in input.agent.scopes", "\"pay\" in input.agent.groups");
    let module = edited(&snapshot, scopes, groups);
    assert!(
        matches!(&module, SourceError::NotItsSource { name } if name == "aegis/tool/read.rego")
    );
    let data = edited(&snapshot, "{\"a.test\":true}", "{\"a.evil\":true}");
    assert!(matches!(&data, SourceError::NotItsSource { name } if name == "aegis_data/data.json"));
    let source = edited(&snapshot, "scopes: [pay]", "scopes: [pax]");
    assert!(matches!(source, SourceError::NotItsSource { .. }));
    let compiler = edited(&snapshot, "\"compiler\":\"v2\"", "\"compiler\":\"v1\"");
    assert!(matches!(compiler, SourceError::OtherCompiler { theirs, .. } if theirs == "v1"));
    let broken = edited(&snapshot, "class: read", "class: rear");
    assert!(matches!(broken, SourceError::Compile(_)));
}
