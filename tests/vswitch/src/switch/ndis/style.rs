//! The choices of the simulated switch where the documentation leaves one.

use super::adversity::Adversities;
use crate::adapter::lists::Listing;
use crate::machine::world::World;
use crate::switch::frames::FrameId;
use lbfoext::ndis::raw::{BUFFER_OVERFLOW, BUFFER_TOO_SHORT, INVALID_LENGTH};
use std::collections::BTreeMap;

/// Percentages of answers in less common forms, which the documentation allows except for `unreadable`.
#[derive(Clone, Copy, Debug)]
pub struct Odd {
    /// Short buffers get one of NDIS's other statuses for that, also with BytesNeeded.
    pub short: u64,
    /// Ports have a newer revision of their structure (NICs always may have).
    pub newer: u64,
    /// BytesWritten counts only the header of an array, whose members tell where the elements are.
    pub understated: u64,
    /// One element of an array has an invalid header. Not documented; no extension can read that element.
    pub unreadable: u64,
}

impl Default for Odd {
    fn default() -> Self {
        Self { short: 30, newer: 30, understated: 20, unreadable: 0 }
    }
}

impl Odd {
    /// Only common forms.
    pub const NOTHING: Self = Self { short: 0, newer: 0, understated: 0, unreadable: 0 };

    pub(crate) fn too_short(&self, world: &World) -> i32 {
        match world.chance(self.short, 100) {
            false => INVALID_LENGTH,
            true if world.chance(1, 2) => BUFFER_TOO_SHORT,
            true => BUFFER_OVERFLOW,
        }
    }
}

/// The choices of the switch where the documentation leaves one; every value is a limit or a percentage for random
/// draws.
#[derive(Clone, Debug)]
pub struct Style {
    /// Packets are split over MDLs, with unused bytes before and after, some not mapped.
    pub awkward_memory: bool,
    /// Distance of the elements of a destination array, in bytes.
    pub stride: usize,
    /// Largest number of free destination elements of a new packet.
    pub free_slots: u64,
    /// Percentage of steps that happen inside the call that causes them.
    pub nested: u64,
    /// Longest delay of other steps, in units of 100 ns.
    pub delay: u64,
    /// Percentage of sends at DISPATCH_LEVEL.
    pub dispatch: u64,
    /// Percentage of packets whose bytes a guest keeps writing.
    pub unsafe_data: u64,
    /// Chains are also sent while the module is paused.
    pub send_while_paused: bool,
    /// Percentage of requests that pend, and of those that are completed inside the call.
    pub pending: u64,
    pub inside: u64,
    /// Percentage of adapters' answers with the values at the time of the query, not of the completion.
    pub old_answers: u64,
    /// Percentage of Add, Update, Grow, Allocate and Copy calls that fail for lack of memory.
    pub refuse: u64,
    /// Behaviour that no page documents.
    pub adversities: Adversities,
    /// Fragments get the room in front of them in the memory before them, where NDIS finds some.
    pub fragments_in_place: bool,
    /// Percentage of references to NICs that the switch refuses.
    pub refuse_references: u64,
    /// Buffers of requests end at the end of mapped memory.
    pub fenced: bool,
    /// Whether the placement in the host's settings makes ids unique over all members.
    pub unique_ids: bool,
    /// The extension is set to copy queues and filters to every member.
    pub copies: bool,
    /// Link-local groups that the extension is to let cross the external port, a bit each; `None` if it does not say.
    pub link_local: Option<u32>,
    /// Whether the extension is to give vNICs only the multicast frames that they have asked for; `None` if it does not say.
    pub prunes: Option<bool>,
    /// Adapters compare ids only, not the partition, as hardware does.
    pub by_number: bool,
    /// Adapters write the ids of queue and filter into the out-of-band data of frames that arrive through a queue.
    pub queue_numbers: bool,
    /// How the lists of what adapters hold are answered.
    pub listing: Listing,
    /// How adapters answer OID_GEN_LINK_STATE.
    pub link_answers: crate::switch::control::below::LinkAnswers,
    /// FilterDetach is called when a timer function of the module runs, if one does in the next so many 100 ns.
    pub detach_in_timer: u64,
    /// A vNIC that gets a copy of every packet, added below the driver.
    pub mirror: Option<crate::switch::ports::NicId>,
    /// Completion status of the lists that start with these frames; others succeed.
    pub statuses: BTreeMap<FrameId, i32>,
    /// Less common forms of answers about the configuration.
    pub odd: Odd,
    /// Percentage of answers without a VLAN property for a port that is not configured, instead of access VLAN 0.
    pub silent_about_vlans: u64,
    /// A change to the answer about a port's properties of one type. The test checks the effect.
    pub spoils: Option<crate::switch::control::properties::Spoils>,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            awkward_memory: true,
            stride: 16,
            free_slots: 4,
            nested: 60,
            delay: 200,
            dispatch: 50,
            unsafe_data: 0,
            send_while_paused: false,
            pending: 40,
            inside: 30,
            old_answers: 50,
            refuse: 0,
            adversities: Adversities::NONE,
            fragments_in_place: false,
            refuse_references: 0,
            fenced: false,
            unique_ids: true,
            copies: false,
            link_local: Some(0),
            prunes: Some(false),
            by_number: false,
            queue_numbers: true,
            listing: Listing::default(),
            link_answers: crate::switch::control::below::LinkAnswers::State,
            detach_in_timer: 0,
            mirror: None,
            statuses: BTreeMap::new(),
            odd: Odd::default(),
            silent_about_vlans: 0,
            spoils: None,
        }
    }
}
