//! Destination groups: the packets of one batch that leave together. Each destination costs one send call; each pair of
//! drop reason and source port costs one report and one completion. Groups leave in the order of their first packet.

use crate::data::complete;
use crate::module::{FRIENDLY_NAME, Module};
use crate::ndis::nbl::{Nbl, NblChain};
use crate::ndis::raw::{SendCompleteFlags, SendFlags, UnicodeString};
use crate::ndis::status::NdisStatus;
use crate::ndis::switch::Reason;
use teaming::forward::Target;
use teaming::forward::drop_reason::DropReason;
use teaming::ids::PortId;

/// What the packets of one group have in common, in one word, so that packets are compared by one instruction: a
/// destination as it is, everything else above `KIND`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Group(u64);

/// The same to match on.
pub enum GroupKind {
    /// One destination: the group is sent with NDIS_SEND_FLAGS_SWITCH_DESTINATION_GROUP.
    To,
    /// Several destinations for each packet, or packets that the switch forwards natively; never mixed.
    Others,
    /// Dropped, for one reason and by the policy of one port: a report names one of each.
    Dropped(DropReason, PortId, Side),
}

/// Whose policy it was that dropped packets (nc-ndis-ndis_switch_report_filtered_net_buffer_lists).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// That of the port that they came in from.
    Source,
    /// That of the port that they were for.
    Destination,
}

impl Group {
    const KIND: u32 = 60;
    /// Each packet has several destinations.
    pub const SEVERAL: Self = Self(1 << Self::KIND);
    /// Packets that the switch forwards natively.
    pub const NATIVE: Self = Self(2 << Self::KIND);
    const DROPPED: u64 = 3;

    /// One destination, and what it preserves of the VLAN tag.
    #[inline(always)]
    pub fn to(target: Target) -> Self {
        Self(target.word())
    }

    pub fn dropped(reason: DropReason, port: PortId, side: Side) -> Self {
        let side = u64::from(side == Side::Destination) << 48;
        let about = u64::from(port.get()) | (reason.index() as u64) << 32 | side;
        Self(Self::DROPPED << Self::KIND | about)
    }

    pub fn kind(self) -> GroupKind {
        if self.0 >> Self::KIND == 0 {
            return GroupKind::To;
        }
        match (self.0 >> Self::KIND, DropReason::at((self.0 >> 32) as u16 as usize)) {
            (Self::DROPPED, Some(reason)) => {
                let side = if self.0 & 1 << 48 == 0 { Side::Source } else { Side::Destination };
                GroupKind::Dropped(reason, PortId::new(self.0 as u32), side)
            }
            _ => GroupKind::Others,
        }
    }

    /// Hash for `Groups::find`. Members of one team differ in it, and so do ports with neighbouring numbers.
    #[inline(always)]
    fn hash(self) -> usize {
        (self.0 ^ self.0 >> 32) as usize % HASHES
    }
}

/// Groups that may be open at once: as many as the frame of `ingress::send`, which has them, and the deepest stack have room for.
const GROUPS: usize = 11;
/// No index of a group.
const NONE: u8 = u8::MAX;
/// Values of `Group::hash`: as many as a team has members.
const HASHES: usize = 32;

/// A group that has packets.
struct OpenGroup {
    group: Group,
    lists: NblChain,
    source: PortId,
    single_source: bool,
}

// All groups are on the stack of the walk.
const _: () = assert!(size_of::<OpenGroup>() == 32);

/// The groups of one batch.
pub struct Groups {
    open: heapless::Vec<OpenGroup, GROUPS>,
    /// For each hash, the index of the first open group with it; `NONE` if there is none. Without it the cost of a packet
    /// would grow with the number of members.
    first: [u8; HASHES],
    flags: SendFlags,
}

impl Groups {
    /// `flags` are those of the chain; the two flags of the switch are set for each group when it is sent.
    pub fn new(flags: SendFlags) -> Self {
        let switch = SendFlags::SWITCH_SINGLE_SOURCE | SendFlags::SWITCH_DESTINATION_GROUP;
        Self { open: heapless::Vec::new(), first: [NONE; HASHES], flags: flags.difference(switch) }
    }

    /// True if no further group can be opened.
    pub fn is_full(&self) -> bool {
        self.open.is_full()
    }

    /// `push` for a list from `source` with one destination, whose group is nearly always open. Whether a further group can
    /// be opened.
    #[inline(always)] // for every packet
    pub fn push_to(&mut self, target: Target, source: PortId, list: Nbl) -> bool {
        let group = Group::to(target);
        let first = usize::from(self.first.get(group.hash()).copied().unwrap_or(NONE));
        match self.open.get_mut(first) {
            Some(open) if open.group == group => {
                if open.source != source {
                    open.single_source = false;
                }
                open.lists.append(list);
                true
            }
            _ => {
                self.push(group, list);
                !self.is_full()
            }
        }
    }

    /// Appends a list to its group. The caller has checked `is_full` since the last call.
    #[inline(never)] // several callers
    pub fn push(&mut self, group: Group, list: Nbl) {
        let source = list.source().port;
        if let Some(open) = self.find(group) {
            open.single_source &= open.source == source;
            open.lists.push(list);
            return;
        }
        let mut lists = NblChain::EMPTY;
        lists.push(list);
        let index = self.open.len() as u8;
        let refused = self.open.push(OpenGroup { group, lists, source, single_source: true }).err();
        debug_assert!(refused.is_none(), "a group was begun although all are open");
        if let Some(first) = self.first.get_mut(group.hash()).filter(|first| **first == NONE) {
            *first = index;
        }
    }

    fn find(&mut self, group: Group) -> Option<&mut OpenGroup> {
        let first = usize::from(*self.first.get(group.hash())?);
        if self.open.get(first)?.group == group {
            return self.open.get_mut(first);
        }
        self.open.iter_mut().rev().find(|open| open.group == group)
    }

    /// Sends every group, or reports and completes it if it is dropped. IRQL <= DISPATCH_LEVEL, no lock held.
    pub fn flush(&mut self, module: &Module) {
        for open in &mut self.open {
            let lists = core::mem::replace(&mut open.lists, NblChain::EMPTY);
            let mut flags = self.flags;
            if open.single_source {
                flags |= SendFlags::SWITCH_SINGLE_SOURCE;
            }
            match open.group.kind() {
                GroupKind::To => module.filter.send(lists, flags | SendFlags::SWITCH_DESTINATION_GROUP),
                GroupKind::Others => module.filter.send(lists, flags),
                GroupKind::Dropped(reason, port, side) => {
                    let flags = flags.difference(SendFlags::SWITCH_DESTINATION_GROUP);
                    drop_lists(module, lists, reason, (port, side), flags);
                }
            }
        }
        self.open.clear();
        self.first = [NONE; HASHES];
    }
}

/// Reports lists as filtered while they are owned, then completes them with NDIS_STATUS_FAILURE; child NBLs are freed.
#[inline(never)] // rare, and a frame of its own
fn drop_lists(
    module: &Module,
    mut lists: NblChain,
    reason: DropReason,
    (port, side): (PortId, Side),
    flags: SendFlags,
) {
    report(module, &lists, reason, (port, side));
    lists.set_status(NdisStatus::FAILURE);
    let mut completion = flags.completion();
    if flags.contains(SendFlags::SWITCH_SINGLE_SOURCE) {
        completion |= SendCompleteFlags::SWITCH_SINGLE_SOURCE;
    }
    complete::hand_back(module, lists.into_queue(), completion);
}

/// Drops one list that is in no group. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn drop_one(module: &Module, list: Nbl, reason: DropReason, flags: SendFlags) {
    let source = list.source().port;
    let flags = flags | SendFlags::SWITCH_SINGLE_SOURCE;
    drop_lists(module, NblChain::of(list), reason, (source, Side::Source), flags);
}

/// Reports one list as filtered without completing it.
pub fn report_one(module: &Module, list: Nbl, reason: DropReason) -> Nbl {
    let source = list.source().port;
    let lists = NblChain::of(list);
    report(module, &lists, reason, (source, Side::Source));
    lists.into_only()
}

#[inline(never)] // as above
fn report(module: &Module, lists: &NblChain, reason: DropReason, (port, side): (PortId, Side)) {
    let text: heapless::Vec<u16, 96> = reason.sentence().encode_utf16().take(96).collect();
    module.switch.report_filtered(
        lists,
        port,
        side == Side::Source,
        &Reason {
            extension: &UnicodeString::of(&module.texts.guid_name),
            friendly_name: &UnicodeString::from_static(FRIENDLY_NAME),
            text: &UnicodeString::of(&text),
        },
    );
}
