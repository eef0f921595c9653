//! Every row of `teaming::oid::OIDS` with each of its request types, against every outcome: success in each way of
//! completion, every failure status, cancellation, refused references, and each fallible call failing; what members hold
//! also after one of them has failed, failed and returned, and after the extension was attached again. A new row of the
//! table is tested without further code.

use super::rows::{self, request_type_of};
use super::seen::{self, assert_forwarded, assert_originated, assert_redirected};
use super::{EVERY_MEMBER, FOLLOW_FLOWS, REFUSALS, SINGLE_MEMBER, end, team};
use lbfoext::ndis::raw::{ADAPTER_NOT_FOUND, FAILURE, REQUEST_ABORTED, RESOURCES, SUCCESS, oids};
use std::collections::BTreeMap;
use teaming::oid::{OIDS, OidContext, RequestType, Resource, Row, Treatment};
use vswitch::machine::clock::SECOND;
use vswitch::machine::registry::Value;
use vswitch::scenario::Net;
use vswitch::switch::control::Ask;
use vswitch::switch::control::below::{Completion, Plan};
use vswitch::switch::control::envelope::Inner;
use vswitch::switch::control::nic_request::Arrived;
use vswitch::switch::ports::NicId;

/// The outcome of a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum RequestOutcome {
    Succeeds(Completion),
    Refused(i32),
    Cancelled(Completion),
    /// Every reference is refused.
    Unreferenced,
    /// The n-th fallible call fails.
    Fault(u64),
}

/// What comes between the allocation of what a request is about, and the request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Between {
    Nothing,
    /// The member that holds it fails, or the second of the team.
    Failure,
    FailureAndReturn,
    /// The extension is detached and attached.
    Attachment,
}

const COMPLETIONS: [Completion; 3] = [Completion::AtOnce, Completion::InsideTheCall, Completion::Later];

fn request_outcomes() -> Vec<RequestOutcome> {
    let cancelled = [Completion::InsideTheCall, Completion::Later].map(RequestOutcome::Cancelled);
    let mut all: Vec<RequestOutcome> = COMPLETIONS.into_iter().map(RequestOutcome::Succeeds).collect();
    all.extend(
        REFUSALS
            .map(RequestOutcome::Refused)
            .into_iter()
            .chain(cancelled)
            .chain([RequestOutcome::Unreferenced]),
    );
    all
}

/// The result of one cell of the matrix.
struct Walked {
    status: i32,
    reached_below: bool,
    arrived: Vec<Arrived>,
    /// The call that failed.
    fault: Option<&'static str>,
    /// The encapsulated request after its completion.
    back: Option<Inner>,
}

/// Number of cells by treatment of the request.
pub type Counts = BTreeMap<String, u32>;

struct Cell {
    row: &'static Row,
    kind: RequestType,
    /// `OffloadPlacement`.
    placement: u32,
    outcome: RequestOutcome,
    between: Between,
}

impl Cell {
    fn name(&self) -> String {
        let (row, kind, outcome) = (self.row.words().name, self.kind, self.outcome);
        let (placement, between) = (self.placement, self.between);
        format!("{row} as {kind:?}, placement {placement}, {outcome:?}, after {between:?}")
    }

    fn every(&self) -> bool {
        self.placement == EVERY_MEMBER
    }

    fn plan(&self) -> Plan {
        match self.outcome {
            RequestOutcome::Succeeds(completion) | RequestOutcome::Cancelled(completion) => {
                Plan { status: SUCCESS, completion: Some(completion) }
            }
            RequestOutcome::Refused(status) => Plan { status, completion: None },
            RequestOutcome::Unreferenced | RequestOutcome::Fault(_) => Plan::default(),
        }
    }

    fn net(&self, seed: u64) -> Net {
        let plan = team(seed).setting("OffloadPlacement", Value::Dword(self.placement));
        // The driver's own requests have no plan: they complete as the style determines.
        match self.outcome {
            RequestOutcome::Succeeds(completion) | RequestOutcome::Cancelled(completion) => {
                plan.style(|style| {
                    (style.pending, style.inside) = match completion {
                        Completion::AtOnce => (0, 0),
                        Completion::InsideTheCall => (100, 100),
                        Completion::Later => (100, 0),
                    }
                })
            }
            _ => plan,
        }
        .start()
    }

    /// Arranges the outcome for the request that follows.
    fn doom(&self, net: &Net) {
        match self.outcome {
            RequestOutcome::Cancelled(_) => net.cancel_next(),
            RequestOutcome::Unreferenced => _ = net.look(|s| s.style.refuse_references = 100),
            RequestOutcome::Fault(n) => net.world().fail_from_here(n),
            RequestOutcome::Succeeds(_) | RequestOutcome::Refused(_) => {}
        }
    }

    fn happen(&self, net: &Net, nic: NicId) {
        let member = net.members_of(nic).first().map_or(1, |(member, _)| *member);
        match self.between {
            Between::Nothing => {}
            Between::Failure => net.fail(member),
            Between::FailureAndReturn => {
                net.fail(member);
                net.advance(SECOND);
                net.restore(member);
                net.advance(60 * SECOND);
            }
            Between::Attachment => {
                net.detach();
                assert!(net.attach(), "{}", self.name());
                net.advance(SECOND);
            }
        }
    }

    fn walk(&self, net: &Net) -> Walked {
        // The members have answered the queries about capabilities; before that, any may be chosen.
        net.advance(1_000);
        let nic = net.vm(0);
        let (row, kind) = (self.row, self.kind);
        let prepared = (row.place == OidContext::Envelope)
            .then(|| net.offload(nic, move |p| rows::inner(&p, row, kind)).expect("the module listens"));
        if prepared.is_none() {
            rows::before_bare(net, row);
        }
        self.happen(net, nic);
        let mark = net.look(|s| s.control.nics.arrived.len()).unwrap();
        self.doom(net);
        let plan = self.plan();
        let mut back = None;
        let (status, reached_below) = match prepared {
            Some(inner) if rows::is_for_nobody(row) => {
                let answer = net.ask_nic(nic, NicId::NOWHERE, &inner, plan).unwrap();
                (answer.status, answer.reached_below)
            }
            Some(inner) => {
                let asked = inner.clone();
                let answer = net.offload_planned(nic, plan, move |p| p.ask(&asked)).unwrap();
                back = Some(Inner { buffer: answer.buffer().to_vec(), ..inner });
                (answer.status, answer.reached_below)
            }
            None if row.oid == oids::SWITCH_NIC_REQUEST => {
                let inner = Inner::method(0x0001_0E77, vec![1; 40]);
                let answer = net.ask_nic(nic, net.member(0), &inner, plan).unwrap();
                (answer.status, answer.reached_below)
            }
            None => {
                let payload = rows::bare(row);
                let kind = request_type_of(kind);
                let answer = net.ask(Ask { kind, plan, ..Ask::set(row.oid, payload, None) }).unwrap();
                (answer.status, answer.reached_below)
            }
        };
        let arrived = net.look(move |s| s.control.nics.arrived[mark..].to_vec()).unwrap();
        net.look(|s| s.style.refuse_references = 0);
        Walked { status, reached_below, arrived, fault: net.world().injected_fault(), back }
    }

    /// Number of members that the request must reach.
    fn members(&self) -> usize {
        let copied = match self.row.treatment {
            Treatment::Place(of) | Treatment::Follow(of) | Treatment::Release(of) => {
                matches!(of, Resource::Queue | Resource::Filter)
            }
            _ => false,
        };
        // Only the copy of a filter whose member has the virtual port can move.
        let moves = self.row.oid == oids::RECEIVE_FILTER_MOVE_FILTER;
        if self.every() && copied && !moves { 3 } else { 1 }
    }

    fn is_directed(&self) -> bool {
        match self.row.treatment {
            Treatment::Place(_) => true,
            // No list has the security associations of before.
            Treatment::Follow(Resource::Sa) | Treatment::Release(Resource::Sa) => {
                self.between != Between::Attachment
            }
            Treatment::Follow(_) | Treatment::Release(_) => true,
            _ => false,
        }
    }

    /// Asserts that the requests that arrived below went to members as the documentation requires.
    fn assert_directed(&self, net: &Net, arrived: &[Arrived], members: usize) {
        let (nic, external) = (net.vm(0), net.member(0).port);
        assert_eq!(arrived.len(), members, "{}", self.name());
        for one in arrived {
            if seen::is_own(one) {
                assert_originated(one, nic, external);
            } else {
                assert_redirected(one, nic, external);
                assert_eq!(members, 1);
            }
        }
        let mut to: Vec<u16> = arrived.iter().map(|one| seen::destination(one).index).collect();
        to.sort_unstable();
        to.dedup();
        assert_eq!(to.len(), members, "one each");
    }

    /// Asserts that the request was forwarded unchanged, and nothing else was sent.
    fn assert_passed(&self, net: &Net, walked: &Walked) {
        assert!(walked.reached_below, "{}", self.name());
        if self.row.place == OidContext::Envelope || self.row.oid == oids::SWITCH_NIC_REQUEST {
            let [one] = &walked.arrived[..] else {
                panic!("{}: {} arrived", self.name(), walked.arrived.len())
            };
            let nobody = self.row.place == OidContext::Envelope && rows::is_for_nobody(self.row);
            assert_forwarded(one, net.vm(0), if nobody { NicId::NOWHERE } else { net.member(0) });
        }
    }

    /// Asserts that neither the request nor one in its place was sent down.
    fn assert_stayed(&self, walked: &Walked) {
        assert!(!walked.reached_below && walked.arrived.is_empty(), "{} went down", self.name());
    }

    fn judge(&self, net: &Net, walked: &Walked) {
        let name = self.name();
        let expected = match self.outcome {
            RequestOutcome::Refused(status) => status,
            RequestOutcome::Cancelled(Completion::Later) => REQUEST_ABORTED,
            _ => SUCCESS,
        };
        match (self.outcome, walked.fault) {
            (RequestOutcome::Fault(_), Some(site)) => return self.judge_fault(net, walked, site),
            (RequestOutcome::Unreferenced, _) if self.is_directed() => {
                return self.judge_unreferenced(net, walked, ADAPTER_NOT_FOUND);
            }
            _ => {}
        }
        let wrong = net.world().violations();
        assert_eq!(walked.status, expected, "{name}: {wrong:?}");
        if self.is_directed() {
            self.assert_directed(net, &walked.arrived, self.members());
        } else {
            self.assert_passed(net, walked);
        }
    }

    /// The member cannot be referenced: the request fails with this status or, if it must not be refused, is forwarded
    /// unchanged.
    fn judge_unreferenced(&self, net: &Net, walked: &Walked, status: i32) {
        if self.row.refusable {
            assert_eq!(walked.status, status, "{}", self.name());
            self.assert_stayed(walked);
        } else {
            self.assert_passed(net, walked);
            // The team as a whole has no adapter that could offload an association.
            let adds = matches!(self.row.treatment, Treatment::Place(Resource::Sa));
            let met = if adds && self.kind == RequestType::Set { FAILURE } else { SUCCESS };
            assert_eq!(walked.status, met, "{}", self.name());
        }
    }

    fn judge_fault(&self, net: &Net, walked: &Walked, site: &'static str) {
        let name = format!("{}: {site}", self.name());
        let (status, parts) = (walked.status, walked.arrived.len());
        match site {
            // A clone cannot be allocated in advance, so even a request that must not be refused fails here (section
            // 6, Q-20).
            "NdisAllocateCloneOidRequest" => {
                assert_eq!(status, RESOURCES, "{name}");
                self.assert_stayed(walked);
            }
            "ExAllocatePool2" if self.is_directed() => self.judge_unreferenced(net, walked, RESOURCES),
            "ExAllocatePool2" if self.row.refusable && status == RESOURCES => self.assert_stayed(walked),
            "ExAllocatePool2" => {
                assert_eq!(status, SUCCESS, "{name}");
                self.assert_passed(net, walked);
            }
            "ReferenceSwitchNic" if self.members() == 1 => {
                self.judge_unreferenced(net, walked, ADAPTER_NOT_FOUND)
            }
            "ReferenceSwitchNic" => {
                // One member gets no request, because either its reference or the partition's reference for it was
                // refused.
                self.assert_directed(net, &walked.arrived, self.members() - 1);
                let releases = matches!(self.row.treatment, Treatment::Release(_));
                assert_eq!(
                    status == SUCCESS,
                    !releases,
                    "{name}: {status:#x}; what is left is asked for again"
                );
            }
            // The adapter fails the request.
            "OID_SWITCH_NIC_REQUEST" => {
                let kept = parts > 1 && !matches!(self.row.treatment, Treatment::Release(_));
                assert_eq!(status, if kept { SUCCESS } else { FAILURE }, "{name}");
            }
            _ => assert!(status == SUCCESS || status == RESOURCES, "{name}: {status:#x}"),
        }
    }

    /// Runs the cell; false if the call that was to fail was never made.
    fn run(&self, seed: u64) -> (bool, Option<&'static str>) {
        let net = self.net(seed);
        let walked = self.walk(&net);
        let met = !matches!(self.outcome, RequestOutcome::Fault(_)) || walked.fault.is_some();
        net.world().fail_from_here(u64::MAX / 2);
        self.judge(&net, &walked);
        let held = net.look(|s| {
            let topology = &s.modules[0].topology;
            let nics: u32 = topology.nics().map(|nic| nic.references + nic.requests).sum();
            nics + topology.ports.values().map(|port| port.references).sum::<u32>()
        });
        assert_eq!(held, Some(0), "{}: references or requests are left", self.name());
        let out = net.look(|s| s.control.above.len() + s.control.clones.len() + s.control.own.len());
        assert_eq!(out, Some(0), "{}: requests are left", self.name());
        if let (RequestOutcome::Refused(_), Some(inner)) = (self.outcome, walked.back) {
            // The resource still exists: the repeated request succeeds on its member.
            let again = net.offload(net.vm(0), move |p| p.ask(&inner).status);
            assert_eq!(again, Some(SUCCESS), "{}, then again", self.name());
        }
        // The requests name ports that the simulated switch does not have, so the module is paused before the check an
        // hour after a failure.
        net.pause();
        let outcome = end(net);
        let violations: Vec<String> = outcome.violations.iter().take(3).map(ToString::to_string).collect();
        assert!(violations.is_empty(), "{}: {violations:?}", self.name());
        outcome.assert_clean();
        (met, walked.fault)
    }
}

/// Runs all cells of requests from above; returns their number by outcome.
pub fn walk_all() -> Counts {
    let mut counts = Counts::new();
    let mut count = |name: String| *counts.entry(name).or_default() += 1;
    for row in OIDS.iter().filter(|row| row.place != OidContext::Own) {
        let enveloped = row.place == OidContext::Envelope;
        let placements = if enveloped { &[FOLLOW_FLOWS, EVERY_MEMBER][..] } else { &[FOLLOW_FLOWS] };
        for &kind in row.kinds {
            for &placement in placements {
                let cell = |outcome| Cell { row, kind, placement, outcome, between: Between::Nothing };
                for (seed, outcome) in (1..).zip(request_outcomes()) {
                    cell(outcome).run(seed);
                    count(format!("{outcome:?}").split('(').next().unwrap_or_default().to_owned());
                }
                for n in 1.. {
                    let (met, site) = cell(RequestOutcome::Fault(n)).run(7);
                    if !met {
                        break;
                    }
                    count(format!("without {}", site.unwrap_or_default()));
                }
            }
        }
    }
    counts
}

/// Runs the cells of encapsulated requests after a failure and after an attachment; returns their number by that.
pub fn walk_later() -> Counts {
    let mut counts = Counts::new();
    let betweens = [Between::Failure, Between::FailureAndReturn, Between::Attachment];
    for row in OIDS.iter().filter(|row| row.place == OidContext::Envelope) {
        for &kind in row.kinds {
            for placement in [FOLLOW_FLOWS, SINGLE_MEMBER] {
                for between in betweens {
                    for (seed, completion) in (1..).zip(COMPLETIONS) {
                        let outcome = RequestOutcome::Succeeds(completion);
                        Cell { row, kind, placement, outcome, between }.run(seed);
                        *counts.entry(format!("{between:?}")).or_default() += 1;
                    }
                }
            }
        }
    }
    counts
}
