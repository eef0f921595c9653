//! One explanation: what `--json` prints, and what `print` says.

use super::model::{Model, Rules, adapter, window};
use super::words::{self, Length};
use crate::flow::Reader;
use crate::text::count;
use crate::tunnels;
use serde::Serialize;
use teaming::flow::{Basis, HashPolicy, POLICIES};
use teaming::forward::Verdict;
use teaming::forward::reasons::{Choice, Reasons};
use teaming::frame;
use teaming::ids::{MacAddr, MemberIndex, NicId, NicIndex};
use teaming::team::lending::bids;

/// The frame that is explained.
pub struct Subject {
    /// What was asked about, as in "frame 7 of day.pcap".
    pub text: String,
    pub bytes: Vec<u8>,
    /// The recorder kept only the first bytes.
    pub cut: bool,
    pub source: NicId,
    /// What is to be said beside.
    pub notes: Vec<String>,
}

#[derive(Serialize)]
pub struct Explained {
    pub version: &'static str,
    /// What was asked about.
    pub subject: String,
    pub protocol: String,
    pub flow: String,
    pub from: String,
    pub bytes: usize,
    pub mode: &'static str,
    pub policy: String,
    pub hash_seed: u64,
    /// Ports of tunnels beside the registered ones; 0 is none.
    pub vxlan_port: u16,
    pub geneve_port: u16,
    pub members: Vec<MemberTold>,
    /// Whether every step leads to the decision that the driver took; else the exit code is 1.
    pub agrees: bool,
    pub way: Way,
    pub way_text: String,
    /// The member by which it leaves.
    pub member: Option<u8>,
    pub read: String,
    /// What the parser reads inside tunnels, if there is one.
    pub read_in_tunnel: Option<String>,
    pub unused: Vec<String>,
    pub choice: Option<ChoiceTold>,
    pub changes: Vec<Change>,
    pub notes: Vec<String>,
}

#[derive(Serialize)]
pub struct MemberTold {
    pub index: u8,
    pub bits_per_second: u64,
    pub up: bool,
    pub weight: u32,
    /// Buckets whose home it is, of 4,096.
    pub buckets_at_home: usize,
}

/// Where the frame goes.
#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    External,
    OneMachine,
    Several,
    SwitchItself,
    Dropped,
}

#[derive(Serialize)]
pub struct ChoiceTold {
    pub basis: &'static str,
    pub key_kind: &'static str,
    pub key_text: String,
    /// The bytes that are hashed.
    pub key: String,
    pub hash: u32,
    pub bucket: u16,
    pub home: Option<u8>,
    /// To which member the bucket is lent, while its home is down.
    pub lent_to: Option<u8>,
    /// What the members that are up bid for a lent bucket; the least bid has it.
    pub bids: Vec<BidTold>,
}

#[derive(Serialize)]
pub struct BidTold {
    pub member: u8,
    pub bid: f64,
}

/// Something that would be otherwise, and which member carries the flow then.
#[derive(Serialize)]
pub struct Change {
    pub what: What,
    /// The member, the policy or the seed.
    pub value: String,
    pub bucket: u16,
    pub member: Option<u8>,
}

#[derive(Serialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "snake_case")]
pub enum What {
    MemberFails,
    MemberReturns,
    Policy,
    HashSeed,
}

/// Seeds that are tried, to find one that takes the flow to another member.
const SEEDS: u64 = 256;

/// The member that a decision names.
pub fn member_of(verdict: Verdict) -> Option<MemberIndex> {
    match verdict {
        Verdict::Uplink(member) => Some(member),
        Verdict::Flood { uplink } => uplink,
        Verdict::Deliver(_) | Verdict::Native | Verdict::Drop(_) | Verdict::RefusedBy(..) => None,
    }
}

impl Explained {
    pub fn new(model: &mut Model, subject: Subject, machines: &[(NicId, MacAddr)]) -> Self {
        let Subject { text, bytes, cut, source, notes } = subject;
        let reasons = model.reasons(&bytes, source);
        let Rules { policy, tunnels, .. } = model.rules;
        let innermost = frame::parse_innermost(window(&bytes), tunnels);
        let (_, label) = Reader::new(policy).with_tunnels_at(tunnels).read(&bytes);
        let length = Length { bytes: bytes.len(), cut };
        let (way, way_text) = way(&reasons, source, machines);
        let choice = reasons.choice.as_ref();
        let unused = choice.map_or_else(Vec::new, |choice| {
            let mut unused = words::unused(&reasons.outer, &innermost, choice, &model.rules, length);
            if choice.basis == Basis::NotEncapsulated {
                unused.extend(tunnels::hint(window(&bytes)));
            }
            unused
        });
        let told = choice.map(|choice| ChoiceTold::new(model, choice));
        let agrees = agrees(model, &reasons, told.as_ref());
        let changes = choice.map_or_else(Vec::new, |choice| changes(model, choice, &bytes, source));
        Self {
            version: env!("CARGO_PKG_VERSION"),
            subject: text,
            protocol: label.protocol(),
            flow: label.to_string(),
            from: sender(source, &reasons, machines),
            bytes: bytes.len(),
            mode: model.rules.mode.name(),
            policy: policy.row().words.to_owned(),
            hash_seed: model.rules.hash_seed,
            vxlan_port: tunnels.vxlan,
            geneve_port: tunnels.geneve,
            members: members(model),
            agrees,
            way,
            way_text,
            member: member_of(reasons.decision.verdict).map(MemberIndex::get),
            read: words::read(&reasons.outer),
            read_in_tunnel: (innermost.tunnels() != 0).then(|| words::read(&innermost)),
            unused,
            choice: told,
            changes,
            notes,
        }
    }
}

fn sender(source: NicId, reasons: &Reasons, machines: &[(NicId, MacAddr)]) -> String {
    let mac = crate::hosts::text_of(reasons.outer.source);
    match Model::machine_of(machines, source) {
        Some(machine) => format!("machine {}, {mac}, at port {} of the switch", machine + 1, source.port),
        None => format!("the outside, {mac}, by member {}", source.index.get()),
    }
}

fn members(model: &Model) -> Vec<MemberTold> {
    let all = (1..).map_while(MemberIndex::new).zip(&model.speeds);
    all.map(|(member, speed)| MemberTold {
        index: member.get(),
        bits_per_second: *speed,
        up: model.live().contains(member),
        weight: model.weight(member),
        buckets_at_home: model.at_home(member),
    })
    .collect()
}

fn way(reasons: &Reasons, source: NicId, machines: &[(NicId, MacAddr)]) -> (Way, String) {
    let machine = |nic: NicId| {
        let number = Model::machine_of(machines, nic);
        number.map_or_else(|| format!("port {}", nic.port), |number| format!("machine {}", number + 1))
    };
    let is_external = Model::machine_of(machines, source).is_none();
    match reasons.decision.verdict {
        Verdict::Uplink(_) => {
            (Way::External, "to the outside, for no machine has its destination address".to_owned())
        }
        Verdict::Deliver(nic) if is_external => (
            Way::OneMachine,
            format!(
                "to {}, whose address is its destination; the member by which it comes in is the physical switch's choice",
                machine(nic)
            ),
        ),
        Verdict::Deliver(nic) => {
            (Way::OneMachine, format!("to {}, whose address is its destination: by no member", machine(nic)))
        }
        Verdict::Flood { uplink } => {
            let text = match (uplink, is_external) {
                (Some(_), _) => "to every machine that its VLAN reaches, and to the outside by one member",
                (None, true) => {
                    "to every machine that its VLAN reaches; what comes from outside does not go back"
                }
                (None, false) => "to every machine that its VLAN reaches, and not to the outside",
            };
            (Way::Several, text.to_owned())
        }
        Verdict::Native => (Way::SwitchItself, "as the switch itself decides".to_owned()),
        Verdict::Drop(reason) => (Way::Dropped, format!("dropped. {}", reason.sentence())),
        Verdict::RefusedBy(port, reason) => {
            let nic = NicId::new(port, NicIndex::DEFAULT);
            (Way::Dropped, format!("dropped for the policy of {}. {}", machine(nic), reason.sentence()))
        }
    }
}

impl ChoiceTold {
    fn new(model: &Model, choice: &Choice) -> Self {
        let live = model.live();
        let is_lent = choice.home.is_none_or(|home| !live.contains(home));
        let weights = model.weights();
        let heaviest = weights.iter().copied().max().unwrap_or(1).max(1);
        let offers = bids(choice.bucket, live, &weights).filter(|_| is_lent);
        let bids = offers
            .map(|bid| BidTold {
                member: bid.member.get(),
                bid: bid.cost as f64 / 65_536.0 * f64::from(heaviest) / bid.weight as f64,
            })
            .collect();
        Self {
            basis: choice.basis.name(),
            key_kind: words::kind(&choice.key),
            key_text: words::key(&choice.key),
            key: choice.key.bytes().iter().map(|byte| format!("{byte:02x}")).collect(),
            hash: choice.hash.get(),
            bucket: choice.bucket.get(),
            home: choice.home.map(MemberIndex::get),
            lent_to: choice.member.filter(|_| is_lent).map(MemberIndex::get),
            bids,
        }
    }

    /// The member to which these steps lead.
    fn leads_to(&self, live: impl Fn(u8) -> bool) -> Option<u8> {
        if let Some(home) = self.home.filter(|home| live(*home)) {
            return Some(home);
        }
        self.bids.iter().min_by(|one, other| one.bid.total_cmp(&other.bid)).map(|best| best.member)
    }
}

/// Whether the steps that are told lead to the decision of the driver, one from the other.
fn agrees(model: &Model, reasons: &Reasons, told: Option<&ChoiceTold>) -> bool {
    let decided = member_of(reasons.decision.verdict);
    let (Some(choice), Some(told)) = (&reasons.choice, told) else { return decided.is_none() };
    let (bucket, member) = model.with_seed(&choice.key, model.rules.hash_seed);
    let live = |number| MemberIndex::new(number).is_some_and(|member| model.live().contains(member));
    let led = told.leads_to(live);
    bucket == choice.bucket
        && choice.hash.bucket() == bucket
        && [decided, member].iter().all(|other| *other == choice.member)
        && led == choice.member.map(MemberIndex::get)
}

fn changes(model: &mut Model, choice: &Choice, bytes: &[u8], source: NicId) -> Vec<Change> {
    let number = |member: Option<MemberIndex>| member.map(MemberIndex::get);
    let bucket = choice.bucket.get();
    let mut all: Vec<Change> = model
        .if_links_change(choice.bucket)
        .map(|(member, up, carrier)| Change {
            what: if up { What::MemberReturns } else { What::MemberFails },
            value: member.to_string(),
            bucket,
            member: number(carrier),
        })
        .collect();
    let Rules { mode, policy: present, hash_seed, .. } = model.rules;
    let others = POLICIES.into_iter().filter(|policy| *policy != present && mode.takes(*policy));
    for policy in others {
        let other = model.choice_under(policy, bytes, source);
        all.push(Change {
            what: What::Policy,
            value: policy.row().words.to_owned(),
            bucket: other.bucket.get(),
            member: number(other.member),
        });
    }
    let mut wanted = choice.member.map_or(model.live(), |member| model.live().without(member));
    for seed in (1..=SEEDS).filter(|seed| *seed != hash_seed) {
        if wanted.is_empty() {
            break;
        }
        let (bucket, member) = match present {
            HashPolicy::HyperVPort => {
                let other = model.choice_with_seed(seed, bytes, source);
                (other.bucket, other.member)
            }
            _ => model.with_seed(&choice.key, seed),
        };
        if let Some(to) = member.filter(|member| wanted.contains(*member)) {
            wanted = wanted.without(to);
            let value = seed.to_string();
            all.push(Change { what: What::HashSeed, value, bucket: bucket.get(), member: number(member) });
        }
    }
    all
}

/// A NIC of the external port, by which a frame from outside comes in.
pub fn external_source(model: &Model) -> NicId {
    model.live().iter().next().map_or_else(|| NicId::new(adapter_port(), NicIndex::new(1)), adapter)
}

fn adapter_port() -> teaming::ids::PortId {
    teaming::ids::PortId::new(vswitch::scenario::EXTERNAL_PORT)
}

impl Explained {
    /// The first line.
    pub fn headline(&self) -> String {
        let Some(choice) = &self.choice else {
            return match self.way {
                Way::Dropped => "No member: the frame is dropped".to_owned(),
                _ => "No member: the frame does not leave by the team".to_owned(),
            };
        };
        let bucket = count(u64::from(choice.bucket));
        match (self.member, choice.home, choice.lent_to) {
            (None, ..) => "No member: none is up".to_owned(),
            (Some(member), Some(home), Some(_)) => {
                format!("Member {member}: its bucket {bucket} is lent to it, for member {home} is down")
            }
            (Some(member), ..) => format!("Member {member}: its bucket {bucket} is at home there"),
        }
    }
}
