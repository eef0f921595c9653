//! Settings from the registry: `Parameters` holds them for all switches, `Parameters\Switches\{switch}` overrides them
//! for one. A registry notification reports changes, which take effect without pausing the module.

use crate::clock;
use crate::control::failover;
use crate::kernel::registry::{Key, Value, Watch};
use crate::module::{Module, SettingsPaths};
use crate::ndis::irql::Passive;
use crate::ndis::status::NdisStatus;
use crate::trace::Event;
use teaming::ids::Ticks;
use teaming::settings::{Lookup, Problem, SETTINGS, Settings};

/// Reads the settings and begins to watch them. Called by the first restart, and again if that restart failed
/// afterwards. `switch_name` is the switch's GUID in UTF-16, little-endian bytes. PASSIVE_LEVEL, no lock held.
///
/// # Errors
///
/// NDIS_STATUS_RESOURCES if the paths of the keys cannot be allocated. A key or value that cannot be read takes its
/// default.
pub fn load(module: &Module, switch_name: &[u8], passive: &Passive) -> Result<(), NdisStatus> {
    let paths = match module.settings_paths.get() {
        Some(paths) => paths,
        None => {
            module.settings_paths.set(SettingsPaths::try_new(&module.texts.registry_path, switch_name)?)?
        }
    };
    reload(module, passive);
    if let Some(key) = Key::open(&paths.common, passive) {
        Watch::start(module, key, passive);
    }
    Ok(())
}

/// Reads the settings and applies them. PASSIVE_LEVEL, no lock held.
#[inline(never)] // a frame of its own
pub fn reload(module: &Module, passive: &Passive) {
    let settings = read(module, passive);
    failover::settings(module, &settings);
}

/// Reads the settings; pushes an event for each value that is ignored.
#[inline(never)] // not below what the publishing needs
fn read(module: &Module, passive: &Passive) -> Settings {
    let key = |path: fn(&SettingsPaths) -> &[u16]| {
        module.settings_paths.get().and_then(|p| Key::open(path(p), passive))
    };
    let (own, common) = (key(|paths| &paths.own), key(|paths| &paths.common));
    let (mut settings, issues) = Settings::read(|setting| {
        let value =
            |key: &Option<Key>| key.as_ref().map_or(Value::Missing, |key| key.number(setting.name, passive));
        match (value(&own), value(&common)) {
            (Value::Number(number), _) | (Value::Missing, Value::Number(number)) => Lookup::Value(number),
            (Value::OtherType, _) | (Value::Missing, Value::OtherType) => Lookup::WrongType,
            (Value::Missing, Value::Missing) => Lookup::Missing,
        }
    });
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
        let event = Event::SettingIgnored { setting, value, used: issue.used };
        module.control.lock().events.push(clock::now(), event);
    }
    settings
}
