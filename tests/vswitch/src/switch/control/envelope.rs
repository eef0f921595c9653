//! Requests to a NIC from above: an OID encapsulated in OID_SWITCH_NIC_REQUEST.

use crate::adapter::wire::VPORT_ID_VALID;
use crate::machine::world::{self, World};
use crate::switch::control::hearing::Heard;
use crate::switch::control::nic_request::Carried;
use crate::switch::control::{Ask, below::Plan, buffer, bytes_at, payload, request};
use crate::switch::ndis::with;
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{ObjectHeader, OidRequest, SwitchNicOidRequest, object_type, oids, request_type};

/// The encapsulated request.
#[derive(Clone, Debug)]
pub struct Inner {
    pub oid: u32,
    pub kind: i32,
    pub buffer: Vec<u8>,
    /// Further nodes of a list that starts in the buffer, and the offset of the link in each.
    pub links: (Vec<Vec<u8>>, usize),
    /// The virtual port that it targets, in an NDIS_OID_REQUEST of the second revision.
    pub vport: Option<u32>,
}

impl Inner {
    pub fn new(oid: u32, kind: i32, buffer: Vec<u8>) -> Self {
        Self { oid, kind, buffer, links: (Vec::new(), 8), vport: None }
    }

    pub fn set(oid: u32, buffer: Vec<u8>) -> Self {
        Self::new(oid, request_type::SET_INFORMATION, buffer)
    }

    pub fn method(oid: u32, buffer: Vec<u8>) -> Self {
        Self::new(oid, request_type::METHOD, buffer)
    }

    pub fn for_vport(self, vport: u32) -> Self {
        Self { vport: Some(vport), ..self }
    }
}

/// The result of a request to a NIC.
#[derive(Clone, Debug)]
pub struct NicAnswer {
    pub status: i32,
    pub reached_below: bool,
    /// The buffer and its linked nodes after the completion.
    pub contents: Vec<Vec<u8>>,
    /// The result members of the encapsulated request.
    pub results: [u32; 5],
}

impl NicAnswer {
    pub fn buffer(&self) -> &[u8] {
        self.contents.first().map_or(&[], |bytes| bytes)
    }
}

/// Issues a request to a NIC. `from` is the partition's NIC or 0/0; `to` is the external port, or 0/0 for a request
/// that extensions may only inspect. `as_set` selects the request type that some pages name.
pub fn ask(module: usize, from: NicId, to: NicId, inner: &Inner, plan: Plan, as_set: bool) -> NicAnswer {
    ask_about(module, (from, from), to, inner, (plan, as_set))
}

/// As `ask`, about resources of a partition. The source is the partition's NIC, or 0/0 if the switch does not say whose they
/// are.
pub fn ask_about(
    module: usize,
    (from, partition): (NicId, NicId),
    to: NicId,
    inner: &Inner,
    (plan, as_set): (Plan, bool),
) -> NicAnswer {
    let mut envelope = SwitchNicOidRequest::ZERO;
    envelope.header = ObjectHeader::new(object_type::DEFAULT, 1, 32);
    envelope.flags = 1 + world::current().random(u64::from(u32::MAX - 1)) as u32;
    (envelope.source_port_id, envelope.source_nic_index) = (from.port, from.index);
    (envelope.destination_port_id, envelope.destination_nic_index) = (to.port, to.index);
    issue(module, (envelope, partition), inner, (plan, as_set), |_| (), |_| ())
}

/// As `ask`, with any envelope. Its bytes and the encapsulated request may be damaged before it is issued.
pub fn ask_as(
    module: usize,
    envelope: SwitchNicOidRequest,
    inner: &Inner,
    how: (Plan, bool),
    spoil_envelope: impl FnOnce(&mut Vec<u8>),
    spoil_request: impl FnOnce(&mut OidRequest),
) -> NicAnswer {
    let partition = NicId::new(envelope.source_port_id, envelope.source_nic_index);
    issue(module, (envelope, partition), inner, how, spoil_envelope, spoil_request)
}

fn issue(
    module: usize,
    (mut envelope, partition): (SwitchNicOidRequest, NicId),
    inner: &Inner,
    (plan, as_set): (Plan, bool),
    spoil_envelope: impl FnOnce(&mut Vec<u8>),
    spoil_request: impl FnOnce(&mut OidRequest),
) -> NicAnswer {
    let world = world::current();
    let (nodes, link) = &inner.links;
    let mut blocks: Vec<(usize, Vec<u8>)> = Vec::new();
    let mut next = 0_usize;
    for node in nodes.iter().rev().chain([&inner.buffer]) {
        let mut bytes = node.clone();
        if !nodes.is_empty()
            && let Some(place) = bytes.get_mut(*link..link + 8)
        {
            place.copy_from_slice(&next.to_le_bytes());
        }
        next = buffer::take(&world, &bytes, "buffer of an inner request");
        blocks.insert(0, (next, bytes));
    }
    let mut r = OidRequest::ZERO;
    revise(&world, &mut r);
    if let Some(vport) = inner.vport {
        r.header = ObjectHeader::new(object_type::OID_REQUEST, 2, OidRequest::SIZE_REVISION_2);
        (r.switch_id, r.vport_id, r.flags) = (0, vport, r.flags | VPORT_ID_VALID);
    }
    r.request_type = inner.kind;
    r.oid = inner.oid;
    r.information_buffer = next as *mut _;
    r.length = u32::try_from(inner.buffer.len()).unwrap_or(0);
    if inner.kind == request_type::METHOD {
        r.word52 = r.length;
        r.word56 = 33;
    }
    r.timeout = 7;
    r.request_handle = 0x4E44_0EE0_0000_usize as _;
    let whole = payload::bytes_of(&r);
    spoil_request(&mut r);
    let before = payload::bytes_of(&r);
    let request_whole = whole == before;
    let carried = buffer::take(&world, &before, "inner request");
    envelope.oid_request = carried as *mut _;
    let mut bytes = payload::bytes_of(&envelope);
    spoil_envelope(&mut bytes);
    let from = NicId::new(envelope.source_port_id, envelope.source_nic_index);
    let to = NicId::new(envelope.destination_port_id, envelope.destination_nic_index);
    let mut entry = Carried {
        module,
        oid: r.oid,
        kind: r.request_type,
        from,
        partition,
        to,
        inner: carried,
        before,
        blocks: blocks.clone(),
        after: None,
        own_sent: 0,
        served: Vec::new(),
        refused: 0,
        had_choice: false,
        told: Vec::new(),
        anothers: false,
        well_formed: request_whole && well_formed(inner, &envelope, &bytes),
    };
    with(|world, state| {
        entry.anothers = state.anothers_named(world, &entry, Heard::Ever).is_some();
        state.control.nics.carried.insert(carried, entry);
    });
    let kind = if as_set { request_type::SET_INFORMATION } else { request_type::METHOD };
    let answer = request(module, Ask { plan, kind, ..Ask::set(oids::SWITCH_NIC_REQUEST, bytes, None) });
    with(|_, state| state.control.nics.carried.remove(&carried));
    // SAFETY: allocated above and not freed yet.
    let results = crate::switch::control::results(unsafe { &*(carried as *const OidRequest) });
    let contents = blocks.iter().map(|(at, bytes)| bytes_at(*at, bytes.len())).collect();
    buffer::free(&world, carried);
    blocks.iter().for_each(|(at, _)| buffer::free(&world, *at));
    NicAnswer { status: answer.status, reached_below: answer.reached_below, contents, results }
}

/// Makes a request one of the first or the second revision, as the seed says. The second one's members are not zero; that
/// VPortId is valid is not said, so that it names no virtual port (ns-oidrequest-ndis_oid_request).
pub(crate) fn revise(world: &World, r: &mut OidRequest) {
    let word = || 1 + world.random(u64::from(u32::MAX - 1)) as u32;
    if world.chance(1, 3) {
        r.header = ObjectHeader::new(object_type::OID_REQUEST, 1, OidRequest::SIZE_REVISION_1);
        return;
    }
    r.header = ObjectHeader::new(object_type::OID_REQUEST, 2, size_of::<OidRequest>() as u16);
    (r.switch_id, r.vport_id, r.flags) = (word(), word(), word() & !VPORT_ID_VALID | 2);
}

/// Whether an extension may read the request: every header has its type, at least revision 1 and its size, and the
/// buffers have the stated lengths.
fn well_formed(inner: &Inner, envelope: &SwitchNicOidRequest, sent: &[u8]) -> bool {
    let untouched = sent == payload::bytes_of(envelope);
    let header = envelope.header.object_type == object_type::DEFAULT
        && envelope.header.revision >= 1
        && envelope.header.size >= 32;
    let Some(row) = crate::adapter::wire::offload_row(inner.oid) else { return untouched && header };
    let stated = crate::adapter::wire::header(&inner.buffer);
    let inside = stated.is_some_and(|(kind, revision, size)| {
        kind == object_type::DEFAULT && revision >= 1 && usize::from(size) >= row.size
    });
    untouched && header && inside && inner.buffer.len() >= row.size
}
