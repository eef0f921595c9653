//! Packets, requests, indications and events as the event log shows them; see `crate::shown`.

use crate::machine::world;
use crate::switch::control::payload;
use crate::switch::ndis::Switch;
use crate::switch::ndis::packet::Packet;
use lbfoext::ndis::raw::{
    self as status, NetBufferList, NetPnpEventNotification, OidRequest, PortDestination, StatusIndication,
    SwitchNicOidRequest, SwitchNicStatusIndication, object_type, oids, request_type,
};
use std::any::Any;
use teaming::oid::OIDS;

/// Packets of a chain that are shown one by one.
const SHOWN: usize = 8;

/// An argument of one of these types.
pub fn show(name: &str, value: &dyn Any) -> Option<String> {
    if let Some(list) = value.downcast_ref::<*mut NetBufferList>() {
        return packets(name, *list);
    }
    // SAFETY: the driver, or the switch, passes structures that live for the call; without a mutation they are what
    // their types say.
    unsafe {
        if let Some(request) = value.downcast_ref::<*mut OidRequest>() {
            return request.as_ref().map(request_text);
        }
        if let Some(status) = value.downcast_ref::<*mut StatusIndication>() {
            return status.as_ref().map(indication_text);
        }
        if let Some(event) = value.downcast_ref::<*mut NetPnpEventNotification>() {
            return event.as_ref().map(|event| format!("event {}", event.net_pnp_event.net_event));
        }
        if let Some(to) = value.downcast_ref::<*mut PortDestination>() {
            return to.as_ref().map(|to| format!("to {}/{} bits {:#x}", to.port_id, to.nic_index, to.bits));
        }
    }
    None
}

/// The packets of a chain by their numbers, with source and destinations. A state that another thread has is not waited
/// for.
fn packets(name: &str, first: *mut NetBufferList) -> Option<String> {
    let world = world::current();
    let state = world.part::<Switch>().try_lock()?;
    let mut all = Vec::new();
    let (mut next, mut count) = (first, 0_usize);
    while let Some(packet) = state.packets.get(next).filter(|packet| packet.place.is_the_extensions()) {
        if count < SHOWN {
            all.push(packet_text(packet));
        }
        count += 1;
        // SAFETY: the packet is known, and in the extension's hands and so uncovered.
        next = unsafe { (*next).next };
        if next == first {
            break;
        }
    }
    let more = if count > all.len() { format!(" and {} more", count - all.len()) } else { String::new() };
    let what = match name {
        "list" | "lists" | "first" if count == 1 => "packet",
        "list" | "lists" | "first" => "packets",
        name => name,
    };
    (count != 0).then(|| format!("{what} {}{more}", all.join("; ")))
}

fn packet_text(packet: &Packet) -> String {
    let own = if packet.own.is_some() { "own " } else { "" };
    let committed = packet.context.iter().flat_map(|context| &context.committed);
    let to: String = committed.map(|to| format!(" {}/{}", to.port_id, to.nic_index)).collect();
    let to = if to.is_empty() { to } else { format!(" to{to}") };
    format!("{own}{} from {}{to}", packet.name, packet.source)
}

fn kind(request: &OidRequest) -> &'static str {
    match request.request_type {
        request_type::QUERY_INFORMATION | request_type::QUERY_STATISTICS => "query",
        request_type::SET_INFORMATION => "set",
        request_type::METHOD => "method",
        _ => "request",
    }
}

fn request_text(request: &OidRequest) -> String {
    let outer =
        format!("{} {}, {} bytes", kind(request), oid_text(request.oid), request.length) + &port_of(request);
    if request.oid != oids::SWITCH_NIC_REQUEST || (request.length as usize) < size_of::<SwitchNicOidRequest>()
    {
        return outer;
    }
    // SAFETY: the buffer has the length that the request states, and a complete envelope names a request.
    let envelope = unsafe { request.information_buffer.cast::<SwitchNicOidRequest>().as_ref() };
    let Some(envelope) = envelope.filter(|e| is_whole(e.header.size, size_of::<SwitchNicOidRequest>()))
    else {
        return outer;
    };
    let ends = format!(
        "{}/{} to {}/{}",
        envelope.source_port_id,
        envelope.source_nic_index,
        envelope.destination_port_id,
        envelope.destination_nic_index
    );
    // SAFETY: as above.
    let inner = unsafe { envelope.oid_request.as_ref() };
    let inner = inner.filter(|inner| inner.header.object_type == object_type::OID_REQUEST);
    let inner = inner.map(|inner| format!(": {} {}", kind(inner), oid_text(inner.oid))).unwrap_or_default();
    format!("{outer} of {ends}{inner}")
}

/// An OID by its name, if the driver knows it.
fn oid_text(oid: u32) -> String {
    OIDS.iter()
        .find(|row| row.oid == oid)
        .map_or_else(|| format!("{oid:#010x}"), |row| row.words().name.to_owned())
}

/// The port, or the NIC, that a request of the switch's is about.
fn port_of(request: &OidRequest) -> String {
    let row = OIDS.iter().find(|row| row.oid == request.oid);
    let payload = row.and_then(|row| Some((row.words().structure?, usize::from(row.payload?))));
    let Some((structure, size)) = payload.filter(|(_, size)| request.length as usize >= *size) else {
        return String::new();
    };
    let of_nic = structure == "NDIS_SWITCH_NIC_PARAMETERS";
    if !of_nic && !structure.starts_with("NDIS_SWITCH_PORT_P") && structure != "NDIS_SWITCH_NIC_SAVE_STATE" {
        return String::new();
    }
    // SAFETY: the buffer has the length that the request states.
    let bytes = unsafe { std::slice::from_raw_parts(request.information_buffer.cast::<u8>(), size) };
    match (of_nic, bytes.get(8..12)) {
        (true, _) => payload::nic_id(bytes).map_or_else(String::new, |nic| format!(" of {nic}")),
        (false, Some(&[a, b, c, d])) => format!(" of port {}", u32::from_le_bytes([a, b, c, d])),
        (false, _) => String::new(),
    }
}

fn indication_text(outer: &StatusIndication) -> String {
    let text = format!("code {:#010x}, {} bytes", outer.status_code, outer.status_buffer_size);
    let size = size_of::<SwitchNicStatusIndication>();
    if outer.status_code != status::SWITCH_NIC_STATUS || (outer.status_buffer_size as usize) < size {
        return text;
    }
    // SAFETY: the buffer has the length that the indication states.
    let envelope = unsafe { outer.status_buffer.cast::<SwitchNicStatusIndication>().as_ref() };
    let Some(envelope) = envelope.filter(|envelope| is_whole(envelope.header.size, size)) else {
        return text;
    };
    // SAFETY: a complete envelope names an indication, or none.
    let inner = unsafe { envelope.status_indication.as_ref() };
    let inner = inner.map(|inner| format!(": code {:#010x}", inner.status_code)).unwrap_or_default();
    format!(
        "{text} of {}/{} to {}/{}{inner}",
        envelope.source_port_id,
        envelope.source_nic_index,
        envelope.destination_port_id,
        envelope.destination_nic_index
    )
}

fn is_whole(said: u16, size: usize) -> bool {
    usize::from(said) >= size
}
