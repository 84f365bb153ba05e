//! API keys, tokens, passwords and private keys.
//!
//! Invariant: a rule's pattern runs only where one of its keywords occurs, so clean text costs one pass.
//! Formats are those that the issuers document; the first group of a pattern, if any, is the secret.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::words::{Context, Words};
use crate::glance::{Glance, SECRET_RUN_MIN};

/// One kind of secret.
pub(super) struct Rule {
    /// Found without regard to case; the pattern decides.
    pub(super) keywords: &'static [&'static str],
    pattern: &'static str,
    /// The shortest run of letters, digits, `+/-_` that a text with such a secret has; most texts have none.
    run_min: usize,
    /// The fewest bits of entropy a character of the secret must carry; 0 where the format is proof enough.
    entropy_min: f64,
}

const fn rule(keywords: &'static [&'static str], pattern: &'static str) -> Rule {
    Rule { keywords, pattern, run_min: SECRET_RUN_MIN, entropy_min: 0.0 }
}

const fn guess(keywords: &'static [&'static str], pattern: &'static str, entropy_min: f64) -> Rule {
    Rule { keywords, pattern, run_min: SECRET_RUN_MIN, entropy_min }
}

/// A secret that may be short or in pieces; its pattern has one of the signs of `Glance::may_tell` in it.
const fn phrase(
    keywords: &'static [&'static str],
    pattern: &'static str,
    entropy_min: f64,
) -> Rule {
    Rule { keywords, pattern, run_min: 0, entropy_min }
}

pub(super) const RULES: &[Rule] = &[
    rule(&["akia", "asia", "abia", "acca"], r"\b((?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{16})\b"),
    guess(
        &["aws", "secretaccesskey", "secret_access_key", "secret_key"],
        r#"(?is)(?:aws|secret).{0,32}?(?:key|secret|token)[^A-Za-z0-9/+]{1,16}([A-Za-z0-9/+]{40})(?:[^A-Za-z0-9/+=]|$)"#,
        3.5,
    ),
    rule(
        &["amzn.mws."],
        r"(amzn\.mws\.[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})",
    ),
    rule(&["ghp_", "gho_", "ghu_", "ghs_", "ghr_"], r"\b(gh[pousr]_[A-Za-z0-9]{36,251})\b"),
    rule(&["github_pat_"], r"\b(github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})\b"),
    rule(
        &["glpat-", "gldt-", "glrt-", "glptt-", "gloas-", "glcbt-", "glft-", "glsoat-"],
        r"\b(gl(?:pat|dt|rt|ptt|oas|cbt|ft|soat)-[A-Za-z0-9_.-]{20,64})",
    ),
    rule(&["gr1348941"], r"\b(GR1348941[A-Za-z0-9_-]{20})"),
    rule(
        &["xoxa-", "xoxb-", "xoxe", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "xapp-"],
        r"\b((?:xox[abeoprs]|xoxe\.xox[bp]|xapp)-[0-9A-Za-z-]{10,255})",
    ),
    rule(
        &["hooks.slack.com"],
        r"(hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{20,})",
    ),
    rule(
        &[".webhook.office.com"],
        r"([a-z0-9-]+\.webhook\.office\.com/webhookb2/[A-Za-z0-9@/-]{40,})",
    ),
    rule(
        &["sk_live_", "rk_live_", "sk_test_", "rk_test_"],
        r"\b([rs]k_(?:live|test)_[A-Za-z0-9]{10,255})\b",
    ),
    rule(&["whsec_"], r"\b(whsec_[A-Za-z0-9+/]{24,64})"),
    rule(&["sk-ant-"], r"\b(sk-ant-[a-z0-9]{2,8}-[A-Za-z0-9_-]{32,200})"),
    rule(&["sk-"], r"\b(sk-(?:proj-|svcacct-|admin-|or-v1-)?[A-Za-z0-9_-]{20,200})"),
    rule(&["gsk_"], r"\b(gsk_[A-Za-z0-9]{40,64})\b"),
    rule(&["xai-"], r"\b(xai-[A-Za-z0-9]{70,90})\b"),
    rule(&["pplx-"], r"\b(pplx-[A-Za-z0-9]{40,64})\b"),
    rule(&["tvly-"], r"\b(tvly-[A-Za-z0-9-]{20,64})\b"),
    rule(&["jina_"], r"\b(jina_[A-Za-z0-9_-]{40,80})\b"),
    rule(&["fc-"], r"\b(fc-[a-f0-9]{32})\b"),
    rule(&["aiza"], r"\b(AIza[A-Za-z0-9_-]{35})"),
    rule(&["gocspx-"], r"\b(GOCSPX-[A-Za-z0-9_-]{28})"),
    rule(&["ya29."], r"\b(ya29\.[A-Za-z0-9_-]{20,1024})"),
    phrase(
        &["private key"],
        r"(-----BEGIN [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----(?:[^-]|-[^-])*(?:-----END [A-Z0-9 ]{0,32}PRIVATE KEY(?: BLOCK)?-----)?)",
        0.0,
    ),
    rule(
        &["eyj", "ewog"],
        r"\b(e(?:yJ|wog)[A-Za-z0-9_-]{10,}\.e(?:yJ|wog)[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,})",
    ),
    rule(&["npm_"], r"\b(npm_[A-Za-z0-9]{36})\b"),
    rule(&["pypi-"], r"\b(pypi-[A-Za-z0-9_-]{50,512})"),
    rule(&["rubygems_"], r"\b(rubygems_[a-f0-9]{48})\b"),
    rule(&["oy2"], r"\b(oy2[a-z0-9]{43})\b"),
    rule(&["cio"], r"\b(cio[A-Za-z0-9]{32})\b"),
    rule(&["sg."], r"\b(SG\.[A-Za-z0-9_-]{22}\.[A-Za-z0-9_-]{43})"),
    rule(&["sk"], r"\b(SK[0-9a-f]{32})\b"),
    guess(&["twilio"], r"(?is)twilio.{0,48}?\b([0-9a-f]{32})\b", 3.0),
    guess(
        &["accountkey", "sharedaccesskey", "storage", "secret="],
        r"(?i)(?:(?:account|sharedaccess)key|storage.{0,32}?key|;secret)\W{1,8}([A-Za-z0-9+/]{40,88}={0,2})",
        3.5,
    ),
    guess(
        &["azure", "devops", "vso"],
        r"(?is)(?:azure|devops|vso).{0,64}?\b([a-z2-7]{52}|[A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4})\b",
        3.0,
    ),
    rule(&["hf_"], r"\b(hf_[A-Za-z0-9]{34,40})\b"),
    rule(&["dop_v1_", "doo_v1_", "dor_v1_"], r"\b(do[opr]_v1_[a-f0-9]{64})\b"),
    rule(
        &["dp.pt.", "dp.ct.", "dp.st.", "dp.sa.", "dp.scim.", "dp.audit."],
        r"\b(dp\.(?:pt|ct|st|sa|scim|audit)\.(?:[a-z0-9_-]{2,35}\.)?[A-Za-z0-9]{40,44})\b",
    ),
    rule(&["dckr_pat_"], r"\b(dckr_pat_[A-Za-z0-9_-]{27})"),
    rule(&["dapi"], r"\b(dapi[a-f0-9]{32}(?:-[0-9])?)\b"),
    rule(&["dt0c01.", "dt0s01."], r"\b(dt0[a-z][0-9]{2}\.[A-Z0-9]{24}\.[A-Z0-9]{64})\b"),
    rule(&["figd_"], r"\b(figd_[A-Za-z0-9_-]{38,48})"),
    rule(&["glc_"], r"\b(glc_eyJ[A-Za-z0-9+/=]{40,})"),
    rule(&["glsa_"], r"\b(glsa_[A-Za-z0-9]{32}_[A-Fa-f0-9]{8})\b"),
    rule(&["eyjrijoi"], r"\b(eyJrIjoi[A-Za-z0-9+/_-]{60,}={0,2})"),
    rule(&["hvs.", "hvb.", "hvr."], r"\b(hv[sbr]\.[A-Za-z0-9_-]{24,300})"),
    guess(&["s.", "b.", "r."], r"(?:^|[^A-Za-z0-9_.])([sbr]\.[A-Za-z0-9]{24,})\b", 3.5),
    rule(
        &["atatt3", "atctt3", "atbb"],
        r"\b((?:ATATT3|ATCTT3)[A-Za-z0-9_=-]{160,220}|ATBB[A-Za-z0-9]{32})",
    ),
    rule(&["age-secret-key-1"], r"\b(AGE-SECRET-KEY-1[0-9A-Z]{58})\b"),
    rule(&["akc"], r"\b(AKC[A-Za-z0-9]{64,70})\b"),
    rule(&["aio_"], r"\b(aio_[A-Za-z0-9]{28})\b"),
    rule(&["da2-"], r"\b(da2-[a-z0-9]{26})\b"),
    rule(&["odt_"], r"\b(odt_[A-Za-z0-9]{32,255})\b"),
    rule(&["eaac"], r"\b(EAAC[A-Za-z0-9]{20,})"),
    rule(
        &["nrak-", "nraa-", "nrii-", "nriq-", "nrra-", "nral"],
        r"(?i)\b(NR(?:AK|AA|II|IQ|RA)-[A-Za-z0-9_-]{27,48}|[a-f0-9]{36}NRAL)\b",
    ),
    rule(&["px-api-", "px-dep-"], r"\b(px-(?:api|dep)-[0-9a-f-]{36})\b"),
    rule(&["pmak-"], r"\b(PMAK-[a-f0-9]{24}-[a-f0-9]{34})\b"),
    rule(&["shpat_", "shpca_", "shppa_", "shpss_"], r"\b(shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32})\b"),
    rule(&["sgp_"], r"(?i)\b(sgp_(?:[a-f0-9]{16}_|local_)?[a-f0-9]{40})\b"),
    rule(
        &["sq0atp-", "sq0csp-", "sq0idp-", "eaaa"],
        r"\b(sq0(?:atp|csp|idp)-[A-Za-z0-9_-]{22,43}|EAAA[A-Za-z0-9_-]{60})",
    ),
    rule(&["squ_", "sqp_", "sqa_"], r"\b(sq[upa]_[a-z0-9]{40})\b"),
    rule(&["hawk."], r"\b(hawk\.[A-Za-z0-9_-]{20}\.[A-Za-z0-9_-]{20})\b"),
    rule(&["sk.eyj", "tk.eyj"], r"\b([st]k\.eyJ[A-Za-z0-9_-]{40,}\.[A-Za-z0-9_-]{20,})"),
    rule(&["key-"], r"\b(key-[a-f0-9]{32})\b"),
    rule(&["-us"], r"\b([a-f0-9]{32}-us[0-9]{1,2})\b"),
    rule(&[":aa"], r"\b([0-9]{8,10}:AA[A-Za-z0-9_-]{32,35})(?:[^A-Za-z0-9_-]|$)"),
    rule(&["live_"], r"\b(live_[0-9]{6,12}_[A-Za-z0-9]{30})\b"),
    rule(&["ops_ey"], r"\b(ops_eyJ[A-Za-z0-9+/]{100,}={0,2})"),
    rule(&["00d"], r"\b(00D[A-Za-z0-9]{12,15}![A-Za-z0-9_.]{60,120})"),
    rule(&["phc_", "phx_"], r"\b(ph[cx]_[A-Za-z0-9]{43})\b"),
    rule(&["sntrys_"], r"\b(sntrys_eyJ[A-Za-z0-9+/=_]{40,})"),
    rule(&["lin_api_"], r"\b(lin_api_[A-Za-z0-9]{40})\b"),
    rule(&["ntn_", "secret_"], r"\b(ntn_[A-Za-z0-9]{40,50}|secret_[A-Za-z0-9]{43})\b"),
    rule(&["pscale_"], r"\b(pscale_(?:tkn|pw|oauth)_[A-Za-z0-9_.-]{32,64})"),
    rule(&["pul-"], r"\b(pul-[a-f0-9]{40})\b"),
    rule(&["xkeysib-"], r"\b(xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16})\b"),
    rule(&["tskey-"], r"\b(tskey-[a-z]+-[A-Za-z0-9]+(?:-[A-Za-z0-9]+)?)\b"),
    rule(&["atlasv1."], r"\b([A-Za-z0-9]{14}\.atlasv1\.[A-Za-z0-9_=-]{60,70})"),
    phrase(
        &["://"],
        r#"(?i)\b[a-z][a-z0-9+.-]{1,24}://[^\s:/@'"<>]{0,80}:([^\s:/@'"<>$%{]{3,80})@[A-Za-z0-9\[]"#,
        0.0,
    ),
    guess(&["bearer"], r"(?i)\bbearer\s+([A-Za-z0-9._~+/-]{16,}={0,2})", 3.0),
    phrase(&["basic"], r"(?i)\bauthorization\W{1,6}basic\s+([A-Za-z0-9+/]{8,}={0,2})", 2.5),
    phrase(
        &["$1$", "$2a$", "$2b$", "$2y$", "$5$", "$6$", "$krb5"],
        r"(\$(?:1\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}|2[aby]\$[0-9]{2}\$[./A-Za-z0-9]{53}|[56]\$(?:rounds=[0-9]+\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]{43,86}|krb5[a-z0-9]*\$[^\s]{40,}))",
        0.0,
    ),
    rule(&["q~"], r"(?:^|[^A-Za-z0-9_.~-])([A-Za-z0-9_.~-]{3}[0-9]Q~[A-Za-z0-9_.~-]{31,34})"),
    rule(&["azdo"], r"\b([A-Za-z0-9]{76}AZDO[A-Za-z0-9]{4})\b"),
    rule(&["eaa"], r"\b(EAA[A-Za-z0-9]{80,})"),
    rule(&["s-s4t2"], r"\b(s-s4t2(?:ud|af)-[a-f0-9]{64})\b"),
    rule(
        &["outlook.office.com"],
        r"(outlook\.office\.com/webhook/[A-Za-z0-9@-]{36,}/IncomingWebhook/[A-Za-z0-9/-]{32,})",
    ),
    rule(&["sonar"], r"(?i)sonar.{0,8}login.{0,8}?\b([a-f0-9]{40})\b"),
    guess(
        &["okta", "ssws"],
        r"(?is)(?:okta|ssws).{0,40}?[^A-Za-z0-9_-](00[A-Za-z0-9_-]{40})(?:[^A-Za-z0-9_-]|$)",
        3.0,
    ),
    guess(&["token"], r"(?i)token.{0,24}?\b([a-z0-9]{6}\.[a-z0-9]{16})\b", 3.0),
    phrase(
        &["curl"],
        r#"(?is)\bcurl\s.{0,200}?\s(?:-u|--user)[\s=]{1,4}["']?([^\s"':]{0,80}:[^\s"']{6,80})"#,
        2.5,
    ),
    phrase(
        &["secret"],
        r#"(?i)secret[_-]?key["']?\s{0,4}[:=]\s{0,4}["']([^\s"']{20,120})["']"#,
        3.2,
    ),
    // The generic rules: a name for a secret, a sign of assignment, a value that looks random.
    phrase(
        &["key", "secret", "token", "auth", "credential"],
        r#"(?i)(?:key|secret|token|auth|credentials?)[a-z0-9_.\-]{0,24}["'\]]{0,3}[ \t]{0,8}(?:[:=>,(]|=>|:=|\|\|)[ \t=>:]{0,4}["'`]{0,2}([A-Za-z0-9_+/.~!@#$^&*-]{16,160}={0,2})(?:[\s"'`;,)\]}<|\\]|$)"#,
        3.2,
    ),
    phrase(
        &["passw", "pwd", "pass"],
        r#"(?i)(?:passw(?:or)?d|passphrase|pwd|[_.-]pass|\bpass)[a-z0-9_.\-]{0,16}["'\]]{0,3}[ \t]{0,8}(?:[:=]|=>|:=)[ \t>]{0,4}["'`]([^\s"'`]{5,80})["'`]"#,
        2.2,
    ),
    phrase(
        &["passw", "pwd", "pass"],
        r#"(?i)(?:passw(?:or)?d|passphrase|pwd|[_.-]pass|\bpass)[a-z0-9_.\-]{0,16}["'\]]{0,3}[ \t]{0,8}(?:[:=]|=>|:=)[ \t>]{0,4}([^\s"'`;,<>(){}\[\]&]{6,80})(?:[\s;,<&]|$)"#,
        2.5,
    ),
];

pub(super) static PATTERNS: LazyLock<Vec<Option<Regex>>> =
    LazyLock::new(|| RULES.iter().map(|rule| Regex::new(rule.pattern).ok()).collect());

pub(super) fn find(text: &str, glance: Glance, words: &Words, field: Context) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    if field.says(Context::SECRET) && !field.says(Context::HARMLESS) {
        found.extend(named(text));
    }
    if !words.any_rule() {
        return found;
    }
    let rules = RULES.iter().zip(PATTERNS.iter()).enumerate();
    for (at, (rule, pattern)) in rules {
        let is_likely = words.has_rule(at) && glance.run >= rule.run_min;
        let Some(pattern) = pattern.as_ref().filter(|_| is_likely) else { continue };
        for captures in pattern.captures_iter(text) {
            let secret = captures.get(1).or_else(|| captures.get(0));
            found.extend(
                secret
                    .filter(|secret| is_believable(secret.as_str(), rule.entropy_min))
                    .map(|secret| secret.range()),
            );
        }
    }
    found
}

/// The value of a field whose name says that it is a secret.
fn named(text: &str) -> Option<Range<usize>> {
    let value = text.trim_ascii();
    let start = text.len() - text.trim_ascii_start().len();
    let is_one_word = (8..=512).contains(&value.len()) && !value.contains(char::is_whitespace);
    let is_random = is_believable(value, 2.5) && has_two_kinds(value);
    (is_one_word && is_random).then(|| start..start + value.len())
}

/// Letters with digits or signs among them, as no plain word has.
fn has_two_kinds(value: &str) -> bool {
    let letters = value.bytes().any(|byte| byte.is_ascii_alphabetic());
    letters && value.bytes().any(|byte| !byte.is_ascii_alphabetic())
}

/// Stands for a secret without being one: `<your-key>`, `${KEY}`, `xxxxxxxx`, `[SECRET]`.
const PLACEHOLDERS: &[&str] =
    &["example", "placeholder", "changeme", "your", "xxxx", "****", "....", "redacted", "dummy"];

fn is_believable(secret: &str, entropy_min: f64) -> bool {
    if entropy_min == 0.0 {
        return true;
    }
    let lower = secret.to_ascii_lowercase();
    let is_reference = secret.starts_with(['$', '<', '{', '[', '%', '('])
        || secret.contains("env.")
        || secret.starts_with("arn:")
        || secret.contains("://");
    let is_placeholder = PLACEHOLDERS.iter().any(|word| lower.contains(word));
    let is_code = entropy_min > 3.0 && !secret.bytes().any(|byte| byte.is_ascii_digit());
    !is_reference && !is_placeholder && !is_code && entropy(secret) >= entropy_min
}

/// Shannon entropy, in bits a byte.
fn entropy(text: &str) -> f64 {
    let mut seen = [0u32; 256];
    for byte in text.bytes() {
        if let Some(count) = seen.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let length = f64::from(u32::try_from(text.len()).unwrap_or(u32::MAX));
    let share = |count: &u32| f64::from(*count) / length;
    seen.iter().filter(|count| **count > 0).map(share).map(|share| -share * share.log2()).sum()
}

#[cfg(test)]
mod tests {
    use aegis_domain::Detector::Secret;

    use super::super::{Context, detect, found};
    use super::*;

    /// A made-up body for a format, so that no string in this repository is a real-looking key.
    fn body(alphabet: &str, length: usize) -> String {
        let letters: Vec<char> = alphabet.chars().collect();
        (0..length).map(|at| letters[(at * 7 + at / 3) % letters.len()]).collect()
    }

    #[test]
    fn documented_formats_are_found() {
        let word = "aB3dE6gH9jK2mN5pQ8sT1vW4yZ7";
        let hex = "0123456789abcdef";
        for secret in [
            format!("AKIA{}", body("ABCDEFGHIJKLMNOP234567", 16)),
            format!("ghp_{}", body(word, 36)),
            format!("github_pat_{}_{}", body(word, 22), body(word, 59)),
            format!("glpat-{}", body(word, 20)),
            format!("xoxb-{}", body("0123456789", 24)),
            format!("sk_live_{}", body(word, 24)),
            format!("sk-proj-{}", body(word, 48)),
            format!("sk-ant-api03-{}", body(word, 93)),
            format!("AIza{}", body(word, 35)),
            format!("npm_{}", body(word, 36)),
            format!("pypi-{}", body(word, 80)),
            format!("SG.{}.{}", body(word, 22), body(word, 43)),
            format!("SK{}", body(hex, 32)),
            format!("hf_{}", body(word, 34)),
            format!("eyJ{}.eyJ{}.{}", body(word, 20), body(word, 30), body(word, 43)),
        ] {
            assert_eq!(found(&format!("use {secret} here"), Secret), [&secret]);
        }
    }

    #[test]
    fn a_private_key_is_found_from_its_first_dash_to_its_last() {
        let key =
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\n-----END RSA PRIVATE KEY-----";
        assert_eq!(found(&format!("x {key} y"), Secret), [key]);
        assert_eq!(
            found("-----BEGIN PUBLIC KEY-----\nMIIE\n-----END PUBLIC KEY-----", Secret).len(),
            0
        );
    }

    #[test]
    fn a_random_value_under_a_telling_name_is_found_and_a_placeholder_is_not() {
        let random = body("aB3dE6gH9jK2mN5pQ8sT1vW4yZ7", 32);
        let named =
            |value: &str, field| detect(value, Glance::over(value), field, &[Secret]).hits.len();
        assert_eq!(named(&random, Context::SECRET), 1);
        assert_eq!(named(&random, Context::NONE), 0);
        assert_eq!(named(&random, Context::SECRET.and(Context::HARMLESS)), 0);
        assert_eq!(found(&format!("api_key = \"{random}\""), Secret), [&random]);
        for text in ["api_key = \"<your-api-key-goes-here>\"", "token: ${GITHUB_TOKEN_FOR_CI_1}"] {
            assert_eq!(found(text, Secret).len(), 0, "{text}");
        }
    }

    #[test]
    fn every_pattern_compiles() {
        assert!(PATTERNS.iter().all(Option::is_some));
    }
}
