//! `init`, `doctor`, `completions` and the rules every command keeps.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::{Home, json, replace, stderr, stdout};

/// Moves a ready directory to ports nobody holds, so tests do not meet a running gateway.
fn on_free_ports(home: &Home) {
    let port = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let config = home.path("aegis.yaml");
    replace(&config, "127.0.0.1:8080 ", &format!("{} ", port()));
    replace(&config, "127.0.0.1:8081 ", &format!("{} ", port()));
    replace(&config, "127.0.0.1:9464", &port());
}

fn status_of(checks: &serde_json::Value, name: &str) -> String {
    let rows = checks.as_array().unwrap();
    let row = rows.iter().find(|row| row["check"] == name).unwrap();
    row["status"].as_str().unwrap().to_owned()
}

const COMMANDS: [&str; 23] = [
    "init",
    "doctor",
    "token mint",
    "token inspect",
    "token verify",
    "policy check",
    "policy test",
    "policy lint",
    "policy coverage",
    "policy explain",
    "policy diff",
    "policy schema",
    "policy simulate",
    "policy replay",
    "policy build",
    "policy verify",
    "audit verify",
    "audit tail",
    "audit show",
    "ca export",
    "ca rotate",
    "cost report",
    "completions",
];

#[test]
fn the_documentation_has_every_command_and_every_exit_code() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/cli.md");
    let page = fs::read_to_string(page).unwrap();
    for command in COMMANDS {
        assert!(page.contains(&format!("| `aegisctl {command}` |")), "{command}");
    }
    let help = stdout(&Home::empty().run(&["--help"]).success());
    let codes = help.lines().skip_while(|line| *line != "Exit codes:").skip(1);
    let codes: Vec<_> = codes.take_while(|line| !line.is_empty()).collect();
    assert_eq!(codes.len(), 6);
    for code in codes {
        let (number, meaning) = code.trim().split_once("  ").unwrap();
        assert!(page.contains(&format!("| {number} | {meaning} |")), "{code}");
    }
}

#[test]
fn help_names_every_exit_code_and_has_examples() {
    let help = stdout(&Home::empty().run(&["--help"]).success());
    for line in [
        "  0  ok",
        "  1  a check",
        "  2  the command",
        "  3  something",
        "  4  not allowed",
        "  5  a replay",
    ] {
        assert!(help.contains(line), "{line}\n{help}");
    }
    for command in COMMANDS {
        let words: Vec<_> = command.split(' ').chain(["--help"]).collect();
        let help = stdout(&Home::empty().run(&words).success());
        assert!(help.contains("Example"), "{command}\n{help}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for words in
        [&["nonsense"][..], &["init", "--tenant", "No Spaces"], &["doctor", "-o", "xml"], &[]]
    {
        Home::empty().run(words).code(2);
    }
}

#[test]
fn init_makes_keys_only_their_owner_can_read() {
    let home = Home::ready();
    for key in ["keys/issuer.pem", "keys/region.pem", "keys/registry.seed"] {
        let mode = fs::metadata(home.path(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let mode = fs::metadata(home.path("keys")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
}

#[test]
fn init_never_overwrites_and_then_writes_nothing_at_all() {
    let home = Home::empty();
    fs::create_dir_all(home.path("policies")).unwrap();
    fs::write(home.path("policies/acme.yaml"), "mine").unwrap();
    let refused = home.run(&["init"]).code(4);
    assert!(stderr(&refused).contains("policies/acme.yaml exists"), "{}", stderr(&refused));
    assert_eq!(fs::read_to_string(home.path("policies/acme.yaml")).unwrap(), "mine");
    assert!(!home.path("keys").exists());
}

#[test]
fn what_the_system_forbids_ends_with_4() {
    // Nobody may make folders here, root included.
    let mut command = assert_cmd::Command::cargo_bin("aegisctl").unwrap();
    let refused = command.args(["--data", "/sys/kernel/aegis", "init"]).assert().code(4);
    assert!(stderr(&refused).contains("may not be used"), "{}", stderr(&refused));
}

#[test]
fn init_names_the_tenant_everywhere() {
    let home = Home::empty();
    home.run(&["init", "--tenant", "globex", "--agent", "bot-7", "--region", "eu-west-1"])
        .success();
    let config = fs::read_to_string(home.path("aegis.yaml")).unwrap();
    assert!(config.contains("  globex:\n    org: globex\n    region: eu-west-1"), "{config}");
    assert!(!config.contains('{') || !config.contains("{tenant}"), "{config}");
    assert!(home.path("policies/globex.yaml").exists());
    home.run(&["token", "mint", "--tenant", "globex", "--agent", "bot-7"]).success();
}

#[test]
fn data_goes_to_stdout_and_words_to_stderr() {
    let home = Home::empty();
    let made = home.run(&["-o", "json", "init"]).success();
    assert_eq!(json(&made).as_array().unwrap().len(), 8);
    assert!(stderr(&made).contains("next: "));
    let quiet = Home::empty().run(&["--quiet", "init"]).success();
    assert_eq!(stderr(&quiet), "");
}

#[test]
fn doctor_finds_nothing_wrong_with_what_init_made() {
    let home = Home::ready();
    on_free_ports(&home);
    let checks = json(&home.run(&["doctor", "-o", "json"]).success());
    assert_eq!(status_of(&checks, "port plain"), "ok");
    assert_eq!(status_of(&checks, "/readyz"), "skip");
    assert_eq!(status_of(&checks, "data directory"), "ok");
}

#[test]
fn doctor_fails_on_a_key_others_can_read() {
    let home = Home::ready();
    let key = home.path("keys/issuer.pem");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let checks = json(&home.run(&["doctor", "-o", "json"]).code(1));
    assert_eq!(status_of(&checks, "issuer key"), "fail");
}

#[test]
fn doctor_goes_on_after_the_first_failure() {
    let home = Home::ready();
    on_free_ports(&home);
    fs::write(home.path("keys/issuer.pem"), "no key").unwrap();
    fs::write(home.path("keys/jwks.json"), "no set").unwrap();
    fs::remove_file(home.path("keys/region.pem")).unwrap();
    fs::write(home.path("keys/registry.seed"), "0".repeat(64)).unwrap();
    fs::write(home.path("policies/acme.yaml"), "kind: Nonsense\n").unwrap();
    let checks = json(&home.run(&["doctor", "-o", "json"]).code(1));
    for name in ["issuer key", "region key", "published keys", "trust root", "policy acme"] {
        assert_eq!(status_of(&checks, name), "fail", "{name}");
    }
    assert_eq!(status_of(&checks, "clock"), "ok");
}

#[test]
fn doctor_says_when_the_published_keys_are_not_ours() {
    let (home, other) = (Home::ready(), Home::ready());
    fs::copy(other.path("keys/jwks.json"), home.path("keys/jwks.json")).unwrap();
    let checks = json(&home.run(&["doctor", "-o", "json"]).code(1));
    assert_eq!(status_of(&checks, "published keys"), "fail");
}

#[test]
fn doctor_shows_every_mistake_of_the_configuration() {
    let home = Home::ready();
    replace(&home.path("aegis.yaml"), "org: acme", "org: Not An Org");
    replace(&home.path("aegis.yaml"), "127.0.0.1:9464", "nowhere");
    let shown = stdout(&home.run(&["doctor", "-o", "json"]).code(1));
    assert!(shown.contains("an org id may hold only"), "{shown}");
    assert_eq!(shown.matches("aegis.yaml:").count(), 2, "{shown}");
}

#[test]
fn doctor_without_a_data_directory_ends_with_3_and_says_what_to_do() {
    let missing = Home::empty().run(&["doctor"]).code(3);
    assert!(stderr(&missing).contains("aegisctl init"), "{}", stderr(&missing));
}

#[test]
fn doctor_reports_whoever_holds_the_port() {
    let home = Home::ready();
    on_free_ports(&home);
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = holder.local_addr().unwrap().to_string();
    let config = fs::read_to_string(home.path("aegis.yaml")).unwrap();
    let line = config.lines().find(|line| line.contains("plain:")).unwrap().to_owned();
    replace(&home.path("aegis.yaml"), &line, &format!("  plain: {address}"));
    let checks = stdout(&home.run(&["doctor", "-o", "json"]).success());
    assert!(checks.contains(&format!("{address} answers")), "{checks}");
}

#[test]
fn a_completion_script_knows_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let script = stdout(&Home::empty().run(&["completions", shell]).success());
        assert!(script.contains("doctor"), "{shell}");
    }
    Home::empty().run(&["completions", "cobol"]).code(2);
}

#[test]
fn output_to_a_pipe_has_no_colour() {
    let home = Home::ready();
    on_free_ports(&home);
    let shown = stdout(&home.run(&["doctor"]).success());
    assert!(shown.starts_with("STATUS") && !shown.contains('\u{1b}'), "{shown:?}");
}
