//! Start and end of a scenario: what exists before the extension is attached, what is created while it reads the
//! configuration, and what must be freed after its detach.

use super::{Activation, EXTERNAL_PORT, Enumeration, LONG, Net};
use crate::adapter::capabilities::Capabilities;
use crate::adapter::network::{Network, Return};
use crate::adapter::offloads::Offloads;
use crate::adapter::physical_switch::Aggregation;
use crate::adapter::{Adapter, GIGABIT};
use crate::machine::clock;
use crate::machine::cpu;
use crate::machine::world::World;
use crate::reference::vlan::Tag;
use crate::scenario::guest::{self, Packet};
use crate::scenario::outcome::Outcome;
use crate::switch::control::offload::release_all;
use crate::switch::control::{below, lifecycle};
use crate::switch::ndis::detach::detach;
use crate::switch::ndis::driver;
use crate::switch::ndis::packet::PacketStage;
use crate::switch::ndis::{Life, State, edges, leaks, module as life, with};
use crate::switch::ports::{Mac, NicId, NicKind};
use lbfoext::ndis::raw::SUCCESS;
use std::collections::BTreeMap;

/// Steps of time beside a detach.
const STEPS_IN_PASSING: u32 = 16;

impl Net {
    /// At the yield point of the configuration a module is paused and detached, whatever is under way.
    pub(super) fn detach_at_its_point(&self) {
        let Some(point) = self.world().config().point else { return };
        let module = (point % self.plan().switches as u64) as usize;
        let world = crate::machine::world::current();
        let of = world.arc();
        let body = move || {
            if of.wait_for_point() && with(|_, s| module < s.modules.len()) {
                with(|_, s| s.detached_at_point = true);
                stop(module);
            }
        };
        world.scheduler.start_work(&world, "detach", Box::new(body));
    }

    pub(super) fn bring_up(&self) {
        let plan = self.plan();
        with(|_, state| {
            state.style = plan.style.clone();
            state.installed = plan.installed.clone();
            state.port_plan = plan.port_plan.clone();
            state.vm_of_port = plan.vm_of_port.clone();
        });
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

    /// Creates the adapters, and the ports and NICs that exist before the attachment.
    fn lay_out(&self) {
        let module = self.1;
        let plan = self.plan();
        let (latency, jitter) = plan.latency;
        with(|world, state| {
            let external = &mut state.modules[module].external;
            external.external_port = EXTERNAL_PORT;
            external.physical.aggregation = plan.aggregation;
            external.physical.external_port = EXTERNAL_PORT;
            if let Some(layout) = &plan.layout {
                let aggregated = plan.aggregation == Aggregation::Static;
                external.network = Network::new(layout, aggregated);
            }
            for (place, (index, gigabits)) in plan.members_of(module).iter().enumerate() {
                let speed = plan.exact_speed(module, place).unwrap_or(gigabits * GIGABIT);
                let mut adapter = Adapter::new(*index, speed, latency, jitter);
                adapter.offloads = Offloads::new(match &plan.abilities {
                    Some(of) => of(*index),
                    None => Capabilities::random(|n| world.random(n)),
                });
                adapter.offloads.by_number = state.style.by_number;
                external.adapters.insert(*index, adapter);
            }
        });
        if plan.enumeration == Enumeration::Requests {
            return;
        }
        let mut known = Vec::new();
        for (id, kind) in self.nics() {
            // The external port and its NICs exist together or not at all, because the switch creates them in order.
            let late = plan.enumeration == Enumeration::Mixed && kind != NicKind::External;
            if late && with(|world, _| world.chance(1, 2)) {
                self.appear_later(id, kind);
            } else {
                known.push((id, kind));
            }
        }
        for (id, kind) in known {
            self.bring(id, kind);
        }
    }

    /// Creates a NIC, and connects it unless the scenario leaves it unconnected.
    fn bring(&self, id: NicId, kind: NicKind) {
        if self.plan().created_only.contains(&id.port) {
            self.create_only(id);
        } else {
            bring(self.1, id, kind, self.mac(id));
        }
    }

    /// A NIC is created while the extension reads the array: it appears in the array, by requests, or both.
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
            let net = self.clone();
            below::arrive(module, move || net.announce_all());
        }
        if plan.activation == Activation::WhilePaused {
            life::activate(module);
        }
        let restarted = life::restart(module) == SUCCESS;
        // Whatever the switch creates before it is active it announces.
        let before_active =
            plan.activation == Activation::WhileRunning && plan.enumeration == Enumeration::Requests;
        if restarted && before_active && !early {
            self.announce_all();
        }
        if restarted && plan.activation == Activation::WhileRunning {
            life::activate(module);
        }
        below::arrived_all(module);
        if !restarted {
            return;
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
        if plan.enumeration != Enumeration::Arrays && !early && !before_active {
            self.announce_all();
        }
        edges::drain(module);
        // Buckets that were assigned while only some members were known move to their home members after an idle gap.
        clock::advance(100 * clock::MILLISECOND);
        with(|_, state| state.flows = crate::check::flows::Flows::default());
    }

    /// Announces all ports and NICs by requests; the extension must merge those that it already knows.
    fn announce_all(&self) {
        for (id, kind) in self.nics() {
            self.bring(id, kind);
        }
    }

    /// All NICs of the scenario, in the order in which the switch creates them.
    fn nics(&self) -> Vec<(NicId, NicKind)> {
        let plan = self.plan();
        let (members, vms) = (plan.members_of(self.1), plan.vms_of(self.1));
        let mut all = Vec::new();
        if !members.is_empty() {
            all.push((NicId::new(EXTERNAL_PORT, 0), NicKind::External));
            all.extend(members.iter().map(|(index, _)| (self.member(*index), NicKind::External)));
        }
        all.extend((0..plan.internal).map(|n| (self.internal(n), NicKind::Internal)));
        all.extend(
            (0..vms).map(|n| (self.vm(n), if n % 5 == 4 { NicKind::Emulated } else { NicKind::Synthetic })),
        );
        all
    }

    /// Pauses, detaches and unloads the extension; returns the outcome.
    pub fn finish(self) -> Outcome {
        let modules = self.plan().switches;
        let net = self.clone();
        let _ = self.world().enter(move || {
            crate::machine::world::current().end_points();
            for module in 0..modules {
                let [drawn, in_passing] = [(); 2].map(|()| with(|world, _| world.chance(1, 2)));
                let in_passing = net.plan().detach_in_passing.unwrap_or(in_passing);
                // What comes of a failure, a refusal or a mutation is looked at an hour later in any case.
                let failed = with(|world, state| {
                    let faulty = world.last_fault().is_some() || world.mutation().is_some();
                    faulty || state.may_recover(world, module)
                });
                if !in_passing || failed {
                    net.on(module).settle();
                    net.on(module).recover();
                }
                if net.plan().tear_down.unwrap_or(drawn) && with(|_, s| s.life(module)) == Life::Running {
                    net.on(module).tear_down();
                }
                if in_passing {
                    net.on(module).stop_in_passing();
                } else {
                    stop(module);
                }
            }
            driver::unload();
            cpu::settle();
            with(|world, state| state.quiesce(world));
            leaks::after_unload(&crate::machine::world::current());
        });
        Outcome::collect(self.world())
    }

    /// Pauses and detaches while time passes on another processor: timers are due or their functions run, answers and
    /// frames are on their way.
    fn stop_in_passing(&self) {
        let module = self.1;
        let step =
            [clock::MILLISECOND / 100, clock::MILLISECOND / 4, clock::MILLISECOND, 100 * clock::MILLISECOND];
        let step = with(|world, state| {
            state.style.detach_in_timer = [0, 2 * clock::MILLISECOND][world.random(2) as usize];
            step[world.random(4) as usize]
        });
        self.together(vec![
            ("time", Box::new(move |_: &Self| (0..STEPS_IN_PASSING).for_each(|_| clock::advance(step)))),
            ("detach", Box::new(move |_: &Self| stop(module))),
        ]);
    }

    /// Deletes all ports and NICs by requests.
    fn tear_down(&self) {
        let module = self.1;
        for n in 0..self.plan().vms_of(module) {
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
pub(super) fn bring(module: usize, id: NicId, kind: NicKind, mac: Mac) {
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
pub(super) fn remove(module: usize, id: NicId) {
    if with(|_, s| s.modules[module].topology.nic(id).is_none()) {
        return;
    }
    // Resources are freed before the NIC is disconnected or after it, but before it is deleted.
    let external = NicId::new(EXTERNAL_PORT, 0);
    let early = with(|world, s| s.control.wants.holds_for(module, id) && world.chance(1, 2));
    if early {
        release_all(module, id, external);
    }
    lifecycle::disconnect(module, id);
    release_all(module, id, external);
    lifecycle::delete_nic(module, id);
    lifecycle::delete_port(module, id.port);
}

pub(super) fn is_attached(module: usize) -> bool {
    with(|_, s| s.listens(module))
}

/// Pauses and detaches the module, if it is attached.
pub(super) fn stop(module: usize) {
    life::pause(module);
    detach(module);
}

/// Delivers frames that are due to the physical switches.
pub(super) fn arrive(module: usize) {
    with(|world, state| {
        let State { modules, frames, .. } = state;
        let complaints = modules[module].external.settle(frames, world.now());
        complaints.into_iter().for_each(|(rule, text)| world.violate(rule, text));
    });
    let back = with(|_, state| state.returned(module));
    if !back.is_empty() {
        guest::send(module, back);
    }
}

impl State {
    /// When next something may come back from a simulated network: a frame is on a cable, or a step of the switch waits.
    pub(super) fn next_return(&self, module: usize) -> Option<u64> {
        let external = &self.modules[module].external;
        let quiet = self.is_quiet(module);
        let next = if quiet { external.next_arrival() } else { Some(clock::now() + 10) };
        next.filter(|_| external.network.is_simulated())
    }

    /// When next something happens that may come back, or after which something may.
    pub(super) fn next_step(&self, world: &World, module: usize) -> Option<u64> {
        let simulated = self.modules[module].external.network.is_simulated();
        let event = world.next_event().filter(|_| simulated);
        self.next_return(module).into_iter().chain(event).min()
    }

    /// The frames that the physical network sends to the host.
    pub(super) fn returned(&mut self, module: usize) -> Vec<(NicId, Packet)> {
        let external = &mut self.modules[module].external;
        let tags_in_bytes = external.network.treatment.tags_in_bytes;
        let back = std::mem::take(&mut external.returning);
        let up = |member: &u16| external.adapters.get(member).is_some_and(|adapter| adapter.link_up);
        let back = back.into_iter().filter(|back| up(&back.member));
        let packets = back.map(|Return { member, frame }| {
            let vid = frame.wire.vid;
            let (bytes, tag) = match vid {
                0 => (frame.wire.bytes, None),
                _ if tags_in_bytes => (frame.wire.tagged_bytes(), None),
                vid => (frame.wire.bytes, Some(Tag { vid, priority: 0 })),
            };
            let packet = Packet { origin: Some(frame.origin), tag, ..Packet::of(bytes) };
            (NicId::new(EXTERNAL_PORT, member), packet)
        });
        packets.collect()
    }

    /// Makes a NIC exist, connected, without any request.
    fn appear(&mut self, module: usize, id: NicId, kind: NicKind, mac: Mac) {
        let topology = &mut self.modules[module].topology;
        topology.add_port(id.port, kind);
        topology.add_nic(id, mac);
        if let Some(nic) = topology.nic_mut(id) {
            nic.state = crate::switch::ports::NicState::Connected;
            nic.vm = self.vm_of_port.get(&id.port).copied().unwrap_or(id.port);
            // An extension that does not forward does not query the array; only the switch knows the NIC.
            nic.usable = !self.installed.role.forwards();
        }
        if let Some(port) = topology.ports.get_mut(&id.port) {
            let planned = self.port_plan.get(&id.port).cloned().unwrap_or_default();
            port.policies.properties = (1..).zip(planned).collect();
        }
    }

    /// Checks what is left when the scenario has ended.
    fn quiesce(&mut self, world: &World) {
        let left: BTreeMap<&'static str, Vec<u64>> =
            self.packets.all().iter().fold(BTreeMap::new(), |mut left, packet| {
                let rule = match packet.place {
                    PacketStage::Ingress => "DATA-01",
                    PacketStage::Egress => "DATA-02",
                    PacketStage::Completing | PacketStage::Returning => "DATA-05",
                    PacketStage::Idle
                    | PacketStage::Below
                    | PacketStage::Delivered
                    | PacketStage::Settled => "MEM-05",
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
        crate::check::rule(world, "DATA-03", written == 0, || {
            format!("{written} completed packets were written to")
        });
        let until = LONG;
        for m in &mut self.modules {
            let complaints = m.external.settle(&mut self.frames, world.now() + until);
            complaints.into_iter().for_each(|(rule, text)| world.violate(rule, text));
            if !m.external.arrivals.is_empty() {
                m.external.physical.rules().for_each(|rule| world.exercised(rule));
            }
        }
        if world.violations().is_empty() {
            let silent = self.unaccounted();
            crate::check::rule(world, "ACCOUNT", silent.is_empty(), || {
                format!("{} frames ended in silence: {}", silent.len(), silent[0])
            });
        }
    }
}
