//! Access to the driver's own state, for tests that compare it with the switch and the registry.

use lbfoext::module::Module;
use teaming::forward::counters::Counters;
use teaming::ids::{MEMBERS, MemberIndex};
use teaming::report::Report;
use teaming::status::{TeamStatus, team_names};
use vswitch::scenario::Net;

/// Calls `look` with the module of this switch, on a simulated thread; `None` if none is attached. Native runs only.
pub fn look<R: Send>(net: &Net, look: impl FnOnce(&Module) -> R + Send) -> Option<R> {
    let switch = net.switch();
    let context = net.look(move |state| state.modules[switch].context).filter(|context| *context != 0)?;
    let look = move || {
        // SAFETY: the context is the module of the natively linked driver; it stays attached, because only the calling
        // test detaches it.
        look(unsafe { &*(context as *const Module) })
    };
    net.world().enter(look).ok()
}

/// The status of the team as `teamctl show` prints it, with the names that the driver knows and all counters of packets 0.
pub fn report(net: &Net) -> String {
    let told = |module: &Module| {
        let control = module.control.lock();
        let forwarding = module.forwarding.read();
        let mut numbers = Vec::new();
        let status = TeamStatus {
            settings: &control.settings,
            team: &control.team,
            forwarding: &forwarding,
            counters: &Counters::ZERO,
            resources: &control.resources,
            queue_fallbacks: control.default_queue_fallbacks,
            told: control.announcer.told,
            events: &control.events,
            now: lbfoext::clock::now(),
        };
        status.write(&mut |number| numbers.push(number));
        let name = |slot| control.team.member(MemberIndex::from_slot(slot).expect("a slot")).name.to_string();
        (numbers, (0..MEMBERS).map(name).collect::<Vec<_>>())
    };
    let (numbers, names) = look(net, told).expect("it is attached");
    let fields = team_names();
    assert_eq!(numbers.len(), fields.len());
    let number = |field: &str| Some(numbers[fields.iter().position(|(name, _)| name == field)?]);
    let name = |index: u16| Some(names[usize::from(index) - 1].clone());
    Report { switch: "of the test", number: &number, name: &name }.to_string()
}

/// Buckets whose home each member is, by slot.
pub fn homes(net: &Net) -> [u16; MEMBERS] {
    let count = |module: &Module| {
        let mut homes = [0_u16; MEMBERS];
        let control = module.control.lock();
        for home in control.team.home().iter().copied().filter_map(MemberIndex::new) {
            homes[home.slot()] += 1;
        }
        homes
    };
    look(net, count).expect("it is attached")
}
