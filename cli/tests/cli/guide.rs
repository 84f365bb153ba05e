//! The walk-through of `docs/policy-guide.md`: its files and its commands, as they stand there.

use std::fs;
use std::process::Command;

use crate::recorder::Recorder;
use crate::support::Home;

/// What stands between the fences of one language.
pub(crate) fn blocks(page: &str, language: &str) -> Vec<String> {
    let opening = format!("```{language}\n");
    let rest = page.split(opening.as_str()).skip(1);
    rest.map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

pub(crate) fn page() -> String {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/policy-guide.md");
    fs::read_to_string(path).unwrap()
}

/// The guide's policy.
pub(crate) fn policy() -> String {
    blocks(&page(), "yaml").remove(0)
}

/// The guide's policy after the guide's change.
pub(crate) fn changed_policy() -> String {
    let change = blocks(&page(), "diff").remove(0);
    let mut lines = change.lines();
    let (old, new) = (lines.next().unwrap(), lines.next().unwrap());
    let policy = policy();
    assert!(policy.contains(&old[1..]), "{old}");
    policy.replace(&old[1..], &new[1..])
}

#[test]
fn every_command_of_the_guide_does_what_the_guide_says() {
    let home = Home::ready();
    let folder = home.path("");
    fs::write(folder.join("acme.yaml"), policy()).unwrap();
    fs::write(folder.join("next.yaml"), changed_policy()).unwrap();
    let mut recorder = Recorder::open(&home, &policy());
    recorder.tests();
    recorder.close();
    let mut ran = 0;
    for line in blocks(&page(), "sh").iter().flat_map(|block| block.lines()) {
        let (command, code) = match line.split_once("  # ends with ") {
            Some((command, code)) => (command, code.parse().unwrap()),
            None => (line, 0),
        };
        let program = env!("CARGO_BIN_EXE_aegisctl");
        let command = command.replacen("aegisctl", program, 1);
        let output = Command::new("sh")
            .args(["-c", &command])
            .current_dir(&folder)
            .env("AEGIS_DATA", &folder)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{line}\n{output:?}");
        ran += 1;
    }
    assert!(ran >= 9, "{ran}");
}
