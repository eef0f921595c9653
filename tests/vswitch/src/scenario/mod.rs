//! The interface for tests: describe a switch, start it, send frames, change it, and read the outcome.
//!
//! ```
//! # use vswitch::scenario::Scenario;
//! let net = Scenario::new(1).members(&[10, 10]).vms(2).start();
//! net.send(net.vm(0), &[net.flow(net.vm(0), 1).frame(1, 100)]);
//! net.fail(1);
//! net.finish().assert_clean();
//! ```

pub mod frames;
pub mod guest;
pub mod migration;
pub mod outcome;
pub mod suite;

mod life;
mod net;
mod offload;
mod outside;
mod policies;
mod recovery;
mod saved;

pub use net::{Body, Net, unknown_request};
pub use offload::CAPABILITY_CODES;

use crate::adapter::capabilities::Capabilities;
use crate::adapter::network::Layout;
use crate::adapter::of_instance;
use crate::adapter::physical_switch::Aggregation;
use crate::machine::clock;
use crate::machine::driver_object::DriverEntry;
use crate::machine::etw::Session;
use crate::machine::registry::{SERVICES, Value};
use crate::machine::world::{Config, Mode, World};
use crate::switch::control::below::LinkAnswers;
use crate::switch::control::payload;
use crate::switch::ndis::Style;
use crate::switch::ndis::adversity::Adversities;
use crate::switch::ndis::driver::{Installed, Role};
use crate::switch::ndis::with;
use crate::switch::ports::policy::Property;
use lbfoext::ndis::raw::{FAILURE, NOT_SUPPORTED};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How the extension learns that a member's link failed or returned.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Indication {
    /// A status indication names the member.
    PerMember,
    /// A status indication names only the team; the extension must query the members.
    TeamOnly,
    /// No status indication; only queries are answered.
    SilentUntilAsked,
    /// Nobody is told, and adapters do not answer: the operating system's interface table alone knows.
    Nothing,
}

/// How the extension learns of ports and NICs that exist when it starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Enumeration {
    /// From the arrays.
    Arrays,
    /// The switch is empty at first; ports and NICs are created by requests.
    Requests,
    /// Some are in the arrays, some are created while the arrays are read, some by requests, some by both.
    Mixed,
}

/// When the switch becomes active.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    BeforeAttach,
    /// NetEventSwitchActivate while the module is still paused.
    WhilePaused,
    /// NetEventSwitchActivate while the module runs.
    WhileRunning,
    /// Only when the test calls for it.
    Never,
}

pub const EXTERNAL_PORT: u32 = 1;
const FIRST_INTERNAL_PORT: u32 = 2;
/// The port of the first guest; those of the others follow.
pub const FIRST_VM_PORT: u32 = 10;
/// Virtual time after which every delayed completion of a scenario has happened.
const LONG: u64 = 60 * clock::SECOND;

/// The description of a switch.
#[derive(Clone)]
pub struct Scenario {
    config: Config,
    /// Index and speed in Gbit/s of each member.
    members: Vec<(u16, u64)>,
    vms: u16,
    internal: u16,
    switches: usize,
    /// Members and number of guests of switches that differ from the first.
    hosts: BTreeMap<usize, (Vec<(u16, u64)>, u16)>,
    /// Speeds in bit/s of the members of a switch, in their order; of those that are missing Gbit/s count.
    exact_speeds: BTreeMap<usize, Vec<u64>>,
    host_settings: Vec<(usize, String, Value)>,
    aggregation: Aggregation,
    layout: Option<Layout>,
    settings: Vec<(String, Value)>,
    indication: Indication,
    enumeration: Enumeration,
    activation: Activation,
    style: Style,
    entry: DriverEntry,
    installed: Installed,
    latency: (u64, u64),
    attach_inside: bool,
    ordinary_stack: bool,
    tear_down: Option<bool>,
    detach_in_passing: Option<bool>,
    /// The capabilities of each adapter; drawn from the seed if `None`.
    abilities: Option<Arc<dyn Fn(u16) -> Capabilities + Send + Sync>>,
    port_plan: BTreeMap<u32, Vec<Property>>,
    vm_of_port: BTreeMap<u32, u32>,
    created_only: Vec<u32>,
    traced: bool,
}

impl Scenario {
    pub fn new(seed: u64) -> Self {
        Self {
            config: Config { seed, ..Config::default() },
            members: vec![(1, 10), (2, 10)],
            vms: 2,
            internal: 0,
            switches: 1,
            hosts: BTreeMap::new(),
            exact_speeds: BTreeMap::new(),
            host_settings: Vec::new(),
            aggregation: Aggregation::Static,
            layout: None,
            settings: Vec::new(),
            indication: Indication::PerMember,
            enumeration: Enumeration::Arrays,
            activation: Activation::BeforeAttach,
            style: Style { adversities: Adversities::drawn(seed), ..Style::default() },
            entry: lbfoext::entry::driver_entry,
            installed: Installed::default(),
            latency: (50, 20),
            attach_inside: seed.is_multiple_of(2),
            ordinary_stack: false,
            tear_down: None,
            detach_in_passing: None,
            abilities: Some(Arc::new(|_| Capabilities::default())),
            port_plan: BTreeMap::new(),
            vm_of_port: BTreeMap::new(),
            created_only: Vec::new(),
            traced: seed % 4 == 1,
        }
        .setting("TeamingMode", Value::Dword(0))
        .setting("LoadBalancingAlgorithm", Value::Dword(0))
    }

    /// Members with indices from 1, by speed in Gbit/s.
    pub fn members(self, gigabits: &[u64]) -> Self {
        let all: Vec<(u16, u64)> = (1..).zip(gigabits.iter().copied()).collect();
        self.members_at(&all)
    }

    /// Sets the capabilities of each adapter, by index.
    pub fn abilities(mut self, of: impl Fn(u16) -> Capabilities + Send + Sync + 'static) -> Self {
        self.abilities = Some(Arc::new(of));
        self
    }

    /// Draws the adapters' capabilities from the seed.
    pub fn random_abilities(mut self) -> Self {
        self.abilities = None;
        self
    }

    /// Members with these indices and speeds in Gbit/s.
    pub fn members_at(mut self, members: &[(u16, u64)]) -> Self {
        self.members = members.to_vec();
        self
    }

    pub fn vms(mut self, count: u16) -> Self {
        self.vms = count;
        self
    }

    /// Number of NICs of the management OS.
    pub fn internal(mut self, count: u16) -> Self {
        self.internal = count;
        self
    }

    /// A property that a guest's port has from its creation.
    pub fn property(self, vm: u16, property: Property) -> Self {
        self.port_property(FIRST_VM_PORT + u32::from(vm), property)
    }

    /// A property that the port of a management OS NIC has from its creation.
    pub fn internal_property(self, n: u16, property: Property) -> Self {
        self.port_property(FIRST_INTERNAL_PORT + u32::from(n), property)
    }

    /// A property that a port has from its creation.
    pub fn port_property(mut self, port: u32, property: Property) -> Self {
        self.port_plan.entry(port).or_default().push(property);
        self
    }

    /// The guest's NIC is created but not connected.
    pub fn created_only(mut self, vm: u16) -> Self {
        self.created_only.push(FIRST_VM_PORT + u32::from(vm));
        self
    }

    /// The properties that ports have from their creation.
    pub fn port_properties(&self) -> impl Iterator<Item = (u32, &Vec<Property>)> {
        self.port_plan.iter().map(|(port, all)| (*port, all))
    }

    /// The NICs of these guests belong to one VM.
    pub fn one_vm(mut self, vms: &[u16]) -> Self {
        let first = vms.first().map_or(0, |vm| FIRST_VM_PORT + u32::from(*vm));
        self.vm_of_port.extend(vms.iter().map(|vm| (FIRST_VM_PORT + u32::from(*vm), first)));
        self
    }

    /// Number of switch instances; all have the same ports.
    pub fn switches(mut self, count: usize) -> Self {
        self.switches = count;
        self
    }

    /// Makes a switch another host, with its own members (index and Gbit/s) and number of guests.
    pub fn host(mut self, switch: usize, members: &[(u16, u64)], vms: u16) -> Self {
        self.switches = self.switches.max(switch + 1);
        self.hosts.insert(switch, (members.to_vec(), vms));
        self
    }

    /// The speeds of a switch's members in bit/s, for those that are no whole number of Gbit/s.
    pub fn bits_per_second(mut self, switch: usize, speeds: &[u64]) -> Self {
        self.exact_speeds.insert(switch, speeds.to_vec());
        self
    }

    /// A registry value for one switch only.
    pub fn host_setting(mut self, switch: usize, name: &str, value: Value) -> Self {
        self.host_settings.push((switch, name.to_owned(), value));
        self
    }

    fn members_of(&self, switch: usize) -> &[(u16, u64)] {
        self.hosts.get(&switch).map_or(&self.members, |(members, _)| members)
    }

    /// The speed in bit/s of the member at this place, if it is not said in Gbit/s.
    fn exact_speed(&self, switch: usize, place: usize) -> Option<u64> {
        self.exact_speeds.get(&switch)?.get(place).copied()
    }

    fn vms_of(&self, switch: usize) -> u16 {
        self.hosts.get(&switch).map_or(self.vms, |(_, vms)| *vms)
    }

    /// Whether the physical switches aggregate the ports; the team's mode is set accordingly.
    pub fn aggregation(mut self, aggregation: Aggregation) -> Self {
        self.aggregation = aggregation;
        let mode = u32::from(aggregation == Aggregation::SwitchIndependent);
        let policy = if aggregation == Aggregation::SwitchIndependent { 4 } else { 0 };
        self.setting("TeamingMode", Value::Dword(mode))
            .setting("LoadBalancingAlgorithm", Value::Dword(policy))
    }

    /// Simulates the physical network behind the members. Without one, nothing comes from outside but what the test sends.
    pub fn network(mut self, layout: Layout) -> Self {
        self.layout = Some(layout);
        self
    }

    /// A value under the service's `Parameters` key.
    pub fn setting(mut self, name: &str, value: Value) -> Self {
        self.settings.retain(|(known, _)| known != name);
        if name == "OffloadPlacement" {
            self.style.unique_ids = value == Value::Dword(1);
            self.style.copies = value == Value::Dword(2);
        }
        if let (Value::Dword(mask), "LinkLocalForwardMask") = (&value, name) {
            self.style.link_local = Some(*mask);
        }
        if name == "PruneMulticast" {
            self.style.prunes = Some(value == Value::Dword(1));
        }
        self.settings.push((name.to_owned(), value));
        self
    }

    pub fn indication(mut self, indication: Indication) -> Self {
        self.indication = indication;
        if indication == Indication::Nothing {
            let seed = self.config.seed;
            let answers =
                [LinkAnswers::Status(NOT_SUPPORTED), LinkAnswers::Unknown, LinkAnswers::Status(FAILURE)];
            self.style.link_answers = answers[(seed % 3) as usize];
        }
        self
    }

    pub fn enumeration(mut self, enumeration: Enumeration) -> Self {
        self.enumeration = enumeration;
        self
    }

    pub fn activation(mut self, activation: Activation) -> Self {
        self.activation = activation;
        self
    }

    /// Changes the style: the choices of the switch where the documentation leaves one.
    pub fn style(mut self, change: impl FnOnce(&mut Style)) -> Self {
        change(&mut self.style);
        self
    }

    /// Latency of the members and its largest variation, in units of 100 ns.
    pub fn latency(mut self, fixed: u64, varying: u64) -> Self {
        self.latency = (fixed, varying);
        self
    }

    pub fn driver(mut self, entry: DriverEntry) -> Self {
        self.entry = entry;
        self
    }

    /// Uses another extension than the product: its service name and its role.
    pub fn installed(mut self, service: &str, role: Role) -> Self {
        self.installed = Installed { service: service.to_owned(), role };
        self
    }

    /// Whether FilterAttach is called during the registration or after DriverEntry.
    pub fn attach_inside(mut self, inside: bool) -> Self {
        self.attach_inside = inside;
        self
    }

    /// Adds a stack that is not an extensible switch.
    pub fn ordinary_stack(mut self) -> Self {
        self.ordinary_stack = true;
        self
    }

    /// Whether a trace session reads all that the extension writes; otherwise the seed says.
    pub fn traced(mut self, traced: bool) -> Self {
        self.traced = traced;
        self
    }

    /// Whether ports and NICs are deleted before the module is detached; otherwise the seed decides.
    pub fn tear_down(mut self, first: bool) -> Self {
        self.tear_down = Some(first);
        self
    }

    /// Whether the scenario ends in the middle of everything, while time passes; otherwise the seed says.
    pub fn detach_in_passing(mut self, in_passing: bool) -> Self {
        self.detach_in_passing = Some(in_passing);
        self
    }

    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    pub fn seed(&self) -> u64 {
        self.config.seed
    }

    /// The fallible call that fails.
    pub fn fault(&self) -> Option<u64> {
        self.config.fault
    }

    /// The yield point at which a module is detached.
    pub fn point(&self) -> Option<u64> {
        self.config.point
    }

    /// Whether the driver is linked into this program, not loaded from an image.
    pub fn is_native(&self) -> bool {
        std::ptr::fn_addr_eq(self.entry, lbfoext::entry::driver_entry as DriverEntry)
    }

    /// The service name of an extension other than the product.
    pub fn witness(&self) -> Option<&str> {
        (self.installed != Installed::default()).then_some(&*self.installed.service)
    }

    pub fn free_threads(self) -> Self {
        self.config(|c| c.mode = Mode::Free)
    }

    /// Loads the driver, attaches it and restarts the module.
    pub fn start(self) -> Net {
        let world = World::new(self.config.clone());
        hooks(&world);
        world.read_traces(self.traced.then_some(Session::EVERYTHING));
        let path = format!("{SERVICES}\\{}", self.installed.service);
        world.registry_create(&path);
        for (name, value) in &self.settings {
            world.registry_set(&format!("{path}\\Parameters"), name, value.clone());
        }
        for (switch, name, value) in &self.host_settings {
            let own = format!("{path}\\Parameters\\Switches\\{}", payload::switch_name(*switch));
            world.registry_create(&own);
            world.registry_set(&own, name, value.clone());
        }
        let net = Net(Arc::new(Running { world: Arc::clone(&world), plan: self }), 0);
        let starting = net.clone();
        let _ = world.enter(move || {
            starting.detach_at_its_point();
            starting.bring_up();
        });
        net
    }
}

fn hooks(world: &Arc<World>) {
    world.on_wait(crate::check::requests::waiting);
    world.on_show(crate::switch::shown::show);
    world.on_leave(crate::inject::holds_lock);
    world.on_yield(|_| {
        let world = crate::machine::world::current();
        let mut state = world.part::<crate::switch::ndis::Switch>().lock();
        if !state.flickering.is_empty() {
            state.flicker();
        }
    });
    world.provide_interfaces(|world, id| {
        let (module, number) = of_instance(id)?;
        let mut state = world.part::<crate::switch::ndis::Switch>().lock();
        let external = &mut state.modules.get_mut(module)?.external;
        let (row, came_up) = external.interface(external.index_of(number)?, id)?;
        if came_up {
            state.flows.a_member_came_up();
        }
        Some(row)
    });
    world.on_mapping(|mdl, mapped| {
        with(|_, state| {
            if mapped && !state.mapping_trouble {
                return;
            }
            for packet in state.packets.all_mut() {
                if packet.built.as_ref().is_some_and(|built| built.mdls.contains(&mdl)) {
                    packet.mapping_failed = !mapped;
                    packet.fault |= !mapped;
                    state.mapping_trouble = true;
                    return;
                }
            }
        });
    });
}

struct Running {
    world: Arc<World>,
    plan: Scenario,
}
