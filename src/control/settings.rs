//! Settings from the registry: `Parameters` holds them for all switches, `Parameters\Switches\{switch}` for one. A
//! change is heard of by a notification and takes effect without a pause, like any other change of a decision.

use crate::clock;
use crate::control::failover;
use crate::kernel::registry::{Key, Value, Watch};
use crate::module::{Module, SettingsPaths};
use crate::ndis::irql::Passive;
use crate::ndis::status::NdisStatus;
use crate::trace::Event;
use teaming::ids::Ticks;
use teaming::settings::{Lookup, Problem, SETTINGS, Settings};

/// Reads the settings for the switch of this name, and watches them from now on. At the first restart; once more if
/// that one failed later.
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

/// Reads the settings and publishes them.
#[inline(never)] // a frame of its own
pub fn reload(module: &Module, passive: &Passive) {
    let settings = read(module, passive);
    failover::settings(module, &settings);
}

/// Reads the settings and tells what of them is ignored.
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
    // The clock moves in steps: a bucket may have been used a step later than its stamp says.
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
