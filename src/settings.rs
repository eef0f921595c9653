//! Settings from the registry: `Parameters` holds them for all switches, `Parameters\Switches\{switch}` for one. A
//! change is heard of by a notification and takes effect without a pause, like any other change of a decision.

use crate::filter::Module;
use crate::kernel::registry::{Key, Value, Watch};
use crate::ndis::irql::Passive;
use crate::trace::Event;
use crate::{clock, publish, text};
use teaming::ids::Ticks;
use teaming::settings::{Lookup, SETTINGS, Settings};

type Path = heapless::Vec<u16, 512>;

const PARAMETERS: &[u16] = &text::utf16(br"\Parameters");
const SWITCHES: &[u16] = &text::utf16(br"\Switches\");

/// Reads the settings for the switch of this name, and watches them from now on.
pub fn load(module: &Module, switch_name: &[u16], passive: &Passive) {
    module.control.lock().switch_name = switch_name.iter().copied().collect();
    reload(module, passive);
    if let Some(key) = parameters(module).and_then(|path| Key::open(&path, passive)) {
        Watch::start(module, key, passive);
    }
}

/// Reads the settings and publishes them.
pub fn reload(module: &Module, passive: &Passive) {
    let switch_name = module.control.lock().switch_name.clone();
    let common = parameters(module);
    let own = common.clone().and_then(|mut path| {
        path.extend_from_slice(SWITCHES).ok()?;
        path.extend_from_slice(&switch_name).ok()?;
        Key::open(&path, passive)
    });
    let common = common.and_then(|path| Key::open(&path, passive));
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
        let event = Event::SettingIgnored { setting, used: issue.used };
        module.control.lock().events.push(clock::now(), event);
    }
    publish::settings(module, &settings);
}

fn parameters(module: &Module) -> Option<Path> {
    let mut path = Path::from_slice(&module.registry_path).ok()?;
    path.extend_from_slice(PARAMETERS).ok()?;
    Some(path)
}
