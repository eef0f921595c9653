//! Event Tracing for Windows: providers of the kernel (etwregister, etwunregister, etweventenabled, etwwritetransfer), one
//! session that reads all of them, and a decoder of self-describing events, written from the layout of
//! TraceLoggingProvider.h alone.

use crate::exports;
use crate::machine::cpu;
use crate::machine::fault;
use crate::machine::memory::{AllocationKind, MemoryState};
use crate::machine::objects::{STATUS_INSUFFICIENT_RESOURCES, STATUS_SUCCESS};
use crate::machine::verify;
use crate::machine::world::{self, World};
use crate::mutation::Mutation;
use lbfoext::kernel::sys::EnableCallback;
use lbfoext::ndis::raw::{EventDataDescriptor, EventDescriptor, Guid};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr;

const STATUS_INVALID_HANDLE: i32 = 0xC000_0008_u32 as i32;
const KIND: AllocationKind = AllocationKind::TraceProvider;
/// The channel with which systems before Windows 10 know a self-describing event.
const CHANNEL: u8 = 11;

/// The value of a field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Field {
    Number(u64),
    /// An NTSTATUS.
    Status(u32),
    /// A number that is shown in hexadecimal.
    Hex(u32),
    Text(String),
}

/// Fields with their names, in order.
pub type Fields = Vec<(String, Field)>;

/// An event as a session has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TraceEvent {
    pub at: u64,
    pub provider: [u8; 16],
    pub provider_name: String,
    pub id: u16,
    pub level: u8,
    pub keyword: u64,
    pub name: String,
    pub fields: Fields,
}

/// What a session wants of a provider (EnableTraceEx2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    /// Events up to this level; 0 for all.
    pub level: u8,
    /// Events with any of these keywords; 0 for all.
    pub any: u64,
    /// Of those, events with all of these.
    pub all: u64,
}

impl Session {
    pub const EVERYTHING: Self = Self { level: 0, any: 0, all: 0 };

    const fn wants(self, event: &EventDescriptor) -> bool {
        let EventDescriptor { level, keyword, .. } = *event;
        let about =
            keyword == 0 || (self.any == 0 || self.any & keyword != 0) && self.all & keyword == self.all;
        about && (self.level == 0 || level <= self.level)
    }
}

#[derive(Clone, Copy)]
struct Provider {
    id: [u8; 16],
    callback: Option<EnableCallback>,
    context: usize,
}

#[derive(Default)]
struct Etw {
    session: Option<Session>,
    next: u64,
    providers: BTreeMap<u64, Provider>,
    events: Vec<TraceEvent>,
}

#[derive(Default)]
struct Tracing(Mutex<Etw>);

impl World {
    /// Begins, changes or ends the session. A provider with a callback is told, on the calling simulated thread at
    /// PASSIVE_LEVEL; one that registers later is told then.
    pub fn read_traces(&self, session: Option<Session>) {
        let tracing = self.part::<Tracing>();
        let told: Vec<_> = {
            let mut etw = tracing.0.lock();
            etw.session = session;
            etw.providers.values().copied().collect()
        };
        told.into_iter().for_each(|provider| tell(provider, session));
    }

    /// The driver is about to go: it is no provider any more.
    pub fn check_providers(&self) {
        let left = self.part::<Tracing>().0.lock().providers.len();
        verify::rule(self, "MEM-11", left == 0, || format!("{left} registrations outlive the driver"));
    }

    /// The events that the session has got.
    pub fn trace(&self) -> Vec<TraceEvent> {
        self.part::<Tracing>().0.lock().events.clone()
    }
}

fn tell(provider: Provider, session: Option<Session>) {
    let Some(callback) = provider.callback else { return };
    let id = Guid::from_bytes(provider.id);
    let (enabled, Session { level, any, all }) = (session.is_some(), session.unwrap_or(Session::EVERYTHING));
    cpu::call_driver("EnableCallback", || {
        let context = ptr::with_exposed_provenance_mut(provider.context);
        // SAFETY: the callback of a registered provider, with its context.
        unsafe { callback(&raw const id, u32::from(enabled), level, any, all, ptr::null_mut(), context) };
    });
}

/// What the session wants of this event, if the handle is of a registration; otherwise a broken rule.
fn wanted(world: &World, handle: u64, descriptor: &EventDescriptor) -> Option<bool> {
    let etw = world.part::<Tracing>().0.lock();
    let known = etw.providers.contains_key(&handle);
    let wanted = etw.session.is_some_and(|session| session.wants(descriptor));
    drop(etw);
    verify::rule(world, "MEM-11", known, || {
        format!("an event with handle {handle}, which is of no registration")
    });
    known.then_some(wanted)
}

/// Bytes that are read one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(format!("{count} bytes are missing"))?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?[0])
    }

    fn number(&mut self, bytes: usize) -> Result<u64, String> {
        let mut word = [0; 8];
        word[..bytes].copy_from_slice(self.take(bytes)?);
        Ok(u64::from_le_bytes(word))
    }

    fn name(&mut self) -> Result<String, String> {
        let end = self.0.iter().position(|byte| *byte == 0).ok_or("a name has no end")?;
        let name = self.take(end)?;
        self.byte()?;
        text(name)
    }
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|error| error.to_string())
}

/// A block of metadata without its length in front, which it must have.
fn sized(bytes: &[u8]) -> Result<Reader<'_>, String> {
    let mut reader = Reader(bytes);
    let length = reader.number(2)? as usize;
    if length == bytes.len() { Ok(reader) } else { Err(format!("{} bytes say {length}", bytes.len())) }
}

/// Reads the three parts of an event, of its provider, of its kind, and its data: names of both, and the fields.
pub fn decode(provider: &[u8], metadata: &[u8], data: &[u8]) -> Result<(String, String, Fields), String> {
    let mut provider = sized(provider)?;
    let provider_name = provider.name()?;
    let (mut metadata, mut data) = (sized(metadata)?, Reader(data));
    // The tag: seven bits in each byte, bit 7 if there are more.
    while metadata.byte()? & 0x80 != 0 {}
    let name = metadata.name()?;
    let mut fields = Vec::new();
    while !metadata.0.is_empty() {
        let field = metadata.name()?;
        let of = metadata.byte()?;
        let shown = if of & 0x80 != 0 { metadata.byte()? } else { 0 };
        let value = match (of & 0x7F, shown) {
            (4, 0) => Field::Number(data.number(1)?),
            (8, 0) => Field::Number(data.number(4)?),
            (10, 0) => Field::Number(data.number(8)?),
            (20, 0) => Field::Hex(data.number(4)? as u32),
            (20, 14) => Field::Status(data.number(4)? as u32),
            (1, 0) => {
                let mut units = Vec::new();
                while let unit @ 1.. = data.number(2)? {
                    units.push(unit as u16);
                }
                Field::Text(String::from_utf16(&units).map_err(|error| error.to_string())?)
            }
            (2, 0) => Field::Text(data.name()?),
            other => return Err(format!("{field} is of type {other:?}")),
        };
        fields.push((field, value));
    }
    if !data.0.is_empty() || !provider.0.is_empty() {
        return Err("bytes that belong to no field".to_owned());
    }
    Ok((provider_name, name, fields))
}

/// # Safety
/// Every part describes memory of as many bytes.
unsafe fn read(
    world: &World,
    descriptor: &EventDescriptor,
    parts: &[EventDataDescriptor],
) -> Result<TraceEvent, String> {
    for part in parts {
        let place = world.place(ptr::without_provenance(part.pointer as usize));
        if matches!(place, MemoryState::Freed(_)) {
            return Err("a part in freed memory".to_owned());
        }
    }
    let bytes = |part: &EventDataDescriptor| {
        let pointer = ptr::with_exposed_provenance::<u8>(part.pointer as usize);
        // SAFETY: the caller's promise.
        unsafe { std::slice::from_raw_parts(pointer, part.size as usize) }
    };
    let kinds: Vec<u32> = parts.iter().map(|part| part.kind).collect();
    if kinds[..2.min(kinds.len())] != [2, 1] || kinds[2..].iter().any(|kind| *kind != 0) {
        return Err(format!("parts of kinds {kinds:?}: first the provider's, then the event's metadata"));
    }
    if descriptor.channel != CHANNEL || descriptor.keyword == 0 || descriptor.level == 0 {
        return Err("an event of no channel, keyword or level".to_owned());
    }
    let data: Vec<u8> = parts[2..].iter().flat_map(bytes).copied().collect();
    let (provider_name, name, fields) = decode(bytes(&parts[0]), bytes(&parts[1]), &data)?;
    let EventDescriptor { id, level, keyword, .. } = *descriptor;
    Ok(TraceEvent { at: 0, provider: [0; 16], provider_name, id, level, keyword, name, fields })
}

fn unregister(world: &World, handle: u64) -> i32 {
    let known = world.part::<Tracing>().0.lock().providers.remove(&handle).is_some();
    verify::rule(world, "MEM-11", known, || "EtwUnregister of what is not registered".to_owned());
    if !known {
        return STATUS_INVALID_HANDLE;
    }
    world.untrack(KIND, handle as usize);
    STATUS_SUCCESS
}

exports! {
    pub extern "win64" fn EtwRegister(
        provider: *const Guid,
        callback: Option<EnableCallback>,
        context: *mut c_void,
        handle: *mut u64,
    ) -> i32 where irql <= PASSIVE {
        let world = world::current();
        if fault::fails("EtwRegister") {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        // SAFETY: the driver passes a GUID and a place for the handle.
        let id = unsafe { (*provider).to_bytes() };
        let provider = Provider { id, callback, context: context.expose_provenance() };
        let session = {
            let mut etw = world.part::<Tracing>().0.lock();
            etw.next += 1;
            let number = etw.next;
            etw.providers.insert(number, provider);
            // SAFETY: as above.
            unsafe { handle.write(number) };
            world.track(KIND, number as usize, 0, "trace provider");
            etw.session
        };
        if session.is_some() {
            tell(provider, session);
        }
        STATUS_SUCCESS
    }

    pub extern "win64" fn EtwUnregister(handle: u64) -> i32 where irql <= PASSIVE {
        let world = world::current();
        cpu::require_may_wait("EtwUnregister");
        match world.mutation() {
            Some(Mutation::KeepProvider) if world.spend_mutation() => return STATUS_SUCCESS,
            Some(Mutation::UnregisterTwice) if world.spend_mutation() => _ = unregister(&world, handle),
            _ => {}
        }
        unregister(&world, handle)
    }

    pub extern "win64" fn EtwEventEnabled(
        handle: u64,
        descriptor: *const EventDescriptor,
    ) -> u8 where irql <= ANY_LEVEL {
        // SAFETY: the driver passes a descriptor.
        let wanted = unsafe { wanted(&world::current(), handle, &*descriptor) };
        u8::from(wanted == Some(true))
    }

    pub extern "win64" fn EtwWriteTransfer(
        handle: u64,
        descriptor: *const EventDescriptor,
        _activity: *const Guid,
        _related: *const Guid,
        count: u32,
        parts: *const EventDataDescriptor,
    ) -> i32 where irql <= ANY_LEVEL {
        let world = world::current();
        // SAFETY: the driver passes a descriptor.
        let Some(wanted) = wanted(&world, handle, unsafe { &*descriptor }) else { return STATUS_INVALID_HANDLE };
        if fault::fails("EtwWriteTransfer") {
            return STATUS_INSUFFICIENT_RESOURCES;
        }
        // SAFETY: the driver passes as many parts as it says, each of live memory.
        let event = unsafe {
            let mut parts = std::slice::from_raw_parts(parts, count as usize).to_vec();
            if world.mutation() == Some(Mutation::CutEvent) && world.spend_mutation() {
                parts.iter_mut().rev().take(1).for_each(|part| part.size -= 1);
            }
            read(&world, &*descriptor, &parts)
        };
        verify::rule(&world, "MEM-12", event.is_ok(), || event.clone().err().unwrap_or_default());
        if let Ok(mut event) = event {
            world.log(|| format!("trace: {} {:?}", event.name, event.fields));
            let mut etw = world.part::<Tracing>().0.lock();
            (event.at, event.provider) = (world.now(), etw.providers.get(&handle).map_or([0; 16], |it| it.id));
            if wanted {
                etw.events.push(event);
            }
        }
        STATUS_SUCCESS
    }
}

/// A provider that writes one event as it should; for the tests of mutations.
#[cfg(test)]
pub fn behave() {
    let (provider, metadata, data) = (*b"\x04\0p\0", *b"\x0C\0\0Event\0n\0\x08", [7_u8, 0, 0, 0]);
    let part = |bytes: &[u8], kind| EventDataDescriptor {
        pointer: bytes.as_ptr().expose_provenance() as u64,
        size: bytes.len() as u32,
        kind,
    };
    let parts = [part(&provider, 2), part(&metadata, 1), part(&data, 0)];
    let descriptor = EventDescriptor { channel: CHANNEL, level: 4, keyword: 1, ..EventDescriptor::ZERO };
    unsafe extern "win64" fn told(
        _: *const Guid,
        _: u32,
        _: u8,
        _: u64,
        _: u64,
        _: *mut c_void,
        context: *mut c_void,
    ) {
        // SAFETY: the flag below lives as long as the registration.
        unsafe { &*context.cast::<std::sync::atomic::AtomicU32>() }
            .fetch_add(1, std::sync::atomic::Ordering::SeqCst);
    }
    let (count, mut handle) = (std::sync::atomic::AtomicU32::new(0), 0);
    let context = ptr::from_ref(&count).cast_mut().cast();
    // SAFETY: everything lives through the calls.
    unsafe {
        EtwRegister(&Guid::from_bytes([5; 16]), Some(told), context, &raw mut handle);
        assert_eq!(EtwEventEnabled(handle, &descriptor), 0, "nobody reads");
        world::current().read_traces(Some(Session { level: 4, any: 3, all: 1 }));
        for (level, keyword, wanted) in [(4, 1, 1), (5, 1, 0), (1, 2, 0), (1, 5, 1), (1, 4, 0), (4, 0, 1)] {
            let other = EventDescriptor { level, keyword, ..descriptor };
            assert_eq!(EtwEventEnabled(handle, &other), wanted, "level {level}, keyword {keyword}");
        }
        EtwWriteTransfer(handle, &descriptor, ptr::null(), ptr::null(), 3, parts.as_ptr());
        let unwanted = EventDescriptor { keyword: 2, ..descriptor };
        EtwWriteTransfer(handle, &unwanted, ptr::null(), ptr::null(), 3, parts.as_ptr());
        world::current().read_traces(None);
        EtwUnregister(handle);
    }
    assert_eq!(count.into_inner(), 2, "told when a session begins and ends");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::world::Config;

    fn rules_of(config: Config, body: impl FnOnce(&World) + Send) -> Vec<&'static str> {
        let world = World::new(config);
        world.enter(|| body(&world)).expect("it ends");
        world.violations().iter().map(|v| v.rule).collect()
    }

    #[test]
    fn an_event_is_decoded_and_kept_while_a_session_reads() {
        let rules = rules_of(Config::default(), |world| {
            behave();
            let [event] = &world.trace()[..] else { panic!("one event") };
            assert_eq!((&*event.provider_name, event.provider, &*event.name), ("p", [5; 16], "Event"));
            assert_eq!(event.fields, [("n".to_owned(), Field::Number(7))]);
            assert!(world.live().is_empty());
        });
        assert_eq!(rules, [""; 0]);
    }

    #[test]
    fn every_type_that_the_decoder_knows_is_read_and_every_error_is_found() {
        let provider = b"\x04\0p\0";
        let meta = |fields: &[u8]| {
            let length = (5 + fields.len()) as u16;
            [&length.to_le_bytes()[..], b"\0E\0", fields].concat()
        };
        let one = |field: &[u8], data: &[u8]| {
            decode(provider, &meta(field), data).map(|(_, _, fields)| fields[0].1.clone())
        };
        assert_eq!(one(b"f\0\x0A", &[1; 8]), Ok(Field::Number(0x0101_0101_0101_0101)));
        assert_eq!(one(b"f\0\x14", &[2, 0, 0, 0]), Ok(Field::Hex(2)));
        assert_eq!(one(b"f\0\x94\x0E", &[2, 0, 0, 0xC0]), Ok(Field::Status(0xC000_0002)));
        assert_eq!(one(b"f\0\x01", b"a\0b\0\0\0"), Ok(Field::Text("ab".to_owned())));
        assert_eq!(one(b"f\0\x02", b"ab\0"), Ok(Field::Text("ab".to_owned())));
        assert!(one(b"f\0\x02", b"ab").is_err(), "no end");
        assert!(one(b"f\0\x08", &[1; 3]).is_err(), "too little data");
        assert!(one(b"f\0\x08", &[1; 5]).is_err(), "too much");
        assert!(one(b"f\0\x08g", &[1; 4]).is_err(), "half a field");
        assert!(one(b"f\0\x63", &[1; 4]).is_err(), "another type");
        assert!(decode(b"\x05\0p\0", &meta(b""), b"").is_err(), "another length");
    }

    #[test]
    fn a_provider_that_stays_is_a_leak_and_one_that_is_none_is_found() {
        let rules = rules_of(Config::default(), |world| {
            // SAFETY: only the handle is looked at.
            unsafe {
                EtwUnregister(9);
                EtwWriteTransfer(9, &EventDescriptor::ZERO, ptr::null(), ptr::null(), 0, ptr::null());
                EtwEventEnabled(9, &EventDescriptor::ZERO);
                let mut handle = 0;
                EtwRegister(&Guid::from_bytes([5; 16]), None, ptr::null_mut(), &raw mut handle);
                world.check_providers();
                assert_eq!(world.live().len(), 1);
                EtwUnregister(handle);
                world.check_providers();
            }
            assert!(world.live().is_empty());
        });
        assert_eq!(rules, ["MEM-11"; 4]);
    }
}
