//! One thing that is legal but unwise, as it is shown and as a machine knows it.
//!
//! Not here: how it is found. Invariant: a finding has a place, a code that never changes its meaning, a sentence and
//! a way out.

use std::fmt;

use aegis_document::Location;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $text:literal,)+) => {
        /// What kind of finding it is.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Code {
            $($(#[$doc])* $variant,)+
        }

        impl Code {
            pub const ALL: &[Code] = &[$(Code::$variant,)+];

            /// The stable name, for machines and for documentation.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Code::$variant => $text,)+
                }
            }
        }
    };
}

codes! {
    /// No call that passes the checks makes the rule fire.
    UnreachableRule = "unreachable-rule",
    /// Every call that passes the checks makes the deny rule fire.
    AlwaysDenies = "always-denies",
    /// Together, the deny rules leave no call of the tool.
    NeverAllowed = "never-allowed",
    /// Without the rule every call would have the same effect, approvals and obligations.
    IneffectiveRule = "ineffective-rule",
    /// The shadow rule fires only where an enforced one already has its effect.
    RedundantShadow = "redundant-shadow",
    /// No call that passes the checks is one that the exception is for.
    UnreachableException = "unreachable-exception",
    /// No value passes the checks of the parameter.
    ImpossibleParam = "impossible-param",
    /// A limit on an optional parameter that a call escapes by leaving it out.
    VanishingDeny = "vanishing-deny",
    /// The approval does not bind a parameter that the rule tests.
    UnboundApproval = "unbound-approval",
    /// Two tools answer the same requests.
    OverlappingTools = "overlapping-tools",
    /// Neither a group nor a scope is asked for.
    OpenTool = "open-tool",
    /// A list, calendar, approval or obligation that nothing uses.
    Unused = "unused",
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub code: Code,
    pub at: Location,
    pub message: String,
    /// What to do about it.
    pub help: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { code, at, message, help } = self;
        write!(f, "{at}: {message} [{}]\n    help: {help}", code.as_str())
    }
}

/// Every finding of one set, by position.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings(Vec<Finding>);

impl Findings {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> std::slice::Iter<'_, Finding> {
        self.0.iter()
    }

    pub(super) fn add(&mut self, code: Code, at: &Location, message: String, help: &str) {
        self.0.push(Finding { code, at: at.clone(), message, help: help.to_owned() });
    }

    pub(super) fn sorted(mut self) -> Self {
        self.0.sort_by(|a, b| (&a.at, a.code, &a.message).cmp(&(&b.at, b.code, &b.message)));
        self
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(Finding::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}
