//! What the demo prints: each call with its verdict, then the evidence, then how to go on.
//!
//! Not here: making the calls (`scenario`). Invariant: only what the gateway or the upstream said is shown.

use std::io::Write as _;
use std::time::Duration;

use aegis_domain::{TokenUse, Ttl};
use anyhow::Context as _;

use crate::client::Reply;
use crate::scenario::{Minter, Step};
use crate::upstream::DemoUpstream;
use crate::{AfterScenario, DemoOptions};

/// The story so far.
pub(crate) struct Report {
    steps: u32,
}

/// Prints to stdout; a closed pipe is no reason to fail.
fn say(line: std::fmt::Arguments<'_>) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

impl Report {
    pub(crate) fn begin(options: &DemoOptions) -> Self {
        let data = options.data_dir.display();
        say(format_args!("Aegis in dev mode. Data directory: {data}"));
        say(format_args!(
            "Agents call http://127.0.0.1:{} (TLS on {}); the demo upstream is https on 127.0.0.1:{}.",
            options.ports.plain, options.ports.tls, options.ports.upstream
        ));
        Self { steps: 0 }
    }

    pub(crate) fn step(&mut self, step: &Step, reply: &Reply, upstream: &DemoUpstream) {
        self.steps = self.steps.saturating_add(1);
        say(format_args!("\n{}. {}", self.steps, step.title));
        let outcome =
            if reply.status.is_success() { "went through".to_owned() } else { refusal(reply) };
        say(format_args!("   {} {outcome}", reply.status.as_u16()));
        if let Some(id) = reply.headers.get("aegis-decision-id").and_then(|id| id.to_str().ok()) {
            let attested =
                if reply.headers.contains_key("aegis-attestation") { ", attested" } else { "" };
            say(format_args!("   decision {id}{attested}"));
        }
        if let Some(received) = step.show.and_then(|host| upstream.last(host)) {
            say(format_args!(
                "   the upstream received {}",
                String::from_utf8_lossy(&received.body)
            ));
        }
        if reply.arrivals.len() > 2 {
            say(format_args!("   {}", streamed(&reply.arrivals)));
        }
    }

    /// Verifies the audit chain and prints the cost of each agent, with the tool an auditor would use.
    pub(crate) async fn evidence(&self, options: &DemoOptions) -> anyhow::Result<()> {
        // Heads are signed at most once a second; the last calls' head must be on disk first.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        say(format_args!("\nThe audit chain, as `aegisctl audit verify` sees it:"));
        aegisctl(options, &["audit", "verify"])?;
        say(format_args!("\nWhat each agent cost, as `aegisctl cost report` sees it:"));
        aegisctl(options, &["cost", "report"])?;
        Ok(())
    }

    pub(crate) fn try_it(&self, options: &DemoOptions, minter: &Minter) -> anyhow::Result<()> {
        debug_assert_eq!(options.after, AfterScenario::Stay);
        let token = minter.token("finance-bot", TokenUse::Bound, Ttl::from_s(900))?;
        let base = format!("http://127.0.0.1:{}", options.ports.plain);
        let post = "-H 'content-type: application/json' -d";
        say(format_args!("\nTry your own call; the token is good for 15 minutes:\n"));
        say(format_args!("  TOKEN={token}"));
        say(format_args!(
            "  curl -i {base}/payments/v1/payouts/po_10421042 -H \"authorization: Bearer $TOKEN\""
        ));
        say(format_args!(
            "  curl -i {base}/payments/v1/payouts -H \"authorization: Bearer $TOKEN\" {post} \
             '{{\"amount\": 4200, \"currency\": \"USD\", \"destination\": \"acct_1A2b3C4d5E\"}}'"
        ));
        say(format_args!("\nCtrl-C ends it; the next run goes on from here."));
        Ok(())
    }
}

fn refusal(reply: &Reply) -> String {
    let problem: serde_json::Value = serde_json::from_slice(&reply.body).unwrap_or_default();
    let text =
        |name: &str| problem.get(name).and_then(|value| value.as_str()).unwrap_or("-").to_owned();
    let rules = problem.get("rules").map(|rules| format!(" by {rules}")).unwrap_or_default();
    format!("{} ({}){rules}: {}", text("decision"), text("reason"), text("detail"))
}

fn streamed(arrivals: &[Duration]) -> String {
    let ms = |at: Option<&Duration>| at.map_or(0, Duration::as_millis);
    let (first, last) = (ms(arrivals.first()), ms(arrivals.last()));
    format!("{} pieces, the first after {first} ms, the last after {last} ms", arrivals.len())
}

/// Runs the auditor's tool that was built beside this binary.
fn aegisctl(options: &DemoOptions, arguments: &[&str]) -> anyhow::Result<()> {
    let beside = std::env::current_exe()?.with_file_name("aegisctl");
    let status = std::process::Command::new(&beside)
        .arg("--data")
        .arg(&options.data_dir)
        .args(arguments)
        .status()
        .with_context(|| {
            format!("{} cannot be run; build it with `cargo build`", beside.display())
        })?;
    anyhow::ensure!(status.success(), "aegisctl {} failed: {status}", arguments.join(" "));
    Ok(())
}
