//! Queries of the switch's configuration: OID_SWITCH_PARAMETERS and the arrays of ports and NICs.
//!
//! Pages: oid-switch-parameters, oid-switch-port-array, oid-switch-nic-array. A query with a short buffer gets
//! NDIS_STATUS_INVALID_LENGTH and BytesNeeded; the needed length may have changed by the next query.

use crate::check::rule;
use crate::inject;
use crate::machine::world::World;
use crate::switch::control::lifecycle::told_of;
use crate::switch::control::payload;
use crate::switch::ndis::State;
use crate::switch::ports::NicState;
use lbfoext::ndis::raw::{
    BUFFER_OVERFLOW, BUFFER_TOO_SHORT, ElementArray, FAILURE, INVALID_LENGTH, INVALID_PARAMETER,
    ObjectHeader, OidRequest, RESOURCES, SUCCESS, object_type, oids,
};
use std::mem::offset_of;

/// Damages the header of one element; false if there is none.
fn spoil_element(world: &World, array: &mut [u8]) -> bool {
    let word = |at: usize| u32::from_le_bytes([array[at], array[at + 1], array[at + 2], array[at + 3]]);
    let (count, size) =
        (word(offset_of!(ElementArray, num_elements)), word(offset_of!(ElementArray, element_size)));
    let first = word(offset_of!(ElementArray, first_element_offset)) & 0xFFFF;
    if count == 0 {
        return false;
    }
    let number = u32::try_from(world.random(u64::from(count))).unwrap_or(0);
    let at = (first + number * size) as usize;
    array[at..at + 4].fill(0);
    true
}

impl State {
    /// Answers a query of the configuration, and checks what the extension does after a failed one.
    pub(crate) fn answer_query(
        &mut self,
        world: &World,
        module: usize,
        began: u64,
        r: &mut OidRequest,
        at_once: bool,
    ) -> i32 {
        if inject::asks_no_more(self, module) {
            // For this mutation the driver gets one failure and does not query again.
            self.modules[module].refused_at.get_or_insert(world.now());
            return RESOURCES;
        }
        let (status, whole) = self.tell_configuration(world, module, began, r);
        let m = &mut self.modules[module];
        if !whole || !matches!(status, SUCCESS | INVALID_LENGTH | BUFFER_TOO_SHORT | BUFFER_OVERFLOW) {
            m.refused_at = Some(world.now());
        }
        let attached_before = m.attached_before;
        let answers = &mut m.answers;
        answers.note(r.oid, if whole { status } else { FAILURE }, at_once);
        answers.exercise(world, r.oid);
        if r.oid == oids::SWITCH_NIC_ARRAY && answers.are_content() {
            m.read = Some((world.now(), world.faults()));
        }
        // What was asked before a detach is nobody's concern after it.
        if attached_before && inject::ignores_failed_query() {
            answers.note(oids::SWITCH_PROPERTY_ENUM, RESOURCES, false);
        }
        status
    }

    /// The status, and whether every element of the answer can be read.
    fn tell_configuration(
        &mut self,
        world: &World,
        module: usize,
        began: u64,
        r: &mut OidRequest,
    ) -> (i32, bool) {
        let site = match r.oid {
            oids::SWITCH_PARAMETERS => "OID_SWITCH_PARAMETERS",
            oids::SWITCH_PORT_ARRAY => "OID_SWITCH_PORT_ARRAY",
            _ => "OID_SWITCH_NIC_ARRAY",
        };
        if world.fails(site) {
            return (RESOURCES, true);
        }
        let length = r.length as usize;
        // SAFETY: the extension's buffer has `length` bytes.
        let header =
            (length >= 4).then(|| unsafe { r.information_buffer.cast::<ObjectHeader>().read_unaligned() });
        let valid = header.is_none_or(|h| h.object_type == object_type::DEFAULT && h.revision >= 1);
        rule(world, "OID-31", valid, || format!("{site} into a buffer without a header"));
        if !valid {
            return (INVALID_PARAMETER, true);
        }
        let mut reply = self.configuration(world, module, r.oid);
        if reply.len() > length {
            r.word52 = 0;
            r.word56 = u32::try_from(reply.len()).unwrap_or(u32::MAX);
            if let Some(grow) = self.modules[module].growth.pop_front() {
                grow(world, self);
            }
            return (self.style.odd.too_short(world), true);
        }
        let is_array = r.oid != oids::SWITCH_PARAMETERS;
        let whole =
            !(is_array && world.chance(self.style.odd.unreadable, 100) && spoil_element(world, &mut reply));
        // SAFETY: the buffer has at least the reply's length.
        unsafe {
            std::ptr::copy_nonoverlapping(reply.as_ptr(), r.information_buffer.cast::<u8>(), reply.len())
        };
        let head_only = is_array && world.chance(self.style.odd.understated, 100);
        let written = if head_only { size_of::<ElementArray>() } else { reply.len() };
        r.word52 = u32::try_from(written).unwrap_or(u32::MAX);
        r.word56 = 0;
        if r.oid == oids::SWITCH_NIC_ARRAY && whole {
            self.enumerated(module, began);
        }
        (SUCCESS, whole)
    }

    fn configuration(&mut self, world: &World, module: usize, oid: u32) -> Vec<u8> {
        let gap = usize::try_from(world.random(4)).unwrap_or(0) * 8;
        let m = &mut self.modules[module];
        match oid {
            oids::SWITCH_PARAMETERS => {
                m.told_active = m.is_active;
                payload::switch(module, m.topology.ports.len(), m.is_active)
            }
            oids::SWITCH_PORT_ARRAY => {
                let newer = world.chance(self.style.odd.newer, 100);
                let ports: Vec<_> =
                    m.topology.ports.values().map(|p| payload::port_element(p, newer)).collect();
                payload::array(&ports, gap)
            }
            _ => {
                let revision = 1 + u8::try_from(world.random(3)).unwrap_or(0);
                let nics: Vec<_> = m
                    .topology
                    .nics()
                    .map(|n| payload::nic(n, revision, &told_of(world, m, module, n)))
                    .collect();
                let behind = m.topology.nics_mut().skip(1).filter(|_| gap > 0);
                behind.for_each(|nic| nic.behind_gap = true);
                payload::array(&nics, gap)
            }
        }
    }

    /// The extension has read the array and knows the NICs in it. Several queries in one call are one enumeration.
    fn enumerated(&mut self, module: usize, began: u64) {
        let m = &mut self.modules[module];
        if m.last_enumeration != began {
            m.enumerations += 1;
            m.last_enumeration = began;
        }
        m.topology.nics_mut().for_each(|nic| nic.listed |= nic.state == NicState::Created);
        for nic in m.topology.nics_mut().filter(|n| n.state == NicState::Connected && !n.usable) {
            nic.usable = true;
            nic.from_array = true;
        }
        m.topology.changed();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Net, Scenario};
    use crate::switch::ndis::Odd;
    use lbfoext::ndis::raw::request_type;

    const ARRAYS: [u32; 2] = [oids::SWITCH_PORT_ARRAY, oids::SWITCH_NIC_ARRAY];

    fn net(odd: Odd) -> Net {
        Scenario::new(1).members(&[10]).vms(2).internal(1).style(|style| style.odd = odd).start()
    }

    /// Issues a query with a buffer of `length` bytes; returns status, BytesWritten, BytesNeeded and the buffer.
    fn ask(net: &Net, oid: u32, length: usize) -> (i32, u32, u32, Vec<u8>) {
        net.look_with(|world, state| {
            let mut buffer = vec![0_u8; length.max(4)];
            buffer[..4].copy_from_slice(&[object_type::DEFAULT, 1, 20, 0]);
            let mut r = OidRequest::ZERO;
            r.request_type = request_type::QUERY_INFORMATION;
            (r.oid, r.information_buffer, r.length) = (oid, buffer.as_mut_ptr().cast(), length as u32);
            let status = state.answer_query(world, 0, 0, &mut r, true);
            (status, r.word52, r.word56, buffer)
        })
        .expect("the machine runs")
    }

    #[test]
    fn a_query_that_is_too_short_is_told_how_much_it_takes_and_then_answered() {
        let net = net(Odd::NOTHING);
        for oid in [oids::SWITCH_PARAMETERS].into_iter().chain(ARRAYS) {
            for length in [0, 3, 4, 20, 100] {
                let (status, written, needed, _) = ask(&net, oid, length);
                assert_eq!((status, written), (INVALID_LENGTH, 0), "{oid:#x} {length}");
                // The next answer may have larger gaps between the elements.
                let (status, written, ..) = ask(&net, oid, needed as usize + 4_096);
                assert_eq!(status, SUCCESS, "{oid:#x} {length}");
                assert!(written > 100, "{oid:#x} {length}");
            }
        }
        net.finish().assert_clean();
    }

    #[test]
    fn odd_answers_are_given_and_say_how_much_they_take() {
        let net = net(Odd { short: 100, newer: 100, understated: 100, unreadable: 0 });
        for oid in ARRAYS {
            let mut seen = std::collections::BTreeSet::new();
            for _ in 0..20 {
                let (status, _, needed, _) = ask(&net, oid, 64);
                assert!(needed > 64);
                seen.insert(status);
            }
            assert_eq!(seen, [BUFFER_TOO_SHORT, BUFFER_OVERFLOW].into());
            let (status, written, _, buffer) = ask(&net, oid, 60_000);
            assert_eq!((status, written), (SUCCESS, 20));
            let count = u32::from_le_bytes(buffer[12..16].try_into().unwrap());
            assert!(count >= 4, "{oid:#x} {count}");
        }
        let (_, _, _, buffer) = ask(&net, oids::SWITCH_PORT_ARRAY, 60_000);
        let first = usize::from(u16::from_le_bytes([buffer[8], buffer[9]]));
        assert!(buffer[first + 1] > 1, "a newer revision of the structure");
        net.finish().assert_clean();
    }

    #[test]
    fn one_element_is_unreadable_where_that_is_wanted() {
        let net = net(Odd { unreadable: 100, ..Odd::NOTHING });
        net.look(|state| state.style.odd.unreadable = 100);
        for oid in ARRAYS {
            let (_, _, _, buffer) = ask(&net, oid, 60_000);
            let half = |at: usize| usize::from(u16::from_le_bytes([buffer[at], buffer[at + 1]]));
            let (first, count, size) = (half(8), half(12), half(16));
            let dead = (0..count).filter(|n| buffer[first + n * size] == 0).count();
            assert_eq!(dead, 1, "{oid:#x}");
        }
    }
}
