//! The operations of a test on a running switch: packets, links, guests, time, requests.

use super::life::{arrive, bring, is_attached, remove, stop};
use super::{EXTERNAL_PORT, FIRST_INTERNAL_PORT, FIRST_VM_PORT, Indication, Running, Scenario};
use crate::adapter::identity::Identity;
use crate::adapter::{Adapter, GIGABIT, InterfaceView, instance_id};
use crate::machine::clock;
use crate::machine::cpu;
use crate::machine::registry::{SERVICES, Value};
use crate::machine::world::World;
use crate::scenario::guest::{self, Flow, Packet};
use crate::switch::control::below::Plan;
use crate::switch::control::envelope::{self, Inner, NicAnswer};
use crate::switch::control::offload::obey_removals;
use crate::switch::control::{self, Answer, Ask, lifecycle, status};
use crate::switch::ndis::{Life, State, edges, module as life, with};
use crate::switch::ports::{Mac, NicId, NicKind};
use lbfoext::ndis::raw::{SUCCESS, request_type};
use std::sync::Arc;

/// The function that one simulated thread of a test runs.
pub type Body = Box<dyn FnOnce(&Net) + Send>;

/// A running switch. Clones are handles to the same one.
#[derive(Clone)]
pub struct Net(pub(super) Arc<Running>, pub(super) usize);

impl Net {
    pub(super) fn plan(&self) -> &Scenario {
        &self.0.plan
    }

    pub fn world(&self) -> &Arc<World> {
        &self.0.world
    }

    /// A handle to another switch instance.
    pub fn on(&self, switch: usize) -> Self {
        Self(Arc::clone(&self.0), switch)
    }

    /// Runs the closure on a simulated thread; `None` if the machine has stopped.
    pub(super) fn inside<R: Send>(&self, body: impl FnOnce() -> R + Send) -> Option<R> {
        self.world().enter(body).ok()
    }

    /// The same; `None` also if no module is attached.
    pub(super) fn attached<R: Send>(&self, body: impl FnOnce() -> R + Send) -> Option<R> {
        let module = self.1;
        self.inside(move || is_attached(module).then(body))?
    }

    /// The number of this switch.
    pub fn switch(&self) -> usize {
        self.1
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

    /// Conversation `n` from a NIC to a host in the external network.
    pub fn flow(&self, from: NicId, n: u16) -> Flow {
        Flow::new(self.mac(from), guest::host_mac(n), n)
    }

    /// Conversation `n` between two NICs.
    pub fn flow_between(&self, from: NicId, to: NicId, n: u16) -> Flow {
        Flow::new(self.mac(from), self.mac(to), n)
    }

    /// Conversation `n` from a host in the external network to a NIC.
    pub fn external_flow(&self, to: NicId, n: u16) -> Flow {
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

    /// Receives frames through a member.
    pub fn receive_external(&self, member: u16, frames: &[Vec<u8>]) {
        self.receive_external_packets(member, frames.iter().map(|f| Packet::of(f.clone())).collect());
    }

    /// Receives packets through a member, which may have out-of-band tags or several frames.
    pub fn receive_external_packets(&self, member: u16, packets: Vec<Packet>) {
        let source = self.member(member);
        self.from_both_sides(packets.into_iter().map(|packet| (source, packet)).collect());
    }

    /// Sends a chain of packets from guests and from the external network, through members or the team as a whole
    /// (index 0). Source addresses of the latter become hosts in the external network.
    pub fn from_both_sides(&self, chain: Vec<(NicId, Packet)>) {
        let module = self.1;
        let mut chain = chain;
        self.inside(move || {
            with(|_, state| {
                let m = &mut state.modules[module];
                let external = |source: &NicId| m.topology.is_external(source.port);
                for (source, packet) in chain.iter_mut().filter(|(source, _)| external(source)) {
                    let vnic = packet.frames[0].get(..6).and_then(|m| m.try_into().ok());
                    let vid = packet.vid_on_the_wire();
                    let queues = m.external.adapters.get_mut(&source.index).map(|a| &mut a.offloads.queues);
                    let sorted = vnic.zip(queues).and_then(|(mac, queues)| queues.sort(mac, vid));
                    packet.queue = sorted.filter(|_| state.style.queue_numbers);
                }
                for (_, packet) in chain.iter().filter(|(source, _)| m.topology.is_external(source.port)) {
                    let sender = packet.frames[0].get(6..12).and_then(|m| m.try_into().ok());
                    let ours = |mac: &Mac| {
                        mac[..3] == guest::vm_mac(0)[..3] || m.topology.nics().any(|nic| nic.mac == *mac)
                    };
                    if let Some(mac) = sender.filter(|mac| !ours(mac)) {
                        m.external.physical.host(mac);
                    }
                }
            });
            guest::send(module, chain);
        });
    }

    pub fn cancel_send(&self, id: usize) {
        let module = self.1;
        self.inside(move || life::cancel_send(module, id));
    }

    // Links and adapters.

    /// The link fails, and is indicated as the scenario defines.
    pub fn fail(&self, member: u16) {
        self.pull(member);
        self.indicate(member, false);
    }

    pub fn restore(&self, member: u16) {
        self.plug(member);
        self.indicate(member, true);
    }

    /// The link fails without an indication.
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
                let complaints = modules[module].external.set_link(frames, member, up, world.now());
                modules[module].topology.changed();
                complaints.into_iter().for_each(|(rule, text)| world.violate(rule, text));
            });
        });
    }

    /// Changes what the operating system says of a member's interface.
    pub fn view(&self, member: u16, change: impl FnOnce(&mut InterfaceView) + Send) {
        let module = self.1;
        self.inside(move || {
            with(|_, s| s.modules[module].external.adapters.get_mut(&member).map(|a| change(&mut a.view)));
        });
    }

    /// Times at which the row of a member's interface was asked for.
    pub fn interface_asked(&self, member: u16) -> Vec<u64> {
        self.world().interface_asked(instance_id(self.1, member))
    }

    /// Indicates the link state as the scenario defines.
    pub fn indicate(&self, member: u16, up: bool) {
        let module = self.1;
        let id = self.member(member);
        let indication = self.plan().indication;
        self.inside(move || {
            let speed = with(|_, s| {
                s.modules[module].external.adapters.get(&member).map_or(0, |a| a.bits_per_second)
            });
            let media = with(|world, _| world.chance(1, 3));
            let make = |from, up| {
                if media { status::Status::media(from, up) } else { status::Status::link(from, up, speed) }
            };
            match indication {
                Indication::PerMember => status::indicate_link(module, id, up, &make(id, up)),
                Indication::TeamOnly => {
                    let any = with(|_, s| s.modules[module].external.adapters.values().any(|a| a.link_up));
                    status::indicate(module, &make(NicId::new(EXTERNAL_PORT, 0), any));
                }
                Indication::SilentUntilAsked | Indication::Nothing => {}
            }
        });
    }

    /// Indicates any status from below.
    pub fn status(&self, status: status::Status) {
        let module = self.1;
        self.inside(move || status::indicate(module, &status));
    }

    /// Indicates a status in a damaged envelope.
    pub fn damaged_status(&self, status: status::Status, damage: status::Damage) {
        let module = self.1;
        self.inside(move || status::indicate_as(module, &status, Some(damage)));
    }

    /// Deletes the NIC of a disconnected member.
    pub fn delete_member(&self, member: u16) {
        let module = self.1;
        let id = self.member(member);
        self.inside(move || lifecycle::delete_nic(module, id));
    }

    /// Disconnects and deletes the member's NIC.
    pub fn unplug(&self, member: u16) {
        let module = self.1;
        let id = self.member(member);
        self.inside(move || {
            lifecycle::disconnect(module, id);
            lifecycle::delete_nic(module, id);
        });
    }

    /// Changes what the adapter of a member is, or what it is called; nothing tells it.
    pub fn rename(&self, member: u16, change: impl FnOnce(&mut Identity) + Send) {
        let module = self.1;
        let _ = self.look(move |s| {
            s.modules[module].external.adapters.get_mut(&member).map(|a| change(&mut a.identity))
        });
    }

    /// The switch tells of a connected member what its adapter is and is called (OID_SWITCH_NIC_UPDATED).
    pub fn identify(&self, member: u16) {
        let module = self.1;
        let id = self.member(member);
        self.inside(move || lifecycle::identify(module, id));
    }

    /// Creates and connects the member's NIC.
    pub fn replug(&self, member: u16) {
        let module = self.1;
        let (id, mac) = (self.member(member), self.mac(self.member(member)));
        let speed = self.plan().members_of(module).iter().find(|(i, _)| *i == member).map_or(10, |(_, g)| *g);
        let (latency, jitter) = self.plan().latency;
        self.inside(move || {
            with(|_, state| {
                let adapters = &mut state.modules[module].external.adapters;
                adapters
                    .entry(member)
                    .or_insert_with(|| Adapter::new(member, speed * GIGABIT, latency, jitter));
            });
            if lifecycle::create_nic(module, id, mac) {
                lifecycle::connect(module, id);
            }
        });
    }

    // Guests.

    /// Creates a guest's port and NIC and connects it.
    pub fn add_vm(&self, n: u16) {
        let module = self.1;
        let (id, mac) = (self.vm(n), self.mac(self.vm(n)));
        self.inside(move || bring(module, id, NicKind::Synthetic, mac));
    }

    /// Disconnects a guest's NIC, and deletes NIC and port.
    pub fn remove_vm(&self, n: u16) {
        let module = self.1;
        let id = self.vm(n);
        self.inside(move || remove(module, id));
    }

    /// Disconnects a NIC, and deletes NIC and port.
    pub fn remove(&self, id: NicId) {
        let module = self.1;
        self.inside(move || remove(module, id));
    }

    /// Disconnects a NIC without deleting it; the switch does so with none whose creation was refused.
    pub fn disconnect(&self, nic: NicId) {
        let module = self.1;
        let there = move || with(|_, s| s.modules[module].topology.nic(nic).is_some());
        self.inside(move || there() && lifecycle::disconnect(module, nic));
    }

    /// Changes the address of a guest's NIC.
    pub fn readdress(&self, nic: NicId, mac: Mac) {
        let module = self.1;
        self.inside(move || lifecycle::update(module, nic, mac));
    }

    // Time and threads.

    pub fn advance(&self, by: u64) {
        let module = self.1;
        self.inside(move || {
            let until = clock::now() + by;
            // What is under way comes back in its time, also what the extension sends meanwhile.
            while let Some(next) = with(|world, s| s.next_step(world, module)).filter(|next| *next < until) {
                clock::advance_to(next);
                arrive(module);
            }
            clock::advance_to(until);
            arrive(module);
        });
    }

    /// Waits until all delayed completions have happened and all frames have arrived.
    pub fn settle(&self) {
        let module = self.1;
        self.inside(move || {
            edges::drain(module);
            let until = with(|_, s| s.modules[module].external.busy_until());
            clock::advance_to(until.max(clock::now()));
            arrive(module);
            obey_removals(module, NicId::new(EXTERNAL_PORT, 0));
        });
    }

    pub fn now(&self) -> u64 {
        self.world().now()
    }

    /// Runs the bodies concurrently, each on its own simulated thread and processor.
    pub fn together(&self, bodies: Vec<(&'static str, Body)>) {
        let threads = bodies.into_iter().zip(0..).map(|((name, body), cpu)| {
            let net = self.clone();
            let body: Box<dyn FnOnce() + Send> = Box::new(move || body(&net));
            (name, cpu, body)
        });
        let _ = self.world().run(threads.collect());
    }

    // Control.

    /// Changes a value of the service's `Parameters` key.
    pub fn set(&self, name: &str, value: Value) {
        let path = format!("{SERVICES}\\{}\\Parameters", self.plan().installed.service);
        let (world, name) = (Arc::clone(self.world()), name.to_owned());
        self.inside(move || {
            if matches!(name.as_str(), "TeamingMode" | "LoadBalancingAlgorithm") {
                with(|_, s| s.modules.iter_mut().for_each(|m| m.external.mode_unknown = true));
            }
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

    /// Attaches the module again and restarts it.
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

    /// Issues any request from above.
    pub fn ask(&self, ask: Ask) -> Option<Answer> {
        let module = self.1;
        // A module that failed to attach gets no request.
        self.attached(move || control::request(module, ask))
    }

    /// Issues a direct OID request from above; returns its status.
    pub fn ask_direct(&self, oid: u32, kind: i32, payload: &[u8], planned: i32) -> Option<i32> {
        let module = self.1;
        self.attached(move || control::optional::request(module, oid, kind, payload, planned))
    }

    /// A PnP event of the device.
    pub fn device_event(&self) {
        let module = self.1;
        self.attached(move || control::optional::device_event(module));
    }

    /// Issues a request to a NIC from above, from a partition's NIC or from 0/0.
    pub fn ask_nic(&self, from: NicId, to: NicId, inner: &Inner, plan: Plan) -> Option<NicAnswer> {
        let module = self.1;
        self.inside(move || {
            let attached = is_attached(module);
            let as_set = with(|world, _| world.chance(1, 4));
            attached.then(|| envelope::ask(module, from, to, inner, plan, as_set))
        })?
    }

    /// Cancels the next request from above that is pending.
    pub fn cancel_next(&self) {
        self.inside(|| with(|_, s| s.control.cancel_next = true));
    }

    pub fn is_running(&self) -> bool {
        let module = self.1;
        self.inside(move || with(|_, s| s.life(module)) == Life::Running).unwrap_or(false)
    }

    /// Access to the switch's state, if no other function returns it.
    pub fn look<R: Send>(&self, look: impl FnOnce(&mut State) -> R + Send) -> Option<R> {
        self.look_with(|_, state| look(state))
    }

    /// The same, with the simulated machine.
    pub fn look_with<R: Send>(&self, look: impl FnOnce(&World, &mut State) -> R + Send) -> Option<R> {
        self.inside(|| with(look))
    }
}

/// A request with an undefined OID.
pub fn unknown_request(oid: u32, kind: i32, payload: Vec<u8>, status: i32) -> Ask {
    let plan = control::below::Plan { status, ..control::below::Plan::default() };
    debug_assert!(matches!(
        kind,
        request_type::QUERY_INFORMATION | request_type::SET_INFORMATION | request_type::METHOD
    ));
    Ask { kind, plan, ..Ask::set(oid, payload, None) }
}
