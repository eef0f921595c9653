//! Queries to a member and its status indications, in every order: answers that are older or newer than an indication,
//! and changes without an indication. The driver's state is compared with a model of the documented rules
//! (src/ARCHITECTURE.md, "Where a member's link state comes from").

use super::module::look;
use lbfoext::ndis::raw::MEDIA_CONNECT;
use teaming::ids::{MemberIndex, MemberSet};
use teaming::offload::capabilities::{Capability, Counting, NUM_QUEUES};
use teaming::team::member::MemberState;
use vswitch::adapter::capabilities::Capabilities;
use vswitch::adapter::wire::status as codes;
use vswitch::machine::registry::Value;
use vswitch::scenario::suite::MS;
use vswitch::scenario::{Net, Scenario};
use vswitch::switch::control::status::Status;

/// The member under test.
const MEMBER: u16 = 2;
/// Length of a sequence. Every shorter one is the start of a longer one.
const STEPS: u32 = 4;

/// One event. The value of a member is its link, down or up, or one of two numbers of queues.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// The team indicates a change, so the driver queries its members.
    Asked,
    /// The pending query is completed.
    Answered,
    /// The member indicates its value, changed or not.
    Indicated(bool),
    /// The member's value changes without an indication.
    Silent,
}

const ALL: [Step; 5] =
    [Step::Asked, Step::Answered, Step::Indicated(false), Step::Indicated(true), Step::Silent];

/// A model of the documented rules.
struct Model {
    truth: bool,
    believed: bool,
    /// The pending query, with the value at the time when it was sent.
    out: Option<bool>,
    /// The query is repeated, because a newer indication arrived or it was requested again.
    again: bool,
    /// Adapters answer with the value at the time of the query.
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

/// What the query is about: how the test changes it, and how it reads the driver's state.
struct Subject {
    ask: fn(&Net),
    /// Sets the member's value, with or without an indication.
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

/// Number of queues of a member, by value.
const QUEUES: [u32; 2] = [4, 9];

const QUEUE_COUNT: Subject = Subject {
    ask: |net| {
        // An indication of the team as one adapter is valid only if the members confirm it.
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
            let block = control.capabilities.merged(Capability::ReceiveFilter, alone, Counting::Sum);
            let queues = block.expect("it has answered").get(&NUM_QUEUES);
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

/// A switch whose adapters complete each query exactly one tick later.
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

/// Every sequence of `STEPS` steps.
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
            // Pending queries are completed, and the next sequence starts from the same state.
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
