//! Settings of single members: `Parameters\Switches\{switch}\Members\{adapter}`, the adapter by its GUID. They are read before
//! the first packet, when an adapter becomes known, and when the registry changes; an adapter whose index has changed is
//! found again by its GUID. Settings for an adapter that is no member are told, once all members are known.

use crate::clock;
use crate::control::events;
use crate::control::failover;
use crate::kernel::pool::{PoolSlice, Tag};
use crate::kernel::registry::{Key, Subkey, Unreadable, Value};
use crate::kernel::worker::{Reasons, Woken};
use crate::module::Module;
use crate::ndis::irql::Passive;
use crate::ndis::status::OutOfMemory;
use crate::text;
use crate::trace::Event;
use teaming::backoff::Backoff;
use teaming::ids::{AdapterId, MemberIndex, MemberSet, Ticks};
use teaming::member_settings::{self, MEMBER_SETTINGS, MemberIssues};
use teaming::oid::RequestType;
use teaming::private_oid::Digest;
use teaming::settings::{Lookup, Problem};
use teaming::team::member::MemberSettings;

const SUBKEY: &[u16] = &text::utf16(br"\Members");
const SEPARATOR: &[u16] = &text::utf16(br"\");
/// Subkeys that are looked at. A team has at most 32 members, and nobody keeps the settings of so many other adapters.
const SUBKEYS: u32 = 256;

/// The registry could not be read, or memory was refused: it is tried again.
struct NotNow;

impl From<Unreadable> for NotNow {
    fn from(_: Unreadable) -> Self {
        Self
    }
}

impl From<OutOfMemory> for NotNow {
    fn from(_: OutOfMemory) -> Self {
        Self
    }
}

/// Reads the settings of the members that are known, before there are packets; the module's thread reads them again, tells
/// what is wrong, and makes up for what cannot be read now. PASSIVE_LEVEL, no lock held.
pub fn at_start(module: &Module, passive: &Passive) {
    let _ = follow(module, false, passive);
    // What the thread has applied meanwhile may be newer.
    module.worker.wake(Reasons::MEMBER_SETTINGS);
}

/// The settings of members on the module's thread.
pub struct MembersRead {
    retry: Backoff,
    /// The keys of no member that were told.
    told: Digest,
}

impl MembersRead {
    pub const IDLE: Self = Self { retry: Backoff::IDLE, told: Digest::EMPTY };

    /// Time until `woken` must be called without being woken.
    pub const fn due(&self) -> Option<Ticks> {
        self.retry.due()
    }

    /// Called after each wait of the thread. PASSIVE_LEVEL, no lock held.
    #[inline(never)] // a frame of its own
    pub fn woken(&mut self, module: &Module, woken: &Woken, passive: &Passive) {
        let again = self.retry.take(clock::now());
        if !again && !woken.reasons.contains(Reasons::MEMBER_SETTINGS) {
            return;
        }
        let all = follow(module, true, passive);
        let told = all.and_then(|()| self.tell_unused(module, passive));
        if told.is_err() {
            self.retry.plan(clock::now());
        }
    }

    /// Tells of each key that is no member's adapter, unless these have been told.
    #[inline(never)] // a frame of its own
    fn tell_unused(&mut self, module: &Module, passive: &Passive) -> Result<(), NotNow> {
        if !all_known(module) {
            return Ok(());
        }
        let mut unused = Digest::EMPTY;
        if let Some(key) = open(module, None, passive)? {
            each_unused(module, &key, passive, |adapter| {
                unused = unused.and(RequestType::Set, 0, &adapter.get())
            })?;
            if unused != self.told {
                let tell = |adapter| events::tell(module, Event::MemberSettingsUnused { adapter });
                each_unused(module, &key, passive, tell)?;
            }
        }
        self.told = unused;
        Ok(())
    }
}

/// Reads and applies the settings of every member whose adapter is known. `tell`: pushes an event for each value that is
/// ignored.
#[inline(never)] // a frame of its own
fn follow(module: &Module, tell: bool, passive: &Passive) -> Result<(), NotNow> {
    let mut all = Ok(());
    for member in MemberSet::ALL.iter() {
        let adapter = module.control.lock().team.member(member).adapter;
        if adapter == AdapterId::UNKNOWN {
            continue;
        }
        match read(module, adapter, passive) {
            Ok((settings, issues)) => {
                failover::member_settings(module, member, adapter, &settings);
                if tell {
                    tell_ignored(module, member, &issues);
                }
            }
            // What is in effect remains.
            Err(NotNow) => all = Err(NotNow),
        }
    }
    all
}

#[inline(never)] // a frame of its own
fn read(
    module: &Module,
    adapter: AdapterId,
    passive: &Passive,
) -> Result<(MemberSettings, MemberIssues), NotNow> {
    let key = open(module, Some(adapter), passive)?;
    let mut all_read = Ok(());
    let read = member_settings::read(|setting| {
        let value = key.as_ref().map_or(Ok(Value::Missing), |key| key.number(setting.name, passive));
        match value {
            Ok(Value::Number(number)) => Lookup::Value(number),
            Ok(Value::OtherType) => Lookup::WrongType,
            Ok(Value::Missing) => Lookup::Missing,
            Err(unreadable) => {
                all_read = Err(unreadable);
                Lookup::Missing
            }
        }
    });
    all_read?;
    Ok(read)
}

fn tell_ignored(module: &Module, member: MemberIndex, issues: &MemberIssues) {
    for issue in issues {
        let setting = MEMBER_SETTINGS.iter().position(|s| s.name == issue.setting.name);
        let setting = setting.and_then(|at| u8::try_from(at).ok()).unwrap_or(u8::MAX);
        let value = match issue.problem {
            Problem::WrongType => None,
            Problem::OutOfRange(value) | Problem::NotInMode(value, _) => Some(value),
        };
        events::tell(module, Event::MemberSettingIgnored { member, setting, value, used: issue.used() });
    }
}

/// Opens the key of an adapter, or the one above all of them; `None` if it does not exist.
#[inline(never)] // a frame of its own
fn open(module: &Module, adapter: Option<AdapterId>, passive: &Passive) -> Result<Option<Key>, NotNow> {
    let Some(paths) = module.texts.settings_paths.get() else { return Ok(None) };
    let above = || paths.own.iter().chain(SUBKEY).copied();
    let path = match adapter {
        Some(adapter) => {
            let name = adapter.text().map(u16::from);
            PoolSlice::collect(Tag::SETTINGS, above().chain(SEPARATOR.iter().copied()).chain(name))?
        }
        None => PoolSlice::collect(Tag::SETTINGS, above())?,
    };
    Ok(Key::open(&path, passive)?)
}

/// Every member's adapter is known: the arrays were read, and the switch has told each NIC's GUID.
fn all_known(module: &Module) -> bool {
    let control = module.control.lock();
    let unknown = |adapter| adapter == AdapterId::UNKNOWN;
    control.enumeration.knows_ports() && !control.team.members().any(|(_, member)| unknown(member.adapter))
}

/// Calls `with` for each subkey that is no member's; with zeros if its name is no GUID.
fn each_unused(
    module: &Module,
    key: &Key,
    passive: &Passive,
    mut with: impl FnMut(AdapterId),
) -> Result<(), NotNow> {
    for number in 0..SUBKEYS {
        let adapter = match key.subkey(number, passive)? {
            Subkey::None => break,
            Subkey::Name(name) => AdapterId::parse(&name).unwrap_or(AdapterId::UNKNOWN),
            Subkey::Long => AdapterId::UNKNOWN,
        };
        let is_member = module.control.lock().team.members().any(|(_, member)| member.adapter == adapter);
        if !is_member || adapter == AdapterId::UNKNOWN {
            with(adapter);
        }
    }
    Ok(())
}
