//! Vendor-private OIDs of the registry: `Parameters\\PrivateOids\\{adapter}` names up to eight requests with their data, a
//! set, a query or a method each, which the module's thread sends to that adapter, if `PrivateOids` is on. They are sent
//! when the adapter is connected, also after a restart of the extension, and when the entries have changed. Each request is
//! an event with its status and, of an answer, the length and the first bytes; the rest of it is nobody's. One that the
//! adapter fails is not repeated, because nobody but its vendor knows what repeating it does.
//!
//! The key is writable by administrators alone (INF), and numbers below 0xFF000000 are refused: no OID of NDIS can be set
//! (forwarding-oid-requests-to-physical-network-adapters.md: an extension may encapsulate private OIDs for one adapter).

use crate::clock;
use crate::control::{events, nic_status};
use crate::kernel::pool::{PoolSlice, Tag};
use crate::kernel::registry::{Bytes, Key, Unreadable, Value};
use crate::kernel::worker::{Reasons, Woken};
use crate::module::{Control, Module};
use crate::ndis::irql::Passive;
use crate::ndis::member_request::{self, MemberRequest};
use crate::ndis::status::NdisStatus;
use crate::text;
use crate::trace::Event;
use teaming::backoff::Backoff;
use teaming::ids::{AdapterId, MemberIndex, MemberSet, Ticks};
use teaming::oid::RequestType;
use teaming::private_oid::{self, BYTES_MAX, Digest, ENTRIES};

const SUBKEY: &[u16] = &text::utf16(br"\PrivateOids\");

/// Has the thread set the OIDs of these members, which were connected. IRQL <= DISPATCH_LEVEL; the caller holds the team
/// lock.
pub fn connected_locked(module: &Module, control: &mut Control, members: MemberSet) {
    if !members.is_empty() {
        control.private_due = control.private_due.union(members);
        module.worker.wake(Reasons::PRIVATE);
    }
}

/// The same without the lock. IRQL <= DISPATCH_LEVEL, no lock held.
pub fn connected(module: &Module, members: MemberSet) {
    connected_locked(module, &mut module.control.lock(), members);
}

/// When entries are set again.
pub struct PrivateOids {
    retry: Backoff,
}

/// The registry could not be read, or memory or a reference was refused: it is tried again.
struct NotNow;

impl From<Unreadable> for NotNow {
    fn from(_: Unreadable) -> Self {
        Self
    }
}

impl PrivateOids {
    pub const IDLE: Self = Self { retry: Backoff::IDLE };

    /// When to come back without being woken.
    pub const fn due(&self) -> Option<Ticks> {
        self.retry.due()
    }

    /// Called after each wait of the thread. PASSIVE_LEVEL, no lock held.
    #[inline(never)] // a frame of its own
    pub fn woken(&mut self, module: &Module, woken: &Woken, passive: &Passive) {
        let again = self.retry.take(clock::now());
        if !again && !woken.reasons.contains(Reasons::PRIVATE) {
            return;
        }
        let mut all = true;
        for member in MemberSet::ALL.iter() {
            let Some((adapter, before)) = wanted(module, member) else { continue };
            let entries = Entries { module, member, passive };
            let set = entries.follow(adapter, before);
            // Whatever was set before it failed is set again.
            all &= set.is_ok();
            if let Some(kept) = module.control.lock().private_set.get_mut(member.slot()) {
                *kept = set.unwrap_or(None);
            }
        }
        if !all {
            self.retry.plan(clock::now());
        }
    }
}

/// The adapter whose entries apply to a member, if they do, and what has been set on it since it was connected.
fn wanted(module: &Module, member: MemberIndex) -> Option<(AdapterId, Option<Digest>)> {
    let mut control = module.control.lock();
    let anew = control.private_due.contains(member);
    control.private_due = control.private_due.without(member);
    let state = control.team.member(member);
    let applies = control.settings.private_oids && state.state.is_connected() && !control.detaching;
    let adapter = Some(state.adapter).filter(|&adapter| applies && adapter != AdapterId::UNKNOWN);
    let set = control.private_set.get_mut(member.slot())?;
    if anew || adapter.is_none() {
        *set = None;
    }
    adapter.map(|adapter| (adapter, *set))
}

/// The entries of one member's adapter.
struct Entries<'m> {
    module: &'m Module,
    member: MemberIndex,
    passive: &'m Passive,
}

impl Entries<'_> {
    /// Sets the entries if they are not those that were set last, and gives what is set now.
    #[inline(never)] // a frame of its own
    fn follow(&self, adapter: AdapterId, before: Option<Digest>) -> Result<Option<Digest>, NotNow> {
        let Some(key) = self.open(adapter)? else { return Ok(None) };
        let mut digest = Digest::EMPTY;
        self.each(&key, false, |kind, oid, length, data| {
            digest = digest.and(kind, oid, data.get(..length).unwrap_or(&[]));
            Ok(())
        })?;
        if before != Some(digest) {
            self.each(&key, true, |kind, oid, length, data| self.send(kind, oid, length, data))?;
        }
        Ok(Some(digest))
    }

    #[inline(never)] // a frame of its own
    fn open(&self, adapter: AdapterId) -> Result<Option<Key>, NotNow> {
        let Some(paths) = self.module.texts.settings_paths.get() else { return Ok(None) };
        let name = adapter.text().map(u16::from);
        let path = paths.common.iter().copied().chain(SUBKEY.iter().copied()).chain(name);
        let path = PoolSlice::collect(Tag::SETTINGS, path).map_err(|_| NotNow)?;
        Ok(Key::open(&path, self.passive)?)
    }

    /// Calls `with` for each valid entry in order: kind, OID, bytes of its data, and a buffer that begins with them and is
    /// zero behind. `tell`: pushes an event for each that is not valid.
    #[inline(never)] // a frame of its own
    fn each(
        &self,
        key: &Key,
        tell: bool,
        mut with: impl FnMut(RequestType, u32, usize, &mut [u8]) -> Result<(), NotNow>,
    ) -> Result<(), NotNow> {
        for entry in 1..=ENTRIES {
            let digit = [b'0'.wrapping_add(entry)];
            let digit = core::str::from_utf8(&digit).unwrap_or_default();
            let name = |head: &str| {
                let mut name = heapless::String::<8>::new();
                // Both fit: 5 characters at most.
                let _ = name.push_str(head).and_then(|()| name.push_str(digit));
                name
            };
            let mut data = [0; BYTES_MAX];
            let oid = match key.number(&name("Oid"), self.passive)? {
                Value::Missing => continue,
                Value::Number(value) => private_oid::number(value),
                Value::OtherType => None,
            };
            let kind = match key.number(&name("Type"), self.passive)? {
                Value::Missing => private_oid::kind(None),
                Value::Number(value) => private_oid::kind(Some(value)),
                Value::OtherType => None,
            };
            let length = match key.bytes(&name("Data"), &mut data, self.passive)? {
                Bytes::Read(length) => Some(length),
                Bytes::Missing => Some(0),
                Bytes::Refused => None,
            };
            match (kind, oid, length) {
                (Some(kind), Some(oid), Some(length)) => with(kind, oid, length, &mut data)?,
                _ if tell => self.push(Event::PrivateOidIgnored { member: self.member, entry }),
                _ => {}
            }
        }
        Ok(())
    }

    fn send(&self, kind: RequestType, oid: u32, length: usize, data: &mut [u8]) -> Result<(), NotNow> {
        let Some(_work) = self.module.work.enter() else { return Err(NotNow) };
        let (_, nic) = nic_status::reference(self.module, self.member).ok_or(NotNow)?;
        // A set has as many bytes as its data; an answer may fill the buffer.
        let room = if kind == RequestType::Set { length } else { data.len() };
        let Some(buffer) = data.get_mut(..room) else { return Ok(()) };
        let request = MemberRequest { kind, oid, buffer, input: length };
        let answer = member_request::send(self.module.filter, &nic, request, self.passive);
        let answers = kind != RequestType::Set && answer.status == NdisStatus::SUCCESS;
        let told = data.get(..answer.bytes).filter(|_| answers).unwrap_or(&[]);
        self.push(Event::PrivateOid {
            member: self.member,
            oid,
            status: answer.status.0,
            bytes: told.len() as u32,
            first: private_oid::first_bytes(told),
        });
        Ok(())
    }

    fn push(&self, event: Event) {
        events::tell(self.module, event);
    }
}
