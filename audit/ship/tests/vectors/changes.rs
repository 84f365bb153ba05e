//! What is done to a vector, each thing in a line that another verifier's author can carry out.

use std::fs;
use std::path::Path;

use aegis_audit_chain::layout;

/// Changes of a text: a bit in every fiftieth of it, its end, more.
pub(crate) fn of_text(text: &str) -> Vec<String> {
    let step = (text.len() / 50).max(1);
    let flips = (0..text.len()).step_by(step).map(|at| format!("flip . {at} 0"));
    flips.chain(["cut . 1", "cut . 100", "append . 0a", "append . 41"].map(str::to_owned)).collect()
}

/// Changes of every file and folder of a log.
pub(crate) fn of_folder(root: &Path) -> Vec<String> {
    let (mut changes, mut files) = (Vec::new(), Vec::new());
    walk(root, "", &mut changes, &mut files);
    for (nth, path) in files.iter().enumerate() {
        let bytes = fs::metadata(root.join(path)).unwrap().len();
        let places = [bytes / 10, bytes / 2, bytes.saturating_sub(3)];
        changes.extend(places.map(|at| format!("flip {path} {at} 1")));
        changes.push(format!("cut {path} 1"));
        changes.push(format!("cut {path} {}", bytes / 3));
        changes.push(format!("append {path} 00"));
        changes.push(format!("append {path} 61"));
        changes.push(format!("remove {path}"));
        changes.push(format!("link {path}"));
        // Another file of its kind in its place, and its own under another's name.
        let ending = |path: &str| path.rsplit('.').next().unwrap().to_owned();
        let mut others = files.iter().skip(nth + 1).chain(files.iter().take(nth));
        if let Some(other) = others.find(|other| ending(other) == ending(path)) {
            changes.push(format!("copy {other} {path}"));
        }
        if let Some((dir, name)) = path.rsplit_once('/') {
            changes.push(format!("rename {path} {dir}/{}", higher(name)));
        }
    }
    changes.retain(|change| !change.ends_with(" 0 1") && !change.contains("lock 1 1"));
    changes
}

/// The next number in a file's name, or another name.
fn higher(name: &str) -> String {
    let (digits, rest) = name.split_at(name.find(|it: char| !it.is_ascii_digit()).unwrap_or(0));
    match digits.parse::<u64>() {
        Ok(number) => format!("{:020}{rest}", number + 1),
        Err(_) => format!("x{name}"),
    }
}

fn walk(root: &Path, below: &str, changes: &mut Vec<String>, files: &mut Vec<String>) {
    let mut names: Vec<String> = fs::read_dir(root.join(below))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for stray in
        ["stray", "stray.tmp", "lost+found/stray", "registry.gw-1/x", "00000000000000000077.note"]
    {
        changes.push(format!("add {}", join(below, stray)));
    }
    for name in names {
        let path = join(below, &name);
        if root.join(&path).is_dir() {
            changes.push(format!("remove {path}"));
            walk(root, &path, changes, files);
        } else {
            files.push(path);
        }
    }
}

fn join(below: &str, name: &str) -> String {
    if below.is_empty() { name.to_owned() } else { format!("{below}/{name}") }
}

#[test]
fn names_of_a_directory_are_told_from_guests() {
    for name in ["lock", "ship", "streams", "registry", "registry.gw-1", "lost+found"] {
        assert!(layout::is_top(name), "{name}");
    }
    for name in ["registry.", "registry-2", "trust.txt", "stream", ".DS_Store", "x.tmp"] {
        assert!(!layout::is_top(name), "{name}");
    }
    assert!(layout::is_epoch("1") && !layout::is_epoch("01") && !layout::is_epoch("+1"));
}
