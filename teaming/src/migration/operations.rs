//! Saves and restores in progress, and the records that restores have brought, for each NIC.
//!
//! The switch never interleaves operations of one NIC. It interleaves those of different NICs in any order, and may
//! leave one unfinished (hyper-v-extensible-switch-save-operations), so two NICs share no state here. An entry exists
//! from the first operation of a NIC until its deletion. The driver calls this under a lock of its own, and passes
//! closures that allocate and may fail.

use crate::Storage;
use crate::ids::NicId;
use crate::migration::record::{Assembly, Cursor, Discard, Handed, NicState, Part, Pins, decode};

/// At most this many unknown NICs may have restored data waiting for them.
pub const STRANGERS_MAX: usize = 64;

/// How far a save has come.
enum Save<S: Storage> {
    /// No save is in progress, or none of its data was written yet.
    Idle,
    Under {
        record: S::Of<u8>,
        cursor: Cursor,
        /// The length that was demanded last, and the length of the buffer that was too short, in bytes.
        demanded: Option<(usize, usize)>,
    },
    /// All data was written, or no more can be: further requests until the end of the save are for other extensions.
    /// `print` is that of the structure when the last request was passed on.
    Done { print: u32 },
}

/// How far a restore has come.
enum Restore<S: Storage> {
    Idle,
    Under(Assembly<S::Of<u8>>),
    /// Discarded, like all other parts until the end of the restore.
    Spoilt,
}

struct NicOperations<S: Storage> {
    nic: NicId,
    save: Save<S>,
    restore: Restore<S>,
    /// It was saved here and not deleted since, so its counters are newer than those of any record.
    was_saved: bool,
    /// The record that a restore has brought; decoding it has succeeded.
    carried: Option<S::Of<u8>>,
}

/// The operations of one NIC, or a free slot.
pub struct OperationSlot<S: Storage>(Option<NicOperations<S>>);

impl<S: Storage> OperationSlot<S> {
    pub const EMPTY: Self = Self(None);
}

pub struct Operations<S: Storage> {
    slots: S::Of<OperationSlot<S>>,
}

impl<S: Storage> Operations<S> {
    pub fn new(slots: S::Of<OperationSlot<S>>) -> Self {
        Self { slots }
    }

    /// Writes the next part of a known NIC's record into `buffer`. `record` encodes the record, given what a restore
    /// has brought; it is called for each request until a part is written. `slots` allocates that many slots. `print`
    /// is `Offer::print` of the request.
    ///
    /// # Errors
    ///
    /// Memory could not be allocated.
    pub fn save(
        &mut self,
        nic: NicId,
        buffer: &mut [u8],
        print: u32,
        record: impl FnOnce(Option<(NicState, Pins<'_>)>) -> Option<S::Of<u8>>,
        slots: impl FnOnce(usize) -> Option<S::Of<OperationSlot<S>>>,
    ) -> Result<Handed, Discard> {
        let entry = self.entry_or_new(nic, slots).ok_or(Discard::NoMemory)?;
        if let Save::Done { print: last } = &mut entry.save {
            *last = print;
            return Ok(Handed::Nothing);
        }
        if !matches!(&entry.save, Save::Under { cursor, .. } if *cursor != Cursor::START) {
            let carried = entry.carried.as_deref().and_then(|record| decode(record).ok());
            let record = record(carried).ok_or(Discard::NoMemory)?;
            let demanded = match &entry.save {
                Save::Under { demanded, .. } => *demanded,
                Save::Idle | Save::Done { .. } => None,
            };
            entry.save = Save::Under { record, cursor: Cursor::START, demanded };
            entry.was_saved = true;
        }
        let Save::Under { record, cursor, demanded } = &mut entry.save else { return Ok(Handed::Nothing) };
        let handed = cursor.hand_out(record, buffer);
        if matches!(handed, Handed::Part { .. }) {
            *demanded = None;
        }
        if cursor.is_done(record) {
            entry.save = Save::Done { print };
        }
        Ok(handed)
    }

    /// Whether the switch may be asked for a buffer of `needed` bytes in place of one of `has` bytes. Not if the buffer
    /// has them already, because the same request would come again; nor if the same was asked for such a buffer before,
    /// because the switch does not provide a longer one. If not, the save of the NIC ends.
    pub fn may_demand(&mut self, nic: NicId, print: u32, needed: usize, has: usize) -> bool {
        let Some(entry) = self.entry(nic) else { return false };
        let Save::Under { demanded, .. } = &mut entry.save else { return false };
        if needed > has && demanded.replace((needed, has)) != Some((needed, has)) {
            return true;
        }
        entry.save = Save::Done { print };
        false
    }

    /// A SAVE request that was passed on is complete. If no extension has filled the structure, every extension has
    /// been asked and the next request begins another save (managing-hyper-v-extensible-switch-run-time-data). A
    /// failure also ends the save.
    pub fn save_passed(&mut self, nic: NicId, print: u32, failed: bool) {
        if let Some(entry) = self.entry(nic)
            && matches!(entry.save, Save::Done { print: before } if failed || before == print)
        {
            entry.save = Save::Idle;
        }
    }

    /// The save of a NIC has ended, or the NIC is disconnected, which ends it.
    pub fn save_complete(&mut self, nic: NicId) {
        if let Some(entry) = self.entry(nic) {
            entry.save = Save::Idle;
        }
    }

    /// Adds a part of this extension to the restore of a NIC. `storage` allocates that many bytes, `slots` that many
    /// slots.
    ///
    /// # Errors
    ///
    /// Why the restore is discarded; later parts of it return no error.
    pub fn restore(
        &mut self,
        nic: NicId,
        data: &[u8],
        is_known: impl Fn(NicId) -> bool,
        storage: impl FnOnce(usize) -> Option<S::Of<u8>>,
        slots: impl FnOnce(usize) -> Option<S::Of<OperationSlot<S>>>,
    ) -> Result<(), Discard> {
        let is_new = self.entry(nic).is_none();
        if is_new && !is_known(nic) && self.strangers(is_known) >= STRANGERS_MAX {
            return Err(Discard::NoMemory);
        }
        let entry = self.entry_or_new(nic, slots).ok_or(Discard::NoMemory)?;
        let result = add(&mut entry.restore, data, storage);
        if result.is_err() {
            entry.restore = Restore::Spoilt;
        }
        result
    }

    /// Ends the restore of a NIC: its record, or why it is discarded. `None` if no part of this extension came.
    pub fn restore_complete(&mut self, nic: NicId) -> Option<Result<NicState, Discard>> {
        let entry = self.entry(nic)?;
        let Restore::Under(assembly) = core::mem::replace(&mut entry.restore, Restore::Idle) else {
            return None;
        };
        let record = match assembly.finish() {
            Ok(record) => record,
            Err(why) => return Some(Err(why)),
        };
        let state = decode(&record).map(|(state, _)| state);
        if state.is_ok() && !entry.was_saved {
            entry.carried = Some(record);
        }
        Some(state)
    }

    /// A NIC was deleted.
    pub fn forget(&mut self, nic: NicId) {
        for slot in self.slots.iter_mut().filter(|slot| slot.is_of(nic)) {
            slot.0 = None;
        }
    }

    /// The records that restores have brought, for one NIC or for all.
    pub fn brought(&self, nic: Option<NicId>) -> impl Iterator<Item = (NicId, NicState)> {
        let entries = self.slots.iter().filter_map(|slot| slot.0.as_ref());
        entries.filter(move |entry| nic.is_none_or(|nic| nic == entry.nic)).filter_map(|entry| {
            let (state, _) = decode(entry.carried.as_deref()?).ok()?;
            Some((entry.nic, state))
        })
    }

    fn strangers(&self, is_known: impl Fn(NicId) -> bool) -> usize {
        self.slots.iter().filter_map(|slot| slot.0.as_ref()).filter(|entry| !is_known(entry.nic)).count()
    }

    fn entry(&mut self, nic: NicId) -> Option<&mut NicOperations<S>> {
        self.slots.iter_mut().find(|slot| slot.is_of(nic))?.0.as_mut()
    }

    fn entry_or_new(
        &mut self,
        nic: NicId,
        slots: impl FnOnce(usize) -> Option<S::Of<OperationSlot<S>>>,
    ) -> Option<&mut NicOperations<S>> {
        let known = self.slots.iter().position(|slot| slot.is_of(nic));
        let free = || self.slots.iter().position(|slot| slot.0.is_none());
        let at = match known.or_else(free) {
            Some(at) => at,
            None => {
                let old = self.slots.len();
                self.grow(slots(old.saturating_mul(2).max(4))?);
                old
            }
        };
        let new = || NicOperations {
            nic,
            save: Save::Idle,
            restore: Restore::Idle,
            was_saved: false,
            carried: None,
        };
        self.slots.get_mut(at).map(|slot| slot.0.get_or_insert_with(new))
    }

    fn grow(&mut self, mut more: S::Of<OperationSlot<S>>) {
        for (new, old) in more.iter_mut().zip(self.slots.iter_mut()) {
            new.0 = old.0.take();
        }
        self.slots = more;
    }
}

impl<S: Storage> OperationSlot<S> {
    fn is_of(&self, nic: NicId) -> bool {
        self.0.as_ref().is_some_and(|entry| entry.nic == nic)
    }
}

/// Adds a part to a restore. The first part gives the length of the record.
fn add<S: Storage>(
    restore: &mut Restore<S>,
    data: &[u8],
    storage: impl FnOnce(usize) -> Option<S::Of<u8>>,
) -> Result<(), Discard> {
    if matches!(restore, Restore::Spoilt) {
        return Ok(());
    }
    let part = Part::parse(data)?;
    if matches!(restore, Restore::Idle) {
        *restore = Restore::Under(Assembly::new(storage(part.record).ok_or(Discard::NoMemory)?));
    }
    match restore {
        Restore::Under(assembly) => assembly.add(&part),
        Restore::Idle | Restore::Spoilt => Ok(()),
    }
}
