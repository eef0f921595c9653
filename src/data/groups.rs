//! Destination groups: packets of one hold that leave together. One send call for each destination, one report and one
//! completion for each reason and source port of a drop, in the order in which the groups began.

use crate::data::complete;
use crate::module::{FRIENDLY_NAME, Module};
use crate::ndis::nbl::{Nbl, NblChain};
use crate::ndis::raw::{SendCompleteFlags, SendFlags, UnicodeString};
use crate::ndis::status::NdisStatus;
use crate::ndis::switch::Reason;
use teaming::forward::drop_reason::DropReason;
use teaming::ids::{NicIndex, PortId};
use teaming::ports::port::Preserve;

/// Where a packet goes, as far as it decides with whom it may travel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// One destination, with what it keeps of the tag: the group is sent with DESTINATION_GROUP. Not a `NicId`, which
    /// would make it half as large again.
    To(PortId, NicIndex, Preserve),
    /// Several destinations each.
    Several,
    /// Left to the switch's own forwarding; never mixed with others.
    Native,
    /// Dropped for one reason, from one source port, as a report demands.
    Dropped(DropReason, PortId),
}

impl Group {
    /// Where `Groups` looks for it first: apart for the members of one team, and for neighbouring ports.
    fn place(self) -> usize {
        let place = match self {
            Self::To(port, index, _) => port.get() ^ u32::from(index.get()),
            Self::Several => 0,
            Self::Native => 1,
            Self::Dropped(_, source) => source.get(),
        };
        place as usize % PLACES
    }
}

/// Groups that may be open at once.
const GROUPS: usize = 16;
/// Members of a team, so that each has a place of its own.
const PLACES: usize = 32;

struct Open {
    group: Group,
    lists: NblChain,
    source: PortId,
    single_source: bool,
}

// All groups lie in the frame of the walk.
const _: () = assert!(size_of::<Open>() == 32);

/// The groups of one hold.
pub struct Groups {
    open: heapless::Vec<Open, GROUPS>,
    /// The first open group of each place, counted from 1; 0 while no open group has that place. Without it a packet
    /// would cost the more, the more members there are.
    first: [u8; PLACES],
    flags: SendFlags,
}

impl Groups {
    /// `flags` are those of the chain; the switch's own bits are set anew for each group.
    pub fn new(flags: SendFlags) -> Self {
        let switch = SendFlags::SWITCH_SINGLE_SOURCE | SendFlags::SWITCH_DESTINATION_GROUP;
        Self { open: heapless::Vec::new(), first: [0; PLACES], flags: flags.difference(switch) }
    }

    /// No further group can begin.
    pub fn is_full(&self) -> bool {
        self.open.is_full()
    }

    /// Appends a list to its group; `is_full` was false before.
    pub fn push(&mut self, group: Group, list: Nbl) {
        let source = list.source().port;
        if let Some(open) = self.find(group) {
            open.single_source &= open.source == source;
            open.lists.push(list);
            return;
        }
        let mut lists = NblChain::EMPTY;
        lists.push(list);
        let refused = self.open.push(Open { group, lists, source, single_source: true }).err();
        debug_assert!(refused.is_none(), "a group was begun although all are open");
        if let Some(first) = self.first.get_mut(group.place()).filter(|first| **first == 0) {
            *first = self.open.len() as u8;
        }
    }

    fn find(&mut self, group: Group) -> Option<&mut Open> {
        let first = usize::from(*self.first.get(group.place())?).checked_sub(1)?;
        if self.open.get(first)?.group == group {
            return self.open.get_mut(first);
        }
        self.open.iter_mut().rev().find(|open| open.group == group)
    }

    /// Sends, passes on or completes every group. IRQL <= DISPATCH_LEVEL, no lock held.
    pub fn flush(&mut self, module: &Module) {
        for open in &mut self.open {
            let lists = core::mem::replace(&mut open.lists, NblChain::EMPTY);
            let mut flags = self.flags;
            if open.single_source {
                flags |= SendFlags::SWITCH_SINGLE_SOURCE;
            }
            match open.group {
                Group::To(..) => {
                    module.filter.send(lists, flags | SendFlags::SWITCH_DESTINATION_GROUP);
                }
                Group::Several | Group::Native => module.filter.send(lists, flags),
                Group::Dropped(reason, source) => drop_lists(module, lists, reason, source, self.flags),
            }
        }
        self.open.clear();
        self.first = [0; PLACES];
    }
}

/// Reports lists while they are owned, then completes them. Own lists end here like those that were sent.
#[inline(never)] // rare, and a frame of its own
fn drop_lists(module: &Module, mut lists: NblChain, reason: DropReason, source: PortId, flags: SendFlags) {
    report(module, &lists, reason, source);
    lists.set_status(NdisStatus::FAILURE);
    let flags = flags.completion() | SendCompleteFlags::SWITCH_SINGLE_SOURCE;
    complete::hand_back(module, lists.into_queue(), flags);
}

/// Drops one list outside any group.
pub fn drop_one(module: &Module, list: Nbl, reason: DropReason, flags: SendFlags) {
    let source = list.source().port;
    drop_lists(module, NblChain::of(list), reason, source, flags);
}

/// Reports one list that stays with us.
pub fn report_one(module: &Module, list: Nbl, reason: DropReason) -> Nbl {
    let source = list.source().port;
    let lists = NblChain::of(list);
    report(module, &lists, reason, source);
    lists.into_only()
}

#[inline(never)] // as above
fn report(module: &Module, lists: &NblChain, reason: DropReason, source: PortId) {
    let text: heapless::Vec<u16, 96> = reason.sentence().encode_utf16().take(96).collect();
    module.switch.report_filtered(
        lists,
        source,
        &Reason {
            extension: &UnicodeString::of(&module.texts.guid_name),
            friendly_name: &UnicodeString::from_static(FRIENDLY_NAME),
            text: &UnicodeString::of(&text),
        },
    );
}
