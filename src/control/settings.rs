//! Settings from the registry: `Parameters` holds them for all switches, `Parameters\Switches\{switch}` overrides them
//! for one. The module's thread watches the service's key, above both, so that keys which are created later are watched
//! too; a change takes effect without pausing the module.

use crate::clock;
use crate::control::{events, failover, survey};
use crate::kernel::event::EventHandle;
use crate::kernel::registry::{Armed, Key, Unreadable, Value, Watch};
use crate::kernel::worker::{Reasons, Woken};
use crate::module::{Module, SettingsPaths};
use crate::ndis::irql::Passive;
use crate::ndis::status::{NdisStatus, OutOfMemory};
use crate::trace::Event;
use teaming::backoff::Backoff;
use teaming::ids::Ticks;
use teaming::settings::{Issues, Lookup, Problem, SETTINGS, Setting, Settings};

/// Reads the settings and has the module's thread watch them. Called by the first restart, and again if that restart
/// failed afterwards. `switch_name` is the switch's GUID in UTF-16, little-endian bytes. PASSIVE_LEVEL, no lock held.
///
/// # Errors
///
/// NDIS_STATUS_RESOURCES if the paths of the keys cannot be allocated. What cannot be read now the thread reads later.
pub fn load(module: &Module, switch_name: &[u8], passive: &Passive) -> Result<(), NdisStatus> {
    if module.texts.settings_paths.get().is_none() {
        module.texts.settings_paths.set(SettingsPaths::try_new(&module.texts.registry_path, switch_name)?)?;
    }
    let _ = reload(module, true, passive);
    module.worker.wake(Reasons::SETTINGS);
    Ok(())
}

/// Reads the settings and applies them; if they cannot be read, the present ones remain. PASSIVE_LEVEL, no lock held.
#[inline(never)] // a frame of its own
fn reload(module: &Module, at_start: bool, passive: &Passive) -> Result<(), Unreadable> {
    let settings = read(module, passive)?;
    failover::settings(module, &settings);
    module.worker.wake(Reasons::PRIVATE | Reasons::MEMBER_SETTINGS);
    // Without memory it is tried again, like what cannot be read.
    survey::set(module, settings.survey, at_start).map_err(|OutOfMemory| Unreadable)
}

/// The notifications about the settings' key, on the module's thread. A failed call is repeated at growing intervals.
pub struct SettingsWatch {
    watch: Option<Watch>,
    retry: Backoff,
}

/// Number of notifications in a row that complete at once before the next one is requested later. No administrator
/// makes so many changes, and without the limit the thread might not end.
const AT_ONCE: u32 = 256;

impl SettingsWatch {
    pub const IDLE: Self = Self { watch: None, retry: Backoff::IDLE };

    /// The event that is set by a change.
    pub fn event(&self) -> Option<&EventHandle> {
        self.watch.as_ref().map(Watch::event)
    }

    /// Time until `woken` must be called without an event.
    pub const fn due(&self) -> Option<Ticks> {
        self.retry.due()
    }

    /// Called after each wait of the thread.
    #[inline(never)] // a frame of its own
    pub fn woken(&mut self, module: &Module, woken: &Woken, passive: &Passive) {
        let again = self.retry.take(clock::now());
        if let Some(watch) = self.watch.as_mut().filter(|_| woken.event) {
            watch.told();
        }
        if (again || woken.event || woken.reasons.contains(Reasons::SETTINGS))
            && !self.follow(module, passive)
        {
            self.retry.plan(clock::now());
        }
    }

    /// Requests the next notification and then reads the settings, so that no change is missed. False if either
    /// failed.
    fn follow(&mut self, module: &Module, passive: &Passive) -> bool {
        for _ in 0..AT_ONCE {
            if self.watch.is_none() {
                self.watch = Watch::open(&module.texts.registry_path, passive);
            }
            let armed = self.watch.as_mut().map_or(Armed::Refused, |watch| watch.arm(passive));
            let read = reload(module, false, passive);
            match armed {
                Armed::AtOnce => {}
                Armed::Pending => return read.is_ok(),
                Armed::Refused => {
                    self.watch = None;
                    return false;
                }
            }
        }
        false
    }
}

/// A value of a key that may be missing.
#[inline(never)] // a frame of its own
fn number(key: &Option<Key>, name: &str, passive: &Passive) -> Result<Value, Unreadable> {
    key.as_ref().map_or(Ok(Value::Missing), |key| key.number(name, passive))
}

/// Reads the settings; pushes an event for each value that is ignored.
#[inline(never)] // not below what the publishing needs
fn read(module: &Module, passive: &Passive) -> Result<Settings, Unreadable> {
    let key = |path: fn(&SettingsPaths) -> &[u16]| match module.texts.settings_paths.get() {
        Some(paths) => Key::open(path(paths), passive),
        None => Ok(None),
    };
    let (own, common) = (key(|paths| &paths.own)?, key(|paths| &paths.common)?);
    let mut all_read = Ok(());
    let mut issues = Issues::new();
    let look_up = |setting: &Setting| {
        let mut value = |key| {
            number(key, setting.name, passive).unwrap_or_else(|unreadable| {
                all_read = Err(unreadable);
                Value::Missing
            })
        };
        match (value(&own), value(&common)) {
            (Value::Number(number), _) | (Value::Missing, Value::Number(number)) => Lookup::Value(number),
            (Value::OtherType, _) | (Value::Missing, Value::OtherType) => Lookup::WrongType,
            (Value::Missing, Value::Missing) => Lookup::Missing,
        }
    };
    let mut settings = Settings::read_into(look_up, &mut issues);
    all_read?;
    // The clock moves in steps: a bucket may have been used one step later than its time stamp.
    if settings.flowlet_gap != Ticks::ZERO {
        settings.flowlet_gap = settings.flowlet_gap.saturating_add(clock::granularity());
    }
    for issue in &issues {
        let setting = SETTINGS.iter().position(|s| s.name == issue.setting.name).unwrap_or(SETTINGS.len());
        let setting = u8::try_from(setting).unwrap_or(u8::MAX);
        let value = match issue.problem {
            Problem::WrongType => None,
            Problem::OutOfRange(value) | Problem::NotInMode(value, _) => Some(value),
        };
        let event = Event::SettingIgnored { setting, value, used: issue.used() };
        events::tell(module, event);
    }
    Ok(settings)
}
