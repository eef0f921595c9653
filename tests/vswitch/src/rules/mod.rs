//! The rule book: every rule that a check can name, with the sentence that it states and the page that it rests on.
//!
//! The tables stand in one file for each group. A rule says whether it is checked, and if not, why.

mod data;
mod flags;
mod host;
mod kernel;
mod offload;
mod oid;
mod own;
mod packets;
mod portnic;
mod prop;
mod save;
mod state;
mod status;

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// What a broken rule means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Severity {
    /// The run fails.
    Error,
    /// It is reported.
    Warning,
    /// Cheaper ways are counted.
    Cost,
    /// The switch itself keeps it.
    Switch,
    /// Nothing to observe: advice to the author.
    Note,
}

impl Severity {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Cost => "cost",
            Self::Switch => "switch",
            Self::Note => "note",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Status {
    Checked,
    /// Checked, and a mutation proves it; but this driver never does what the rule is about, for the stated reason.
    Dormant(&'static str),
    Not(&'static str),
}

/// One rule of the rule book.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    pub id: &'static str,
    pub severity: Severity,
    pub status: Status,
    /// What it demands.
    pub sentence: &'static str,
    /// Where it is documented: the short name of a page of Microsoft's, or a header of the WDK. `sample code` and `Open
    /// vSwitch` are what shipped extensions show, `inference` is what follows from the rest, `own guarantee` is the
    /// product's.
    pub page: &'static str,
}

impl Rule {
    /// The letters before the number.
    pub fn group(&self) -> &'static str {
        self.id.split('-').next().unwrap_or(self.id)
    }

    /// There is a check that names it.
    pub const fn is_checked(&self) -> bool {
        !matches!(self.status, Status::Not(_))
    }

    /// Why it is not checked, or why nothing exercises the check.
    pub const fn reason(&self) -> Option<&'static str> {
        match self.status {
            Status::Checked => None,
            Status::Dormant(reason) | Status::Not(reason) => Some(reason),
        }
    }
}

const fn checked(id: &'static str, severity: Severity, sentence: &'static str, page: &'static str) -> Rule {
    Rule { id, severity, status: Status::Checked, sentence, page }
}

const fn error(id: &'static str, sentence: &'static str, page: &'static str) -> Rule {
    checked(id, Severity::Error, sentence, page)
}

const fn warning(id: &'static str, sentence: &'static str, page: &'static str) -> Rule {
    checked(id, Severity::Warning, sentence, page)
}

const fn cost(id: &'static str, sentence: &'static str, page: &'static str) -> Rule {
    checked(id, Severity::Cost, sentence, page)
}

/// The simulated switch keeps it, in every scenario.
const fn switch(id: &'static str, sentence: &'static str, page: &'static str) -> Rule {
    checked(id, Severity::Switch, sentence, page)
}

const fn dormant(id: &'static str, sentence: &'static str, page: &'static str, why: &'static str) -> Rule {
    Rule { id, severity: Severity::Error, status: Status::Dormant(why), sentence, page }
}

const fn not(
    id: &'static str,
    severity: Severity,
    sentence: &'static str,
    page: &'static str,
    why: &'static str,
) -> Rule {
    Rule { id, severity, status: Status::Not(why), sentence, page }
}

/// Every group with what it is about. The first nine are listed in full: no number of theirs is missing.
pub const GROUPS: [(&str, &str); 18] = [
    ("DATA", "packets, contexts, destinations"),
    ("FLAGS", "flags of sends, completions and returns"),
    ("PORTNIC", "ports and network adapters"),
    ("PROP", "properties and feature status"),
    ("SAVE", "saves and restores of run-time data"),
    ("STATE", "the life of a module"),
    ("OID", "requests"),
    ("OFFLOAD", "queues, virtual functions, associations"),
    ("STATUS", "status indications"),
    ("IRQL", "levels at which functions are called"),
    ("LOCK", "locks"),
    ("MEM", "memory"),
    ("EGR", "own guarantee: where packets go"),
    ("STA", "own guarantee: members that are down"),
    ("RST", "own guarantee: what is saved"),
    ("ACCOUNT", "own guarantee: the account of frames"),
    ("SWITCH", "own guarantee: the physical switch"),
    ("HOST", "what hosts demand and switches of tests used to excuse"),
];

/// Every rule, in the order of the groups.
pub fn rules() -> impl Iterator<Item = &'static Rule> {
    let packets = data::DATA.iter().chain(packets::DATA).chain(flags::FLAGS);
    let ports = portnic::PORTNIC.iter().chain(prop::PROP).chain(save::SAVE).chain(state::STATE);
    let control = oid::OID.iter().chain(offload::OFFLOAD).chain(status::STATUS);
    packets.chain(ports).chain(control).chain(kernel::KERNEL).chain(own::OWN).chain(host::HOST)
}

/// The rule of that name.
pub fn find(id: &str) -> Option<&'static Rule> {
    static BOOK: LazyLock<BTreeMap<&str, &Rule>> =
        LazyLock::new(|| rules().map(|rule| (rule.id, rule)).collect());
    BOOK.get(id).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_sentence_is_short_and_a_page_is_a_name() {
        for rule in rules() {
            assert!(rule.sentence.ends_with('.') && rule.sentence.len() <= 160, "{}", rule.id);
            assert!(!rule.page.is_empty() && !rule.page.ends_with('.'), "{}", rule.id);
            assert!(!rule.page.ends_with(".md"), "{}", rule.id);
            assert!(rule.reason().is_none_or(|reason| !reason.is_empty()), "{}", rule.id);
        }
    }

    #[test]
    fn no_two_rules_have_one_name_or_one_sentence() {
        let ids: BTreeSet<_> = rules().map(|rule| rule.id).collect();
        let sentences: BTreeSet<_> = rules().map(|rule| rule.sentence).collect();
        assert_eq!([ids.len(), sentences.len()], [rules().count(); 2]);
    }

    #[test]
    fn every_rule_stands_in_a_group_and_every_group_has_rules() {
        let groups: BTreeSet<_> = rules().map(Rule::group).collect();
        assert_eq!(groups, GROUPS.into_iter().map(|(name, _)| name).collect());
    }
}
