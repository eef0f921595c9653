//! Saves and restores of NICs, one request at a time, as the protocol edge issues them; and the extensions above and
//! below that save their own data (managing-hyper-v-extensible-switch-run-time-data). Checks are in `check::save`.

use crate::check::save::{self as check, Memory};
use crate::check::statistics::{Bounds, Tally};
use crate::switch::control::below::Plan;
pub use crate::switch::control::offering::{Extent, FILL, FIXED, Offering, Shape, field, word};
use crate::switch::control::{Answer, Ask, offering, request};
use crate::switch::frames::FrameId;
use crate::switch::ndis::{State, with};
use crate::switch::ports::NicId;
use lbfoext::ndis::raw::{FAILURE, NicSaveState, OidRequest, SUCCESS, oids, request_type};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::offset_of;

/// ExtensionId of the driver.
pub const OURS: [u8; 16] = lbfoext::text::guid(lbfoext::module::EXTENSION_ID);

/// State of a mutation while the driver handles a request.
#[derive(Default)]
pub struct Injected {
    /// The valid structure from which a damaged one was made.
    pub good: Option<Vec<u8>>,
    pub before: Option<(usize, Vec<u8>)>,
    pub last_own: Option<Vec<u8>>,
    /// Whether the restore in progress has several structures of the driver.
    pub several: bool,
    /// The request that is under way has the room that was demanded.
    pub demanded: bool,
}

/// Number of requests after which an operation is considered endless.
const ROUNDS: usize = 64;

/// The position of another extension in the stack.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Other {
    Above,
    Below,
}

impl Other {
    pub const fn id(self) -> [u8; 16] {
        match self {
            Self::Above => [0xAB; 16],
            Self::Below => [0xBE; 16],
        }
    }
}

/// One NDIS_SWITCH_NIC_SAVE_STATE that an extension filled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Blob(pub Vec<u8>);

impl Blob {
    /// A structure as an extension with this id would fill it.
    pub fn made(id: [u8; 16], data: &[u8]) -> Self {
        let mut bytes = Offering::default().structure(NicId::NOWHERE, data.len());
        bytes.truncate(FIXED);
        bytes.extend(data);
        bytes[16..32].copy_from_slice(&id);
        let size = u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_le_bytes();
        bytes[2..4].copy_from_slice(&size);
        Self(bytes)
    }

    pub fn extension(&self) -> [u8; 16] {
        field(&self.0, offset_of!(NicSaveState, extension_id))
    }

    pub fn is_ours(&self) -> bool {
        self.extension() == OURS
    }

    pub fn data(&self) -> &[u8] {
        let at = word(&self.0, offset_of!(NicSaveState, save_data_offset));
        self.0.get(at..at + word(&self.0, offset_of!(NicSaveState, save_data_size))).unwrap_or(&[])
    }

    /// The same with other data.
    pub fn with_data(&self, data: &[u8]) -> Self {
        Self::made(self.extension(), data)
    }
}

/// The rule that the extension must not change the payload of a request.
pub(crate) fn payload_rule(oid: u32) -> &'static str {
    match oid {
        oids::SWITCH_NIC_SAVE => "SAVE-02",
        oids::SWITCH_NIC_SAVE_COMPLETE | oids::SWITCH_NIC_RESTORE_COMPLETE => "SAVE-16",
        oids::SWITCH_NIC_RESTORE => "SAVE-19",
        _ => "OID-01",
    }
}

/// The records of the switch and the other extensions about saves and restores.
#[derive(Default)]
pub struct Saves {
    /// Data that other extensions save for a NIC, one element for each structure.
    pub others: BTreeMap<(Other, usize, NicId), Vec<Vec<u8>>>,
    /// Data that was restored to other extensions, in order.
    pub returned: Vec<(Other, NicId, Vec<u8>)>,
    /// Whether the extension below fails the restore of its data.
    pub below_refuses: bool,
    /// Number of structures that no extension took.
    pub unowned: u32,
    /// Operations in progress.
    pub under_way: BTreeSet<(usize, NicId)>,
    pub memory: BTreeMap<(usize, NicId), Memory>,
    /// Traffic of each NIC.
    pub tallies: BTreeMap<(usize, NicId), Tally>,
    /// Frames that were sent in child lists whose parents are not completed yet.
    pub sent: BTreeSet<FrameId>,
    /// Whether the extension below filled the structure of the last request.
    below_filled: bool,
    pub injected: Injected,
}

impl Saves {
    /// Clears the extension's knowledge of a deleted NIC.
    pub fn forget(&mut self, module: usize, nic: NicId) {
        self.memory.remove(&(module, nic));
        self.tallies.remove(&(module, nic));
    }

    /// Whether the NIC was saved in an earlier operation.
    pub(crate) fn has_saved(&self, module: usize, nic: NicId) -> bool {
        self.memory.get(&(module, nic)).is_some_and(Memory::has_saved)
    }

    /// Clears all knowledge of the extension, which was attached again.
    pub fn forget_all(&mut self, module: usize) {
        self.memory.retain(|(other, _), _| *other != module);
        self.tallies.retain(|(other, _), _| *other != module);
    }

    /// A request reached the extension below, or the miniport edge behind it. Its buffer has `length` bytes, of which
    /// `output` may be written.
    pub(super) fn below(
        &mut self,
        module: usize,
        r: &mut OidRequest,
        (length, output): (usize, usize),
        status: i32,
    ) -> i32 {
        if length < FIXED || r.information_buffer.is_null() || status != SUCCESS {
            return status;
        }
        // SAFETY: the request's buffer has this length while it is pending.
        let bytes = unsafe { std::slice::from_raw_parts_mut(r.information_buffer.cast::<u8>(), length) };
        let nic = NicId::new(u32::from_le_bytes(field(bytes, 8)), u16::from_le_bytes(field(bytes, 12)));
        match r.oid {
            oids::SWITCH_NIC_SAVE => self.below_saves((module, nic), bytes, output, r),
            oids::SWITCH_NIC_RESTORE => self.below_restores(nic, &Blob(bytes.to_vec())),
            _ => status,
        }
    }

    fn below_saves(
        &mut self,
        (module, nic): (usize, NicId),
        bytes: &mut [u8],
        output: usize,
        r: &mut OidRequest,
    ) -> i32 {
        let mine = self.others.get_mut(&(Other::Below, module, nic)).filter(|data| !data.is_empty());
        let Some(data) = mine else { return SUCCESS };
        let (at, room) = offering::room_of(bytes, output);
        if data[0].len() > room {
            if at + data[0].len() <= output {
                // What is there already is not demanded: this is not saved.
                data.clear();
                return SUCCESS;
            }
            r.method_bytes_needed = u32::try_from(at + data[0].len()).unwrap_or(u32::MAX);
            return lbfoext::ndis::raw::BUFFER_TOO_SHORT;
        }
        let data = data.remove(0);
        bytes[at..at + data.len()].copy_from_slice(&data);
        bytes[16..32].copy_from_slice(&Other::Below.id());
        bytes[564..566].copy_from_slice(&u16::try_from(data.len()).unwrap_or(0).to_le_bytes());
        self.below_filled = true;
        SUCCESS
    }

    fn below_restores(&mut self, nic: NicId, blob: &Blob) -> i32 {
        if blob.extension() == Other::Below.id() {
            if self.below_refuses {
                return FAILURE;
            }
            self.returned.push((Other::Below, nic, blob.data().to_vec()));
        } else {
            self.unowned += 1;
        }
        SUCCESS
    }
}

/// A save of one NIC. Each step is one request; requests of other operations may be between the steps.
pub struct SaveRun {
    pub module: usize,
    pub nic: NicId,
    pub offering: Offering,
    room: usize,
    pub blobs: Vec<Blob>,
    /// Number of requests, and of those that demanded a larger buffer.
    pub rounds: usize,
    pub short: usize,
    /// Whether the extension demanded a larger buffer in the last request.
    demanded: bool,
    /// Whether an extension failed it.
    pub failed: bool,
    /// Limits for the traffic counters in the record that is being saved.
    bounds: Option<Bounds>,
    over: bool,
    /// SAVE_COMPLETE is not issued.
    pub abandon: bool,
    /// The request comes again with the room that was demanded, as the pages say; otherwise as it was.
    pub grows: bool,
}

impl SaveRun {
    pub fn new(module: usize, nic: NicId, mut offering: Offering) -> Self {
        with(|world, state| {
            state.saves.under_way.insert((module, nic));
            offering.shape = Some(offering.shape.unwrap_or_else(|| Shape::drawn(|n| world.random(n))));
        });
        Self {
            module,
            nic,
            offering,
            room: offering.room,
            blobs: Vec::new(),
            rounds: 0,
            short: 0,
            demanded: false,
            failed: false,
            bounds: None,
            over: false,
            abandon: false,
            grows: true,
        }
    }

    /// Makes the next request; false when the operation has ended.
    pub fn step(&mut self) -> bool {
        if self.over {
            return false;
        }
        let Self { module, nic, .. } = *self;
        if let Some(data) = with(|_, s| {
            let above = s.saves.others.get_mut(&(Other::Above, module, nic))?;
            (!above.is_empty()).then(|| above.remove(0))
        }) {
            self.blobs.push(Blob::made(Other::Above.id(), &data));
            return true;
        }
        self.rounds += 1;
        if self.rounds > ROUNDS {
            with(|world, _| world.violate("SAVE-08", format!("a save of {nic} does not end")));
            return self.end();
        }
        let before = self.offering.structure(nic, self.room);
        let ask = Ask {
            oid: oids::SWITCH_NIC_SAVE,
            kind: request_type::METHOD,
            payload: before.clone(),
            plan: Plan::default(),
            effect: None,
            lengths: Some(self.offering.lengths(self.room)),
        };
        let tally = move |s: &mut State| s.saves.tallies.get(&(module, nic)).copied().unwrap_or_default();
        let then = with(|_, s| {
            s.saves.below_filled = false;
            s.saves.injected.demanded = self.demanded;
            tally(s)
        });
        let answer = request(module, ask);
        let bounds = Bounds::of(then, with(|_, s| tally(s)));
        let round = check::Round { nic, offering: &self.offering, room: self.room, demanded: self.demanded };
        with(|world, _| check::answered(world, &round, &before, &answer));
        if answer.status == SUCCESS && !answer.reached_below {
            self.bounds.get_or_insert(bounds);
        }
        self.go_on(&answer)
    }

    fn go_on(&mut self, answer: &Answer) -> bool {
        let below_filled = with(|_, s| std::mem::take(&mut s.saves.below_filled));
        let offset = self.offering.offset();
        let needed = usize::try_from(answer.needed).unwrap_or(0);
        match answer.status {
            SUCCESS if !answer.reached_below || below_filled => {
                self.blobs.push(Blob(answer.payload.clone()));
                (self.room, self.demanded) = (self.offering.room, false);
            }
            SUCCESS => return self.end(),
            lbfoext::ndis::raw::BUFFER_TOO_SHORT if needed > self.offering.lengths(self.room).1 => {
                self.short += 1;
                if self.grows {
                    self.demanded = !answer.reached_below;
                    self.room = needed - offset;
                }
            }
            _ => {
                self.failed = true;
                return self.end();
            }
        }
        true
    }

    fn end(&mut self) -> bool {
        self.over = true;
        let Self { module, nic, abandon, failed, bounds, .. } = *self;
        let ours: Vec<Blob> = self.blobs.iter().filter(|blob| blob.is_ours()).cloned().collect();
        with(|world, state| {
            state.saves.under_way.remove(&(module, nic));
            if !failed {
                check::saved(world, state, (module, nic), &self.offering, bounds, &ours);
            }
        });
        if !abandon {
            complete(module, oids::SWITCH_NIC_SAVE_COMPLETE, nic);
        }
        false
    }
}

fn complete(module: usize, oid: u32, nic: NicId) {
    let bytes = Offering { guard: 0, ..Offering::default() }.structure(nic, 0);
    request(module, Ask::set(oid, bytes, None));
}

/// A restore of one NIC, with one step for each structure.
pub struct RestoreRun {
    pub module: usize,
    pub nic: NicId,
    blobs: Vec<Blob>,
    at: usize,
    /// Whether an extension failed it, which also fails the start of the partition.
    pub failed: bool,
    how: check::How,
    over: bool,
}

impl RestoreRun {
    pub fn new(module: usize, nic: NicId, blobs: &[Blob]) -> Self {
        let how = with(|_, state| {
            state.saves.under_way.insert((module, nic));
            check::How::at_start(state, module, nic, blobs)
        });
        Self { module, nic, blobs: blobs.to_vec(), at: 0, failed: false, how, over: false }
    }

    /// The driver's structures are damaged and must be discarded. `good` are the valid ones from which they were made.
    pub fn spoilt(mut self, good: &[Blob]) -> Self {
        self.how.spoilt(good);
        self
    }

    /// Makes the next request; false when the operation has ended.
    pub fn step(&mut self) -> bool {
        if self.over {
            return false;
        }
        let Self { module, nic, .. } = *self;
        let Some(blob) = self.blobs.get(self.at).cloned() else { return self.end() };
        self.at += 1;
        if blob.extension() == Other::Above.id() {
            with(|_, s| s.saves.returned.push((Other::Above, nic, blob.data().to_vec())));
            return true;
        }
        let mut bytes = blob.0.clone();
        bytes[8..12].copy_from_slice(&nic.port.to_le_bytes());
        bytes[12..14].copy_from_slice(&nic.index.to_le_bytes());
        self.how.others_came(with(|_, s| s.saves.under_way.len() > 1));
        let good = self.how.good(self.at - 1);
        let several = self.how.is_several();
        with(|_, s| (s.saves.injected.good, s.saves.injected.several) = (good, several));
        let answer = request(module, Ask::set(oids::SWITCH_NIC_RESTORE, bytes, None));
        with(|world, _| check::restored(world, nic, &blob, &answer));
        if answer.status != SUCCESS {
            self.failed = true;
            return self.end();
        }
        true
    }

    fn end(&mut self) -> bool {
        self.over = true;
        let Self { module, nic, failed, .. } = *self;
        if !failed {
            complete(module, oids::SWITCH_NIC_RESTORE_COMPLETE, nic);
        }
        with(|_, state| {
            state.saves.under_way.remove(&(module, nic));
            if !failed {
                self.how.remember(state, module, nic, &self.blobs);
            }
        });
        false
    }
}
