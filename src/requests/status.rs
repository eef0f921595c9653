//! The team's state as the feature status of the switch, and a port's as that of the port: what
//! `Get-VMSwitchExtensionSwitchData` and `Get-VMSwitchExtensionPortData` print by the classes of `inf/lbfoext.mof`. Features of
//! others are passed on (managing-custom-switch-feature-status-information.md). A query waits for no packet and no packet for
//! it: the counts are read while they go on, and the tables under the read lock. IRQL <= DISPATCH_LEVEL.

use crate::clock;
use crate::kernel::pool::{PoolSlice, Tag};
use crate::module::Module;
use crate::ndis::feature::Question;
use crate::ndis::oid::Request;
use crate::ndis::status::NdisStatus;
use crate::text;
use teaming::forward::counters::Counters;
use teaming::ids::PortId;
use teaming::status::{self, PORT_FEATURE, TEAM_FEATURE, TEAM_FIELDS, TeamStatus, VERSION};

/// The feature of the team, as it lies in memory.
pub const TEAM: [u8; 16] = text::guid(&text::utf16(TEAM_FEATURE));
const PORT: [u8; 16] = text::guid(&text::utf16(PORT_FEATURE));

/// Before a request goes down: the status to complete it with, or `None` to pass it on.
pub fn before(module: &Module, request: Request) -> Option<NdisStatus> {
    let question = Question::of(request)?;
    match (question.port, question.id) {
        (None, TEAM) => Some(team(module, question)),
        (Some(port), PORT) => Some(of_port(module, question, port)),
        _ => None,
    }
}

#[inline(never)] // a frame of its own
fn team(module: &Module, question: Question) -> NdisStatus {
    const NONE: &Counters = &Counters::ZERO;
    let Ok(mut sum) = PoolSlice::try_new(Tag::REQUEST, 1, |_| NONE.clone()) else {
        return NdisStatus::RESOURCES;
    };
    let Some(counters) = sum.first_mut() else { return NdisStatus::RESOURCES };
    module.counters.add_to(counters);
    question.answer(VERSION, TEAM_FIELDS, |number| {
        let control = module.control.lock();
        let forwarding = module.forwarding.read();
        let status = TeamStatus {
            settings: &control.settings,
            team: &control.team,
            forwarding: &forwarding,
            counters,
            resources: &control.resources,
            queue_fallbacks: control.default_queue_fallbacks,
            told: control.announcer.told,
            events: &control.events,
            now: clock::now(),
        };
        status.write(&mut |value| number(value));
    })
}

/// NDIS_STATUS_FAILURE for a port that is not known.
#[inline(never)] // a frame of its own
fn of_port(module: &Module, question: Question, port: PortId) -> NdisStatus {
    let values = {
        let control = module.control.lock();
        let forwarding = module.forwarding.read();
        status::port(port, &control.settings, &forwarding, &control.resources)
    };
    let Some(values) = values else { return NdisStatus::FAILURE };
    question.answer(VERSION, values.len(), |number| values.into_iter().for_each(number))
}
