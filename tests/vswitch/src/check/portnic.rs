//! Checks of requests about ports, NICs and properties: what the extension may decide, and that it only looks.

use crate::check::{advice, rule};
use crate::machine::world::World;
use crate::switch::control::{Above, bytes_at, features, payload, property_bytes};
use crate::switch::ndis::{Life, State};
use crate::switch::ports::policy::kind;
use lbfoext::ndis::raw::{
    DATA_NOT_ACCEPTED, FAILURE, INVALID_LENGTH, INVALID_PARAMETER, NicParameters, RESOURCES, SUCCESS, oids,
};
use std::mem::offset_of;

/// What the extension itself did with a request.
#[derive(Clone, Copy)]
pub struct Decision {
    /// It ended without having been below.
    pub refused: bool,
    pub status: i32,
    /// Results of a method request: BytesWritten and BytesNeeded.
    pub bytes: (u32, u32),
}

/// The rule that says a payload is only to be looked at.
pub fn read_only(oid: u32, before: &[u8], now: &[u8]) -> &'static str {
    match oid {
        oids::SWITCH_NIC_CREATE if only_mtu_differs(before, now) => "PORTNIC-20",
        oids::SWITCH_PORT_CREATE
        | oids::SWITCH_PORT_UPDATED
        | oids::SWITCH_PORT_TEARDOWN
        | oids::SWITCH_PORT_DELETE
        | oids::SWITCH_NIC_CREATE
        | oids::SWITCH_NIC_CONNECT
        | oids::SWITCH_NIC_UPDATED
        | oids::SWITCH_NIC_DISCONNECT
        | oids::SWITCH_NIC_DELETE => "PORTNIC-08",
        oids::SWITCH_PROPERTY_ADD..=oids::SWITCH_PROPERTY_DELETE
        | oids::SWITCH_PORT_PROPERTY_ADD..=oids::SWITCH_PORT_PROPERTY_DELETE => "PROP-02",
        _ => crate::switch::control::save::payload_rule(oid),
    }
}

/// An MTU may be lowered while a synthetic NIC initialises, which these never do.
fn only_mtu_differs(before: &[u8], now: &[u8]) -> bool {
    let at = offset_of!(NicParameters, mtu);
    before.len() == now.len()
        && before.len() >= at + 4
        && before[..at] == now[..at]
        && before[at + 4..] == now[at + 4..]
        && before != now
}

/// Rules of payloads put to the test by a request that passes.
pub fn payload_kept(world: &World, above: &Above, now: &[u8]) {
    let (oid, before) = (above.oid, &above.payload_before);
    if oid == oids::SWITCH_NIC_CREATE {
        world.exercised("PORTNIC-20");
    }
    rule(world, read_only(oid, before, now), now == before, || {
        format!("the payload of request {oid:#x} was edited")
    });
}

/// Requests that the extension must not decide.
pub(crate) const MUST_PASS: [u32; 7] = [
    oids::SWITCH_PORT_UPDATED,
    oids::SWITCH_PORT_TEARDOWN,
    oids::SWITCH_PORT_DELETE,
    oids::SWITCH_NIC_CONNECT,
    oids::SWITCH_NIC_UPDATED,
    oids::SWITCH_NIC_DISCONNECT,
    oids::SWITCH_NIC_DELETE,
];

/// May the extension decide this by itself?
pub fn decided(world: &World, state: &State, above: &Above, decision: Decision) {
    life_cycle(world, state, above, decision);
    properties(world, state, above, decision);
}

/// Ports and NICs come and go: few of these may be refused, and none while the module does not know the switch.
fn life_cycle(world: &World, state: &State, above: &Above, Decision { refused, status, .. }: Decision) {
    let oid = above.oid;
    let index = payload::nic_index(&above.payload_before);
    let creates = matches!(oid, oids::SWITCH_PORT_CREATE | oids::SWITCH_NIC_CREATE);
    match oid {
        oids::SWITCH_PORT_CREATE => rule(world, "PORTNIC-04", !refused || status != SUCCESS, || {
            "PORT_CREATE was completed with success by the extension".to_owned()
        }),
        oids::SWITCH_NIC_CREATE => {
            rule(world, "PORTNIC-05", !refused || status != SUCCESS && index == 0, || {
                format!("NIC_CREATE of index {index} was completed with {status:#x} by the extension")
            });
        }
        oids::SWITCH_NIC_SAVE_COMPLETE | oids::SWITCH_NIC_RESTORE_COMPLETE => {
            rule(world, "SAVE-16", !refused, || {
                format!("request {oid:#x} was completed with {status:#x} by the extension")
            });
        }
        _ if MUST_PASS.contains(&oid) => rule(world, "PORTNIC-07", !refused, || {
            format!("request {oid:#x} was completed with {status:#x} by the extension")
        }),
        _ => {}
    }
    if !creates && !MUST_PASS.contains(&oid) {
        return;
    }
    if above.life != Life::Running {
        rule(world, "STATE-14", !refused, || {
            format!("request {oid:#x} was refused in state {:?}", above.life)
        });
    }
    if !state.modules[above.module].is_active {
        rule(world, "STATE-22", !refused, || format!("request {oid:#x} was refused before activation"));
    }
    if refused && creates {
        advice(world, "PORTNIC-06", status == DATA_NOT_ACCEPTED, || format!("veto with {status:#x}"));
    }
}

fn properties(world: &World, state: &State, above: &Above, decision: Decision) {
    let Decision { refused, status, .. } = decision;
    let oid = above.oid;
    let flags = above.payload_before.get(4..8).is_some_and(|f| *f != [0; 4]);
    if matches!(oid, oids::SWITCH_PORT_CREATE | oids::SWITCH_NIC_CREATE) && flags && above.real {
        rule(world, "PORTNIC-35", !refused, || {
            format!("request {oid:#x} with flags of the future was refused")
        });
    }
    match oid {
        oids::SWITCH_PORT_PROPERTY_ADD | oids::SWITCH_PORT_PROPERTY_UPDATE if above.real => {
            port_property(world, state, above, decision);
        }
        oids::SWITCH_PROPERTY_UPDATE | oids::SWITCH_PROPERTY_DELETE => {
            // Nothing of the switch's was ever provisioned here, so whoever claims it must say INVALID_PARAMETER.
            let right = !refused || status == INVALID_PARAMETER;
            rule(world, "PROP-08", right || status != SUCCESS, || {
                format!("request {oid:#x} about a property that was never provisioned succeeded")
            });
            let id = if oid == oids::SWITCH_PROPERTY_DELETE { "PROP-09" } else { "PROP-06" };
            rule(world, id, !refused || status == SUCCESS, || {
                format!("request {oid:#x} was completed with {status:#x} by the extension")
            });
        }
        oids::SWITCH_PORT_PROPERTY_DELETE => {
            rule(world, "PROP-09", !refused, || {
                format!("the deletion of a property was completed with {status:#x} by the extension")
            });
        }
        oids::SWITCH_PROPERTY_ADD => custom(world, decision),
        oids::SWITCH_PORT_PROPERTY_ADD | oids::SWITCH_PORT_PROPERTY_UPDATE
            if property_bytes::is_cut_custom(&above.payload_before) =>
        {
            rule(world, "PROP-10", !refused || status == INVALID_LENGTH, || {
                format!("a property of {} bytes, which are too few, ended with {status:#x}", above.length)
            });
        }
        oids::SWITCH_FEATURE_STATUS_QUERY | oids::SWITCH_PORT_FEATURE_STATUS_QUERY => {
            match features::find(oid, &above.payload_before).filter(|_| state.installed.is_of_the_package()) {
                Some(feature) => own_status(world, state, above, decision, &feature),
                None => feature_status(world, above, decision),
            }
        }
        _ => {}
    }
}

fn port_property(world: &World, state: &State, above: &Above, decision: Decision) {
    let Decision { refused, status, .. } = decision;
    let Some((port, of)) = property_bytes::port_property_head(&above.payload_before) else { return };
    let done = refused && status == SUCCESS;
    let validation = state.modules[above.module].topology.ports.get(&port).is_some_and(|p| p.validation);
    if validation {
        rule(world, "PROP-22", !(refused && status == RESOURCES), || {
            format!("a policy that port {port} only tries was refused for want of memory")
        });
    }
    match of {
        kind::SECURITY => rule(world, "PROP-16", !done, || "a security property went no further".to_owned()),
        kind::VLAN | kind::PROFILE | kind::ISOLATION => rule(world, "PROP-04", !done, || {
            format!("a standard property of type {of} was completed by the extension")
        }),
        kind::CUSTOM => custom(world, decision),
        _ => rule(world, "PROP-23", !refused, || {
            format!("a property of type {of}, which means nothing here, was refused with {status:#x}")
        }),
    }
}

/// A custom property, which is somebody else's: nothing here is this extension's own.
fn custom(world: &World, Decision { refused, status, .. }: Decision) {
    let taken = refused && status == SUCCESS;
    rule(world, "PROP-05", !taken, || "a property of somebody else's was taken".to_owned());
    rule(world, "PROP-06", !refused || taken, || {
        format!("a property of somebody else's was decided upon with {status:#x}")
    });
}

/// A question about a feature of the extension's own. Memory may be refused, and a port unknown.
fn own_status(world: &World, state: &State, above: &Above, decision: Decision, feature: &features::Feature) {
    let Decision { status, bytes: (written, needed), .. } = decision;
    let (head, room) = property_bytes::feature_room(above.oid, above.length);
    let ended = !above.reached_below;
    let m = &state.modules[above.module];
    let port = u32::from_le_bytes(above.payload_before[8..12].try_into().unwrap_or_default());
    let known = m.topology.ports.contains_key(&port) && m.enumerations > 0 && world.faults() == 0;
    let excused = match status {
        RESOURCES => world.faults() > above.faults,
        FAILURE => feature.of_port && !known,
        _ => false,
    };
    let (data, now) = (head + 16, bytes_at(above.buffer, above.length));
    let least = data + feature.length();
    let has_room = room >= feature.length();
    let version = if feature.of_port { 32..34 } else { 44..46 };
    let length = head + 8..head + 12;
    let ours = |at: usize| version.contains(&at) || length.contains(&at) || (data..least).contains(&at);
    let kept = (0..now.len()).all(|at| ours(at) || now[at] == above.payload_before[at]);
    // Each rule is tested where those before it hold.
    let told = status == INVALID_LENGTH && needed as usize == least && now == above.payload_before;
    let checks = [
        ("PROP-17", ended && ([SUCCESS, INVALID_LENGTH].contains(&status) || excused)),
        ("PROP-19", excused || has_room == (status == SUCCESS) && (has_room || told)),
        ("PROP-20", status != SUCCESS || written as usize == least),
        (
            "PROP-18",
            status != SUCCESS
                || kept && now[version.clone()] == [0, 1] && says(&now[length.clone()], feature),
        ),
    ];
    for (id, holds) in checks {
        rule(world, id, holds, || {
            format!(
                "the extension's own feature of {least} bytes: {status:#x}, {written} written into {}",
                above.length
            )
        });
        if !holds {
            return;
        }
    }
}

fn says(length: &[u8], feature: &features::Feature) -> bool {
    *length == (feature.length() as u32).to_le_bytes()
}

/// A question about a feature, which is somebody else's: an answer is one that nobody may give, and can be wrong in
/// itself.
fn feature_status(world: &World, above: &Above, decision: Decision) {
    let answered = decision.refused && decision.status == SUCCESS;
    let now = bytes_at(above.buffer, above.length);
    let (head, room) = property_bytes::feature_room(above.oid, above.length);
    let written = decision.bytes.0 as usize;
    let id = match (room, written > above.length) {
        (0, _) => "PROP-19",
        (_, true) if answered => "PROP-20",
        _ if now.get(..head) != above.payload_before.get(..head) => "PROP-18",
        _ => "PROP-17",
    };
    rule(world, id, !decision.refused, || {
        format!("somebody else's feature: an answer of {written} bytes into {}", above.length)
    });
    if room > 0 {
        // None of these happened.
        ["PROP-18", "PROP-20"].into_iter().filter(|other| *other != id).for_each(|id| world.exercised(id));
    }
}
