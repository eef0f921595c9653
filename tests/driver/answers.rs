//! What members say, in every order: questions of the extension, answers that are older or newer than what was
//! indicated meanwhile, indications, and changes that nobody tells. What the driver believes is held against a model of
//! the documented rules (src/ARCHITECTURE.md, "Where a member's link state comes from").

use super::module::look;
use lbfoext::ndis::raw::MEDIA_CONNECT;
use teaming::ids::{MemberIndex, MemberSet};
use teaming::offload::OffloadPlacement;
use teaming::offload::capabilities::{Capability, RECEIVE_FILTER};
use teaming::team::member::MemberState;
use vswitch::adapter::capabilities::Capabilities;
use vswitch::adapter::wire::status as codes;
use vswitch::machine::registry::Value;
use vswitch::scenario::suite::MS;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::control::status::Status;

/// The member that things happen to.
const MEMBER: u16 = 2;
/// Steps of a sequence. Every shorter one is the beginning of a longer one.
const STEPS: u32 = 4;

/// One thing that happens. A value is a link that is down or up, or one of two numbers of queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Something changed in the team: its members are asked.
    Asked,
    /// The answer that is out comes.
    Answered,
    /// The member has a new value, or the same, and says so.
    Indicated(bool),
    /// It has the other value, and nobody says so.
    Silent,
}

const ALL: [Step; 5] =
    [Step::Asked, Step::Answered, Step::Indicated(false), Step::Indicated(true), Step::Silent];

/// What the documented rules make of a sequence.
struct Model {
    truth: bool,
    believed: bool,
    /// The question that is out, with what was so when it was put.
    out: Option<bool>,
    /// What is being answered is wanted once more: something newer was heard, or it was asked for again.
    again: bool,
    /// Answers tell what was so when the question came.
    old_answers: bool,
}

impl Model {
    fn take(&mut self, step: Step) {
        match step {
            Step::Asked if self.out.is_some() => self.again = true,
            Step::Asked => self.out = Some(self.truth),
            Step::Answered => {
                let Some(then) = self.out.take() else { return };
                if std::mem::take(&mut self.again) {
                    self.out = Some(self.truth);
                } else {
                    self.believed = if self.old_answers { then } else { self.truth };
                }
            }
            Step::Indicated(value) => {
                (self.truth, self.believed) = (value, value);
                self.again |= self.out.is_some();
            }
            Step::Silent => self.truth = !self.truth,
        }
    }
}

/// What is asked and answered: how each step is made to happen, and what the driver believes.
struct Subject {
    ask: fn(&Net),
    /// The member gets a value, told or not.
    change: fn(&Net, bool, bool),
    believed: fn(&Net) -> bool,
}

const LINK: Subject = Subject {
    ask: |net| {
        net.status(Status { code: MEDIA_CONNECT, buffer: Vec::new(), from: Some(net.member(0)) });
    },
    change: |net, up, told| {
        if up {
            net.plug(MEMBER)
        } else {
            net.pull(MEMBER)
        }
        if told {
            net.indicate(MEMBER, up);
        }
    },
    believed: |net| {
        look(net, |module| {
            let member = member();
            let up = module.control.lock().team.member(member).state == MemberState::Active;
            let buckets = module.forwarding.read().table.counts()[member.slot()];
            assert_eq!(up, buckets != 0, "the table follows the team");
            up
        })
        .expect("it is attached")
    },
};

/// Queues of a member by value.
const QUEUES: [u32; 2] = [4, 9];

const QUEUE_COUNT: Subject = Subject {
    ask: |net| {
        // What the team as one adapter says is only true if the members say so.
        let buffer = abilities(true).indication(codes::FILTER_CURRENT).expect("there are queues");
        net.status(Status { code: codes::FILTER_CURRENT, buffer, from: Some(net.member(0)) });
    },
    change: |net, value, told| {
        let tell = if told { &[codes::FILTER_CURRENT][..] } else { &[] };
        net.change_abilities(MEMBER, abilities(value), tell, false);
    },
    believed: |net| {
        look(net, |module| {
            let control = module.control.lock();
            let alone = MemberSet::EMPTY.with(member());
            let block =
                control.capabilities.merged(Capability::ReceiveFilter, alone, OffloadPlacement::FollowFlows);
            let queues = RECEIVE_FILTER.iter().find(|field| field.name == "NumQueues").expect("a field");
            let queues = block.expect("it has answered").get(queues);
            assert!(QUEUES.contains(&queues), "{queues} queues");
            queues == QUEUES[1]
        })
        .expect("it is attached")
    },
};

fn member() -> MemberIndex {
    MemberIndex::from_slot(usize::from(MEMBER) - 1).expect("a member")
}

fn abilities(value: bool) -> Capabilities {
    Capabilities { queues: QUEUES[usize::from(value)], ..Capabilities::default() }
}

/// A switch whose adapters answer each question exactly one tick later.
fn start(old_answers: bool) -> Net {
    let net = Scenario::new(1)
        .members(&[10, 10])
        .vms(1)
        .abilities(|_| abilities(true))
        .setting("LinkUpDelayMs", Value::Dword(0))
        .setting("FlowletGapUs", Value::Dword(0))
        .style(|style| {
            (style.pending, style.inside, style.delay) = (100, 0, 1);
            style.old_answers = if old_answers { 100 } else { 0 };
        })
        .start();
    net.advance(100 * MS);
    net
}

/// Every sequence of that many steps.
fn sequences() -> impl Iterator<Item = Vec<Step>> {
    (0..ALL.len().pow(STEPS))
        .map(|number| (0..STEPS).map(|place| ALL[number / ALL.len().pow(place) % ALL.len()]).collect())
}

fn told_in_every_order(subject: &Subject) {
    for old_answers in [false, true] {
        let net = start(old_answers);
        for sequence in sequences() {
            let mut model = Model { truth: true, believed: true, out: None, again: false, old_answers };
            assert!((subject.believed)(&net), "before {sequence:?}");
            for (at, step) in sequence.iter().enumerate() {
                match *step {
                    Step::Asked => (subject.ask)(&net),
                    Step::Answered => net.advance(1),
                    Step::Indicated(value) => (subject.change)(&net, value, true),
                    Step::Silent => (subject.change)(&net, !model.truth, false),
                }
                model.take(*step);
                let believed = (subject.believed)(&net);
                assert_eq!(
                    believed, model.believed,
                    "{sequence:?} after step {at}, old answers: {old_answers}"
                );
            }
            // All that is out comes, and the next sequence begins where this one did.
            net.advance(100);
            while model.out.is_some() {
                model.take(Step::Answered);
            }
            assert_eq!((subject.believed)(&net), model.believed, "at the end of {sequence:?}");
            (subject.change)(&net, true, true);
        }
        net.finish().assert_clean();
    }
}

#[test]
fn the_newest_that_a_member_said_of_its_link_is_believed_in_every_order() {
    told_in_every_order(&LINK);
}

#[test]
fn the_newest_that_a_member_said_of_its_queues_is_believed_in_every_order() {
    told_in_every_order(&QUEUE_COUNT);
}
