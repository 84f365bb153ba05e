//! The RVM and the interpreter decide alike, whatever the input document holds, on every pack and case that is shipped.
//!
//! Not here: stock OPA, which `policies/agreement` adds as a third.
#![expect(clippy::unwrap_used, reason = "fixtures stand outside test functions")]

use std::collections::BTreeMap;

use aegis_document::Document;
use aegis_policy::{CompileContext, EngineError, Hostile, Interpreter, Snapshot, cases};
use aegis_policy_language::PolicySet;

fn read(folder: &str) -> Vec<(String, PolicySet)> {
    let folder = format!("{}/../{folder}", env!("CARGO_MANIFEST_DIR"));
    #[expect(clippy::disallowed_methods, reason = "the shipped files are what is tested")]
    let read = |path: std::path::PathBuf| {
        let name = path.display().to_string();
        let document = Document::parse(&name, &std::fs::read_to_string(path).unwrap()).unwrap();
        (name, PolicySet::parse(&[document]).unwrap())
    };
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|e| e == "yaml")).map(read).collect()
}

#[test]
fn rvm_and_interpreter_agree_on_hostile_documents() {
    for (name, set) in read("packs").into_iter().chain(read("cases")) {
        let snapshot = Snapshot::of(&set, CompileContext { version: 1 }).unwrap();
        let interpreter = Interpreter::new(&snapshot).unwrap();
        let examples = set.examples.iter();
        let good = examples.map(|example| cases::document(&snapshot, &set, example).unwrap());
        let mut effects: BTreeMap<&str, usize> = BTreeMap::new();
        for document in Hostile::new(good.collect(), 1).take(600) {
            // A busy machine trips the wall-clock limit of the RVM now and then.
            let mut asked = std::iter::repeat_with(|| snapshot.decide(&document)).take(5);
            let on_rvm = asked.find(Result::is_ok).unwrap_or(Err(EngineError::Failed));
            assert_eq!(on_rvm, interpreter.decide(&document), "{name}: {document}");
            *effects.entry(on_rvm.unwrap().effect.as_str()).or_default() += 1;
        }
        assert!(effects.len() >= 3, "{name}: {effects:?}");
    }
}
