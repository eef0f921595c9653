//! The face that tests use: describe a switch, start it, send, break, mend, and read the outcome.
//!
//! ```
//! # use vswitch::scenario::Scenario;
//! let net = Scenario::new(1).members(&[10, 10]).vms(2).start();
//! net.send(net.vm(0), &[net.flow(net.vm(0), 1).frame(1, 100)]);
//! net.fail(1);
//! net.finish().assert_clean();
//! ```

use crate::adapter::{Adapter, GIGABIT};
use crate::clock;
use crate::control::{self, Answer, Ask, lifecycle, status};
use crate::cpu;
use crate::fault;
use crate::guest::{self, Flow, Packet};
use crate::memory::Kind;
use crate::ndis::driver::{self, Entry};
use crate::ndis::{Life, State, Style, edges, leaks, module as life, with};
use crate::outcome::Outcome;
use crate::physical_switch::Aggregation;
use crate::ports::{Mac, NicId, NicKind};
use crate::registry::{SERVICES, Value};
use crate::world::{Config, Mode, World};
use lbfoext::ndis::raw::{SUCCESS, request_type};
use std::collections::BTreeMap;
use std::sync::Arc;

/// How the loss and return of a member's link reach the extension.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Indication {
    /// A status names the member.
    PerMember,
    /// A status names only the team; whoever wants to know more asks.
    TeamOnly,
    /// Nobody is told; whoever asks is answered.
    SilentUntilAsked,
}

/// How the extension gets to know ports and NICs that exist when it starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Enumeration {
    /// They are in the arrays.
    Arrays,
    /// The switch is empty at first; requests announce everything.
    Requests,
    /// Some are in the arrays, some appear while the arrays are read, some come by requests, some by both.
    Mixed,
}

/// When the switch becomes active.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Activation {
    BeforeAttach,
    /// An event tells the module while it is still paused.
    WhilePaused,
    /// An event tells the module while it runs.
    WhileRunning,
    /// Not before the test says so.
    Never,
}

pub const EXTERNAL_PORT: u32 = 1;
const FIRST_INTERNAL_PORT: u32 = 2;
const FIRST_VM_PORT: u32 = 10;
/// What a station or a cable's far end is told to wait for things to be over.
const LONG: u64 = 60 * clock::SECOND;

/// A switch to be.
#[derive(Clone)]
pub struct Scenario {
    config: Config,
    /// Index and gigabits per second of each member.
    members: Vec<(u16, u64)>,
    vms: u16,
    internal: u16,
    switches: usize,
    aggregation: Aggregation,
    settings: Vec<(String, Value)>,
    indication: Indication,
    enumeration: Enumeration,
    activation: Activation,
    style: Style,
    entry: Entry,
    latency: (u64, u64),
    attach_inside: bool,
    ordinary_stack: bool,
    tear_down: Option<bool>,
}

impl Scenario {
    pub fn new(seed: u64) -> Self {
        Self {
            config: Config { seed, ..Config::default() },
            members: vec![(1, 10), (2, 10)],
            vms: 2,
            internal: 0,
            switches: 1,
            aggregation: Aggregation::Static,
            settings: Vec::new(),
            indication: Indication::PerMember,
            enumeration: Enumeration::Arrays,
            activation: Activation::BeforeAttach,
            style: Style::default(),
            entry: lbfoext::entry::driver_entry,
            latency: (50, 20),
            attach_inside: seed.is_multiple_of(2),
            ordinary_stack: false,
            tear_down: None,
        }
        .setting("TeamingMode", Value::Dword(0))
        .setting("LoadBalancingAlgorithm", Value::Dword(0))
    }

    /// Members with indexes from 1, by gigabits per second.
    pub fn members(self, gigabits: &[u64]) -> Self {
        let all: Vec<(u16, u64)> = (1..).zip(gigabits.iter().copied()).collect();
        self.members_at(&all)
    }

    /// Members with these indexes and gigabits per second.
    pub fn members_at(mut self, members: &[(u16, u64)]) -> Self {
        self.members = members.to_vec();
        self
    }

    pub fn vms(mut self, count: u16) -> Self {
        self.vms = count;
        self
    }

    /// Adapters of the management OS.
    pub fn internal(mut self, count: u16) -> Self {
        self.internal = count;
        self
    }

    /// Switch instances; all have the same ports.
    pub fn switches(mut self, count: usize) -> Self {
        self.switches = count;
        self
    }

    /// The physical switches aggregate, and the team is static; or neither.
    pub fn aggregation(mut self, aggregation: Aggregation) -> Self {
        self.aggregation = aggregation;
        let mode = u32::from(aggregation == Aggregation::SwitchIndependent);
        let policy = if aggregation == Aggregation::SwitchIndependent { 4 } else { 0 };
        self.setting("TeamingMode", Value::Dword(mode)).setting("LoadBalancingAlgorithm", Value::Dword(policy))
    }

    /// A value under the service's `Parameters` key.
    pub fn setting(mut self, name: &str, value: Value) -> Self {
        self.settings.retain(|(known, _)| known != name);
        self.settings.push((name.to_owned(), value));
        self
    }

    pub fn indication(mut self, indication: Indication) -> Self {
        self.indication = indication;
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

    /// Changes how unkindly the switch behaves.
    pub fn style(mut self, change: impl FnOnce(&mut Style)) -> Self {
        change(&mut self.style);
        self
    }

    /// Latency of the members, and the most that it varies, in 100 ns units.
    pub fn latency(mut self, fixed: u64, varying: u64) -> Self {
        self.latency = (fixed, varying);
        self
    }

    pub fn driver(mut self, entry: Entry) -> Self {
        self.entry = entry;
        self
    }

    /// FilterAttach comes from inside registration, or after DriverEntry.
    pub fn attach_inside(mut self, inside: bool) -> Self {
        self.attach_inside = inside;
        self
    }

    /// One more stack that is no extensible switch.
    pub fn ordinary_stack(mut self) -> Self {
        self.ordinary_stack = true;
        self
    }

    /// Whether ports and NICs are taken apart before the module detaches; otherwise the seed says.
    pub fn tear_down(mut self, first: bool) -> Self {
        self.tear_down = Some(first);
        self
    }

    pub fn config(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    pub fn free_threads(self) -> Self {
        self.config(|c| c.mode = Mode::Free)
    }

    /// Loads the driver, attaches it and lets it run.
    pub fn start(self) -> Net {
        let world = World::new(self.config.clone());
        hooks(&world);
        let path = format!("{SERVICES}\\{}", driver::SERVICE);
        world.registry_create(&path);
        for (name, value) in &self.settings {
            world.registry_set(&format!("{path}\\Parameters"), name, value.clone());
        }
        let net = Net(Arc::new(Running { world: Arc::clone(&world), plan: self }), 0);
        let starting = net.clone();
        let _ = world.enter(move || starting.bring_up());
        net
    }
}

fn hooks(world: &Arc<World>) {
    world.on_yield(|_| {
        let world = crate::world::current();
        let mut state = world.part::<crate::ndis::Switch>().lock();
        if !state.flickering.is_empty() {
            state.flicker();
        }
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

/// A running switch. Clones are handles to the same one.
#[derive(Clone)]
pub struct Net(Arc<Running>, usize);

impl Net {
    fn plan(&self) -> &Scenario {
        &self.0.plan
    }

    pub fn world(&self) -> &Arc<World> {
        &self.0.world
    }

    /// The same, speaking of another switch instance.
    pub fn on(&self, switch: usize) -> Self {
        Self(Arc::clone(&self.0), switch)
    }

    /// Runs the closure on a simulated thread; nothing if the machine has stopped.
    fn inside<R: Send>(&self, body: impl FnOnce() -> R + Send) -> Option<R> {
        self.world().enter(body).ok()
    }

    // Names.

    /// Guest `n`, from 0.
    pub fn vm(&self, n: u16) -> NicId {
        NicId::new(FIRST_VM_PORT + u32::from(n), 0)
    }

    pub fn internal(&self, n: u16) -> NicId {
        NicId::new(FIRST_INTERNAL_PORT + u32::from(n), 0)
    }

    /// The physical adapter with this index.
    pub fn member(&self, index: u16) -> NicId {
        NicId::new(EXTERNAL_PORT, index)
    }

    pub fn mac(&self, nic: NicId) -> Mac {
        match nic.port {
            EXTERNAL_PORT => [0x02, 0xEE, 0, 0, 0, u8::try_from(nic.index).unwrap_or(0)],
            port if port >= FIRST_VM_PORT => guest::vm_mac(u16::try_from(port - FIRST_VM_PORT).unwrap_or(0)),
            port => guest::internal_mac(u16::try_from(port - FIRST_INTERNAL_PORT).unwrap_or(0)),
        }
    }

    /// Conversation `n` from a NIC to a host beyond the physical switches.
    pub fn flow(&self, from: NicId, n: u16) -> Flow {
        Flow::new(self.mac(from), guest::host_mac(n), n)
    }

    /// Conversation `n` between two NICs.
    pub fn flow_between(&self, from: NicId, to: NicId, n: u16) -> Flow {
        Flow::new(self.mac(from), self.mac(to), n)
    }

    /// Conversation `n` from a host beyond the physical switches to a NIC.
    pub fn flow_from_outside(&self, to: NicId, n: u16) -> Flow {
        Flow::new(guest::host_mac(n), self.mac(to), n)
    }

    // Packets.

    /// Sends frames as one chain, each in its own list.
    pub fn send(&self, from: NicId, frames: &[Vec<u8>]) {
        self.send_packets(frames.iter().map(|f| (from, Packet::of(f.clone()))).collect());
    }

    /// Sends a chain of lists, which may come from several sources.
    pub fn send_packets(&self, chain: Vec<(NicId, Packet)>) {
        let module = self.1;
        self.inside(move || guest::send(module, chain));
    }

    /// Frames come in through a member.
    pub fn receive_from_outside(&self, member: u16, frames: &[Vec<u8>]) {
        let module = self.1;
        let source = self.member(member);
        let chain: Vec<_> = frames.iter().map(|f| (source, Packet::of(f.clone()))).collect();
        self.inside(move || {
            with(|_, state| {
                for (_, packet) in &chain {
                    let sender = packet.frames[0].get(6..12).and_then(|m| m.try_into().ok());
                    sender.into_iter().for_each(|mac| state.modules[module].outside.physical.host(mac));
                }
            });
            guest::send(module, chain);
        });
    }

    /// A frame for the team's side reaches the physical switches, which know or flood.
    pub fn from_the_network(&self, frame: &[u8]) {
        let module = self.1;
        let known = self.inside(|| {
            with(|_, state| {
                let outside = &state.modules[module].outside;
                let up: Vec<u16> = outside.adapters.values().filter(|a| a.link_up).map(|a| a.index).collect();
                let to: Option<Mac> = frame.get(..6).and_then(|m| m.try_into().ok());
                let port = to.and_then(|mac| outside.physical.port_of(mac)).filter(|p| up.contains(p));
                match (outside.physical.aggregation, port) {
                    (_, Some(port)) => vec![port],
                    (Aggregation::Static, None) => up.into_iter().take(1).collect(),
                    (Aggregation::SwitchIndependent, None) => up,
                }
            })
        });
        for member in known.unwrap_or_default() {
            self.receive_from_outside(member, &[frame.to_vec()]);
        }
    }

    pub fn cancel_send(&self, id: usize) {
        let module = self.1;
        self.inside(move || life::cancel_send(module, id));
    }

    // Links and adapters.

    /// The cable is pulled and, as the scenario says, somebody tells.
    pub fn fail(&self, member: u16) {
        self.pull(member);
        self.indicate(member, false);
    }

    pub fn restore(&self, member: u16) {
        self.plug(member);
        self.indicate(member, true);
    }

    /// The cable is pulled; nobody has told yet.
    pub fn pull(&self, member: u16) {
        self.set_link(member, false);
    }

    pub fn plug(&self, member: u16) {
        self.set_link(member, true);
    }

    fn set_link(&self, member: u16, up: bool) {
        let module = self.1;
        self.inside(move || {
            with(|world, state| {
                let State { modules, frames, .. } = state;
                let complaints = modules[module].outside.set_link(frames, member, up, world.now());
                modules[module].topology.changed();
                complaints.into_iter().for_each(|(rule, text)| world.violate(rule, text));
            });
        });
    }

    /// The link's state is indicated as the scenario says.
    pub fn indicate(&self, member: u16, up: bool) {
        let module = self.1;
        let id = self.member(member);
        let indication = self.plan().indication;
        self.inside(move || {
            let speed = with(|_, s| s.modules[module].outside.adapters.get(&member).map_or(0, |a| a.bits_per_second));
            let media = with(|world, _| world.chance(1, 3));
            let make = |from, up| {
                if media { status::Status::media(from, up) } else { status::Status::link(from, up, speed) }
            };
            match indication {
                Indication::PerMember => status::indicate_link(module, id, up, &make(id, up)),
                Indication::TeamOnly => {
                    let any = with(|_, s| s.modules[module].outside.adapters.values().any(|a| a.link_up));
                    status::indicate(module, &make(NicId::new(EXTERNAL_PORT, 0), any));
                }
                Indication::SilentUntilAsked => {}
            }
        });
    }

    /// Any status from below.
    pub fn status(&self, status: status::Status) {
        let module = self.1;
        self.inside(move || status::indicate(module, &status));
    }

    /// The member's NIC goes away: disconnected, then deleted.
    pub fn unplug(&self, member: u16) {
        let module = self.1;
        let id = self.member(member);
        self.inside(move || {
            lifecycle::disconnect(module, id);
            lifecycle::delete_nic(module, id);
        });
    }

    /// The member's NIC comes (back).
    pub fn replug(&self, member: u16) {
        let module = self.1;
        let (id, mac) = (self.member(member), self.mac(self.member(member)));
        let speed = self.plan().members.iter().find(|(i, _)| *i == member).map_or(10, |(_, g)| *g);
        let (latency, jitter) = self.plan().latency;
        self.inside(move || {
            with(|_, state| {
                let adapters = &mut state.modules[module].outside.adapters;
                adapters.entry(member).or_insert_with(|| Adapter::new(member, speed * GIGABIT, latency, jitter));
            });
            if lifecycle::create_nic(module, id, mac) {
                lifecycle::connect(module, id);
            }
        });
    }

    // Guests.

    /// A guest's port and NIC are created and connected.
    pub fn add_vm(&self, n: u16) {
        let module = self.1;
        let (id, mac) = (self.vm(n), self.mac(self.vm(n)));
        self.inside(move || bring(module, id, NicKind::Synthetic, mac));
    }

    /// A guest's NIC is disconnected and everything of it deleted.
    pub fn remove_vm(&self, n: u16) {
        let module = self.1;
        let id = self.vm(n);
        self.inside(move || remove(module, id));
    }

    /// A NIC is disconnected and stays.
    pub fn disconnect(&self, nic: NicId) {
        let module = self.1;
        self.inside(move || lifecycle::disconnect(module, nic));
    }

    /// A guest gets another address.
    pub fn readdress(&self, nic: NicId, mac: Mac) {
        let module = self.1;
        self.inside(move || lifecycle::update(module, nic, mac));
    }

    // Time and threads.

    pub fn advance(&self, by: u64) {
        let module = self.1;
        self.inside(move || {
            clock::advance(by);
            arrive(module);
        });
    }

    /// Everything that was put off happens; frames that left arrive.
    pub fn settle(&self) {
        let module = self.1;
        self.inside(move || {
            edges::drain(module);
            let until = with(|_, s| s.modules[module].outside.busy_until());
            clock::advance_to(until.max(clock::now()));
            arrive(module);
        });
    }

    pub fn now(&self) -> u64 {
        self.world().now()
    }

    /// Runs the bodies at the same time, each on a simulated thread and processor of its own.
    pub fn together(&self, bodies: Vec<(&'static str, Box<dyn FnOnce(&Net) + Send>)>) {
        let threads = bodies.into_iter().zip(0..).map(|((name, body), cpu)| {
            let net = self.clone();
            let body: Box<dyn FnOnce() + Send> = Box::new(move || body(&net));
            (name, cpu, body)
        });
        let _ = self.world().run(threads.collect());
    }

    // Control.

    /// A value of the service's `Parameters` key changes.
    pub fn set(&self, name: &str, value: Value) {
        let path = format!("{SERVICES}\\{}\\Parameters", driver::SERVICE);
        let (world, name) = (Arc::clone(self.world()), name.to_owned());
        self.inside(move || {
            world.registry_set(&path, &name, value);
            cpu::settle();
        });
    }

    pub fn pause(&self) {
        let module = self.1;
        self.inside(move || {
            if with(|_, s| s.life(module)) == Life::Running {
                life::pause(module);
            }
        });
    }

    pub fn restart(&self) -> bool {
        let module = self.1;
        self.inside(move || with(|_, s| s.life(module)) == Life::Paused && life::restart(module) == SUCCESS)
            .unwrap_or(false)
    }

    pub fn detach(&self) {
        let module = self.1;
        self.inside(move || stop(module));
    }

    /// Attaches again and restarts.
    pub fn attach(&self) -> bool {
        let module = self.1;
        self.inside(move || {
            let free = with(|_, s| s.life(module) == Life::Detached && s.driver.registered);
            free && life::attach(module) == SUCCESS && life::restart(module) == SUCCESS
        })
        .unwrap_or(false)
    }

    pub fn activate(&self) {
        let module = self.1;
        self.inside(move || {
            if is_attached(module) {
                life::activate(module);
            }
        });
    }

    pub fn net_event(&self, event: i32) {
        let module = self.1;
        self.inside(move || {
            if is_attached(module) {
                life::net_event(module, event);
            }
        });
    }

    /// Any request from above.
    pub fn ask(&self, ask: Ask) -> Option<Answer> {
        let module = self.1;
        // A module that failed to attach is asked nothing.
        self.inside(move || {
            let attached = with(|_, s| s.life(module)) != Life::Detached;
            attached.then(|| control::request(module, ask))
        })?
    }

    /// The next request from above that pends is cancelled.
    pub fn cancel_next(&self) {
        self.inside(|| with(|_, s| s.control.cancel_next = true));
    }

    pub fn is_running(&self) -> bool {
        let module = self.1;
        self.inside(move || with(|_, s| s.life(module)) == Life::Running).unwrap_or(false)
    }

    /// A look at the state, for what no other function tells.
    pub fn look<R: Send>(&self, look: impl FnOnce(&mut State) -> R + Send) -> Option<R> {
        self.inside(|| with(|_, state| look(state)))
    }

    // Beginning and end.

    fn bring_up(&self) {
        let plan = self.plan();
        with(|_, state| state.style = plan.style.clone());
        let active = plan.activation == Activation::BeforeAttach;
        let mut modules: Vec<usize> = (0..plan.switches).map(|_| life::add_module(true, active)).collect();
        for module in &modules {
            self.on(*module).lay_out();
        }
        if plan.ordinary_stack {
            modules.push(life::add_module(false, false));
        }
        if plan.attach_inside {
            with(|_, state| state.driver.attach_inside = modules.clone());
        }
        if driver::load(plan.entry) != SUCCESS {
            return;
        }
        for module in modules {
            let attached = if plan.attach_inside {
                with(|_, s| s.life(module)) == Life::Paused
            } else {
                life::attach(module) == SUCCESS
            };
            if attached {
                self.on(module).first_restart();
            }
        }
    }

    /// The adapters, and the ports and NICs that exist before the extension comes.
    fn lay_out(&self) {
        let module = self.1;
        let plan = self.plan();
        let (latency, jitter) = plan.latency;
        with(|_, state| {
            let outside = &mut state.modules[module].outside;
            outside.external_port = EXTERNAL_PORT;
            outside.physical.aggregation = plan.aggregation;
            for (index, gigabits) in &plan.members {
                outside.adapters.insert(*index, Adapter::new(*index, gigabits * GIGABIT, latency, jitter));
            }
        });
        if plan.enumeration == Enumeration::Requests {
            return;
        }
        let mut known = Vec::new();
        for (id, kind) in self.nics() {
            // The external port is there as a whole or not at all, as the switch keeps its order.
            let late = plan.enumeration == Enumeration::Mixed && kind != NicKind::External;
            if late && with(|world, _| world.chance(1, 2)) {
                self.appear_later(id, kind);
            } else {
                known.push((id, kind));
            }
        }
        for (id, kind) in known {
            bring(module, id, kind, self.mac(id));
        }
    }

    /// A NIC comes into being while the extension reads the array: in the array, by requests, or both.
    fn appear_later(&self, id: NicId, kind: NicKind) {
        let module = self.1;
        let mac = self.mac(id);
        let grows = with(|world, _| world.chance(1, 2));
        with(|_, state| {
            if grows {
                state.modules[module].growth.push_back(Box::new(move |_, s| s.appear(module, id, kind, mac)));
            } else {
                state.modules[module].meanwhile.push_back(Box::new(move || bring(module, id, kind, mac)));
            }
        });
    }

    fn first_restart(&self) {
        let module = self.1;
        let plan = self.plan();
        if with(|_, s| !s.modules[module].is_switch()) {
            return;
        }
        let early = plan.enumeration == Enumeration::Requests && with(|world, _| world.chance(1, 2));
        if early {
            self.announce_all();
        }
        if plan.activation == Activation::WhilePaused {
            life::activate(module);
        }
        if life::restart(module) != SUCCESS {
            return;
        }
        if plan.activation == Activation::WhileRunning {
            life::activate(module);
        }
        // What neither grew into an array nor came meanwhile is announced now; what grew is announced as well.
        let late: Vec<Box<dyn FnOnce() + Send>> = with(|world, state| {
            let m = &mut state.modules[module];
            let growth = std::mem::take(&mut m.growth);
            let meanwhile = std::mem::take(&mut m.meanwhile);
            growth.into_iter().for_each(|grow| grow(world, state));
            meanwhile.into_iter().collect()
        });
        late.into_iter().for_each(|step| step());
        if plan.enumeration != Enumeration::Arrays && !early {
            self.announce_all();
        }
        edges::drain(module);
        // Buckets that were assigned while only some members were known go home once they have been silent.
        clock::advance(100 * clock::MILLISECOND);
        with(|_, state| state.flows = crate::check::flows::Flows::default());
    }

    /// Announces everything by requests; what the extension knows already must be merged.
    fn announce_all(&self) {
        for (id, kind) in self.nics() {
            bring(self.1, id, kind, self.mac(id));
        }
    }

    /// All NICs of the scenario in the order the switch creates them.
    fn nics(&self) -> Vec<(NicId, NicKind)> {
        let plan = self.plan();
        let mut all = Vec::new();
        if !plan.members.is_empty() {
            all.push((NicId::new(EXTERNAL_PORT, 0), NicKind::External));
            all.extend(plan.members.iter().map(|(index, _)| (self.member(*index), NicKind::External)));
        }
        all.extend((0..plan.internal).map(|n| (self.internal(n), NicKind::Internal)));
        all.extend((0..plan.vms).map(|n| {
            (self.vm(n), if n % 5 == 4 { NicKind::Emulated } else { NicKind::Synthetic })
        }));
        all
    }

    /// Pauses, detaches and unloads, and says what happened.
    pub fn finish(self) -> Outcome {
        let modules = self.plan().switches;
        let net = self.clone();
        let _ = self.world().enter(move || {
            for module in 0..modules {
                net.on(module).settle();
                let drawn = with(|world, _| world.chance(1, 2));
                if net.plan().tear_down.unwrap_or(drawn) && with(|_, s| s.life(module)) == Life::Running {
                    net.on(module).tear_down();
                }
                stop(module);
            }
            driver::unload();
            cpu::settle();
            with(|world, state| state.quiesce(world));
            leaks::after_unload(&crate::world::current());
        });
        Outcome::collect(self.world())
    }

    /// The whole switch is taken apart by requests.
    fn tear_down(&self) {
        let module = self.1;
        for n in 0..self.plan().vms {
            remove(module, self.vm(n));
        }
        for n in 0..self.plan().internal {
            remove(module, self.internal(n));
        }
        let members: Vec<NicId> =
            with(|_, s| s.modules[module].topology.nics().filter(|n| n.is_member()).map(|n| n.id).collect());
        for id in &members {
            lifecycle::disconnect(module, *id);
        }
        for id in &members {
            lifecycle::delete_nic(module, *id);
        }
        remove(module, NicId::new(EXTERNAL_PORT, 0));
    }
}

/// Creates and connects a NIC with its port, if it is the first on it.
fn bring(module: usize, id: NicId, kind: NicKind, mac: Mac) {
    let first = id.index == 0;
    let made = if first {
        lifecycle::create_port(module, id.port, kind)
    } else {
        with(|_, s| s.modules[module].topology.nic(NicId::new(id.port, 0)).is_some())
    };
    if made && lifecycle::create_nic(module, id, mac) {
        lifecycle::connect(module, id);
    }
}

/// Disconnects and deletes a NIC of index 0 and its port, if they exist.
fn remove(module: usize, id: NicId) {
    if with(|_, s| s.modules[module].topology.nic(id).is_none()) {
        return;
    }
    lifecycle::disconnect(module, id);
    lifecycle::delete_nic(module, id);
    lifecycle::delete_port(module, id.port);
}

fn is_attached(module: usize) -> bool {
    with(|_, s| !matches!(s.life(module), Life::Detached | Life::Attaching))
}

/// Pauses and detaches whatever is attached.
fn stop(module: usize) {
    if with(|_, s| s.life(module)) == Life::Running {
        life::pause(module);
    }
    if with(|_, s| s.life(module)) == Life::Paused {
        life::detach(module);
    }
}

/// Frames whose time has come reach the physical switches.
fn arrive(module: usize) {
    with(|world, state| {
        let State { modules, frames, .. } = state;
        let complaints = modules[module].outside.settle(frames, world.now());
        complaints.into_iter().for_each(|(rule, text)| world.violate(rule, text));
    });
}

impl State {
    /// A NIC is there all of a sudden, connected.
    fn appear(&mut self, module: usize, id: NicId, kind: NicKind, mac: Mac) {
        let topology = &mut self.modules[module].topology;
        topology.add_port(id.port, kind);
        topology.add_nic(id, mac);
        if let Some(nic) = topology.nic_mut(id) {
            nic.state = crate::ports::NicState::Connected;
        }
    }

    /// What is left when everything has ended.
    fn quiesce(&mut self, world: &World) {
        use crate::ndis::packet::Place;
        let left: BTreeMap<&'static str, Vec<u64>> =
            self.packets.all().iter().fold(BTreeMap::new(), |mut left, packet| {
                let rule = match packet.place {
                    Place::Ingress => "DATA-01",
                    Place::Egress => "DATA-02",
                    Place::Completing | Place::Returning => "DATA-05",
                    Place::Idle | Place::Below | Place::Delivered | Place::Settled => "MEM-05",
                };
                left.entry(rule).or_insert_with(Vec::new).push(packet.name);
                left
            });
        for rule in ["DATA-01", "DATA-02", "DATA-05"] {
            world.exercised(rule);
        }
        for (rule, packets) in left {
            world.violate(rule, format!("packets {packets:?} never left"));
        }
        let written = self.quarantine.drain();
        crate::check::rule(world, "DATA-03", written == 0, || format!("{written} completed packets were written to"));
        let until = LONG;
        for m in &mut self.modules {
            let complaints = m.outside.settle(&mut self.frames, world.now() + until);
            complaints.into_iter().for_each(|(rule, text)| world.violate(rule, text));
        }
        if world.violations().is_empty() {
            let silent = self.unaccounted();
            crate::check::rule(world, "ACCOUNT", silent.is_empty(), || format!("{} frames ended in silence: {}", silent.len(), silent[0]));
        }
    }
}

/// A request whose OID nobody knows.
pub fn unknown_request(oid: u32, kind: i32, payload: Vec<u8>, status: i32) -> Ask {
    let plan = control::below::Plan { status, ..control::below::Plan::default() };
    debug_assert!(matches!(
        kind,
        request_type::QUERY_INFORMATION | request_type::SET_INFORMATION | request_type::METHOD
    ));
    Ask { oid, kind, payload, plan, effect: None }
}

/// Entries of the ledger that a scenario must not leave behind.
pub fn leaks(world: &World) -> Vec<String> {
    world.live().iter().filter(|e| e.kind != Kind::Switch).map(ToString::to_string).collect()
}

/// The number of fallible calls of a finished scenario, for sweeps.
pub fn asked(world: &World) -> u64 {
    let _ = fault::asked as fn() -> u64;
    world.asked()
}
