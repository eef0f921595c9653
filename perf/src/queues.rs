//! `teamctl replay --queues`: each VM of the capture gets a receive queue (VMQ) with the requests of a Hyper-V switch,
//! and at each change of the team the tool records which member has which queue.
//!
//! Queues and their frames are read from the simulated adapters; the driver's and the switch's records are only
//! compared with them. A stage lasts from one change to the next.

mod words;

use crate::args::{Placement, Replay};
use crate::hosts::Hosts;
use anyhow::bail;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use vswitch::adapter::offloads::Resource;
use vswitch::adapter::vmq::{Sorted, VnicAddress};
use vswitch::scenario::Net;
use vswitch::switch::ports::{Mac, NicId};

/// Time from an indication of the team's capabilities until the switch plans its queues again.
pub const PLANS_AFTER: Duration = Duration::from_secs(1);
/// Default number of queues of an adapter.
const LIMIT: u32 = 16;
/// Filters of an adapter for each queue; a VM in more VLANs gets one filter for all of them.
pub const FILTERS: usize = 4;

/// What `--json` prints under `queues`.
#[derive(Serialize)]
pub struct Queues {
    pub placement: &'static str,
    /// Queues of each member's adapter in addition to its default queue.
    pub limits: Vec<u32>,
    /// Number of disagreements in all stages.
    pub disagreements: usize,
    pub stages: Vec<Stage>,
}

/// A change of the team, the state right after it, and the frames until the next change.
#[derive(Clone, Debug, Serialize)]
pub struct Stage {
    pub kind: StageKind,
    /// The member that went down or came up.
    pub member: Option<u16>,
    pub at_seconds: f64,
    /// Number of queues of the team in the driver's last indication.
    pub offered: u32,
    /// Number of queue allocations that failed when the switch planned.
    pub refused: usize,
    pub explanation: String,
    /// Differences between the records of switch, adapters and driver.
    pub disagreements: Vec<String>,
    pub members: Vec<Member>,
    pub machines: Vec<Machine>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StageKind {
    Start,
    Down,
    Up,
    Planned,
}

#[derive(Clone, Debug, Serialize)]
pub struct Member {
    pub index: u16,
    pub up: bool,
    pub queues: usize,
    /// Frames for VMs through their own queues; the next field counts those through the default queue.
    pub frames_own_queue: u64,
    pub frames_default_queue: u64,
    /// Frames for group addresses and for addresses of no VM.
    pub frames_other: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Number of the VM, from 1 in the order of addresses.
    pub machine: usize,
    pub mac: String,
    pub arrives_on: Vec<u16>,
    pub leaves_by: Vec<u16>,
    /// The queue id that the switch knows.
    pub queue: Option<u32>,
    pub held_by: Vec<Holding>,
    pub frames_own_queue: u64,
    pub frames_default_queue: u64,
}

/// A queue on a member's adapter, and its id there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
pub struct Holding {
    pub member: u16,
    pub queue: u32,
    pub up: bool,
}

impl Machine {
    /// Members that are up and have its queue.
    pub fn served_by(&self) -> Vec<u16> {
        self.held_by.iter().filter(|held| held.up).map(|held| held.member).collect()
    }

    /// Whether it has a queue, but only on members that are down.
    fn is_stranded(&self) -> bool {
        !self.held_by.is_empty() && self.served_by().is_empty()
    }
}

/// Queues of each member's adapter.
pub fn limits(arguments: &Replay, members: usize) -> anyhow::Result<Vec<u32>> {
    match arguments.queue_limits.as_slice() {
        [] => Ok(vec![LIMIT; members]),
        [one] => Ok(vec![*one; members]),
        each if each.len() == members => Ok(each.to_vec()),
        each => bail!(
            "--queue-limits names {} members, but the team has members 1 to {members}; \
             give one number for all of them, or {members} numbers",
            each.len()
        ),
    }
}

/// Manages the queues during the replay.
pub struct Watch<'a> {
    net: &'a Net,
    /// The filters of each VM.
    vnics: Vec<Vec<VnicAddress>>,
    placement: Placement,
    limits: Vec<u32>,
    /// Number of capability indications that the switch has acted on.
    heard: usize,
    /// The members that carried each VM's frames since the last stage began.
    left: Vec<BTreeSet<u16>>,
    /// The adapters' counters when the stage began, by member and destination.
    counted: BTreeMap<(u16, Mac), Sorted>,
    stages: Vec<Stage>,
}

impl<'a> Watch<'a> {
    /// The switch plans its queues for the first time, after the adapters have answered the queries.
    pub fn start(net: &'a Net, hosts: &Hosts, placement: Placement, limits: Vec<u32>) -> Self {
        Self::of(net, hosts.vnics(FILTERS).collect(), placement, limits)
    }

    fn of(net: &'a Net, vnics: Vec<Vec<VnicAddress>>, placement: Placement, limits: Vec<u32>) -> Self {
        let left = vec![BTreeSet::new(); vnics.len()];
        let (counted, stages) = (BTreeMap::new(), Vec::new());
        let mut watch = Self { net, vnics, placement, limits, heard: 0, left, counted, stages };
        let refused = watch.plan();
        watch.begin(StageKind::Start, None, Duration::ZERO, refused);
        watch
    }

    /// A member carried a frame of a NIC.
    pub fn left(&mut self, from: NicId, member: u16) {
        let machine = from.port.checked_sub(self.net.vm(0).port).and_then(|n| usize::try_from(n).ok());
        if let Some(members) = machine.and_then(|machine| self.left.get_mut(machine)) {
            members.insert(member);
        }
    }

    /// The driver has handled the status of a member.
    pub fn changed(&mut self, kind: StageKind, member: u16, at: Duration) {
        self.end();
        self.begin(kind, Some(member), at, 0);
    }

    /// Whether the driver indicated capabilities after the switch last planned.
    pub fn is_invited(&self) -> bool {
        self.net.offered_queues().1 > self.heard
    }

    pub fn plan_again(&mut self, at: Duration) {
        self.end();
        let refused = self.plan();
        self.begin(StageKind::Planned, None, at, refused);
    }

    pub fn finish(mut self) -> Queues {
        self.end();
        let mut before: Option<&Stage> = None;
        let mut explanations = Vec::new();
        for stage in &self.stages {
            explanations.push(words::explain(before, stage));
            before = Some(stage);
        }
        for (stage, explanation) in self.stages.iter_mut().zip(explanations) {
            stage.explanation = explanation;
        }
        Queues {
            placement: self.placement.words(),
            limits: self.limits,
            disagreements: self.stages.iter().map(|stage| stage.disagreements.len()).sum(),
            stages: self.stages,
        }
    }

    /// The switch frees every queue, and allocates as many as the team indicates, for VMs in order: the queue, its
    /// filters, and QUEUE_ALLOCATION_COMPLETE. Returns the number of failures.
    fn plan(&mut self) -> usize {
        let (offered, heard) = self.net.offered_queues();
        self.heard = heard;
        let all = (0..).zip(&self.vnics).map(|(number, vnics)| (self.net.vm(number), vnics));
        all.clone().for_each(|(nic, _)| self.net.release(nic));
        let (mut free, mut refused) = (offered.unwrap_or(0), 0);
        for (nic, vnics) in all {
            if free == 0 {
                break;
            }
            match self.net.offload(nic, |partition| partition.start_queue_for(vnics)).flatten() {
                Some(_) => free -= 1,
                None => refused += 1,
            }
        }
        refused
    }

    fn begin(&mut self, kind: StageKind, member: Option<u16>, at: Duration, refused: usize) {
        let mut disagreements = self.net.disagreements();
        disagreements.extend(self.net.lost_ways());
        let machines = (0..self.vnics.len()).map(|number| self.machine(number)).collect();
        self.stages.push(Stage {
            kind,
            member,
            at_seconds: (at.as_secs_f64() * 1e3).round() / 1e3,
            offered: self.net.offered_queues().0.unwrap_or(0),
            refused,
            explanation: String::new(),
            disagreements,
            members: self.members(),
            machines,
        });
    }

    fn members(&self) -> Vec<Member> {
        let all = self.net.look(|state| {
            let adapters = state.modules.first().into_iter().flat_map(|m| m.external.adapters.values());
            let member = |a: &vswitch::adapter::Adapter| Member {
                index: a.index,
                up: a.link_up,
                queues: a.offloads.queues.all.len(),
                frames_own_queue: 0,
                frames_default_queue: 0,
                frames_other: 0,
            };
            adapters.map(member).collect()
        });
        all.unwrap_or_default()
    }

    /// The queues of a VM on the adapters, and the id that the switch knows.
    fn machine(&self, number: usize) -> Machine {
        let nic = self.net.vm(u16::try_from(number).unwrap_or(u16::MAX));
        let queues = self.net.members_of(nic).into_iter();
        let queues = queues.filter_map(|(member, resource)| match resource {
            Resource::Queue(queue) => Some((member, queue)),
            _ => None,
        });
        let queues: Vec<(u16, u32)> = queues.collect();
        let up: BTreeSet<u16> =
            self.members().iter().filter(|member| member.up).map(|member| member.index).collect();
        let mac = self.vnics[number].first().map_or([0; 6], |vnic| vnic.mac);
        Machine {
            machine: number + 1,
            mac: mac.map(|byte| format!("{byte:02x}")).join(":"),
            arrives_on: Vec::new(),
            leaves_by: Vec::new(),
            queue: self.net.holds(nic).queues.keys().copied().find(|id| *id != 0),
            held_by: queues
                .into_iter()
                .map(|(member, queue)| Holding { member, queue, up: up.contains(&member) })
                .collect(),
            frames_own_queue: 0,
            frames_default_queue: 0,
        }
    }

    /// Ends the stage and adds the frames of its time.
    fn end(&mut self) {
        let now: BTreeMap<(u16, Mac), Sorted> = self
            .net
            .look(|state| {
                let adapters = state.modules.first().into_iter().flat_map(|m| m.external.adapters.values());
                adapters
                    .flat_map(|a| {
                        a.offloads.queues.sorted.iter().map(|(mac, sorted)| ((a.index, *mac), *sorted))
                    })
                    .collect()
            })
            .unwrap_or_default();
        let before = std::mem::replace(&mut self.counted, now);
        let macs = self.vnics.iter().enumerate();
        let machines: BTreeMap<Mac, usize> =
            macs.filter_map(|(number, of)| of.first().map(|vnic| (vnic.mac, number))).collect();
        let Some(stage) = self.stages.last_mut() else { return };
        for (key @ (index, mac), all) in &self.counted {
            let old = before.get(key).copied().unwrap_or_default();
            let (own, rest) = (all.to_queues - old.to_queues, all.to_default - old.to_default);
            let Some(member) = stage.members.iter_mut().find(|member| member.index == *index) else {
                continue;
            };
            let Some(machine) = machines.get(mac).and_then(|number| stage.machines.get_mut(*number)) else {
                member.frames_other += own + rest;
                continue;
            };
            member.frames_own_queue += own;
            member.frames_default_queue += rest;
            machine.frames_own_queue += own;
            machine.frames_default_queue += rest;
            if own + rest > 0 {
                machine.arrives_on.push(*index);
            }
        }
        for (machine, left) in stage.machines.iter_mut().zip(&mut self.left) {
            machine.leaves_by = std::mem::take(left).into_iter().collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use vswitch::adapter::physical_switch::Aggregation;
    use vswitch::machine::registry::Value;
    use vswitch::scenario::Scenario;

    const MACHINES: u16 = 6;

    fn net(placement: Placement) -> Net {
        let net = Scenario::new(3)
            .members(&[10, 10, 10])
            .vms(MACHINES)
            .aggregation(Aggregation::SwitchIndependent)
            .setting("OffloadPlacement", Value::Dword(placement.number()))
            .setting("LinkUpDelayMs", Value::Dword(0))
            .start();
        net.advance(1_000);
        net
    }

    fn watch(net: &Net, placement: Placement) -> Watch<'_> {
        let vnics = (0..MACHINES).map(|n| vec![VnicAddress::untagged(net.mac(net.vm(n)))]).collect();
        Watch::of(net, vnics, placement, vec![16; 3])
    }

    /// The queues of the adapters, read without the functions that make the table.
    fn adapters_have(net: &Net) -> BTreeSet<(u16, u32, u16)> {
        let first = net.vm(0).port;
        let all = net.look(|state| {
            let adapters = state.modules[0].external.adapters.iter();
            adapters
                .flat_map(|(index, adapter)| {
                    adapter.offloads.queues.all.iter().map(move |(id, q)| (*index, *id, q))
                })
                .map(|(index, id, queue)| (index, id, (queue.holder.source.port - first + 1) as u16))
                .collect()
        });
        all.expect("the machine runs")
    }

    fn table_has(stage: &Stage) -> BTreeSet<(u16, u32, u16)> {
        let rows = stage.machines.iter().flat_map(|machine| {
            machine.held_by.iter().map(|held| (held.member, held.queue, machine.machine as u16))
        });
        rows.collect()
    }

    #[test]
    fn the_table_is_what_the_adapters_hold_whatever_driver_and_switch_believe() {
        for placement in [Placement::FollowFlows, Placement::SingleMember, Placement::EveryMember] {
            let net = net(placement);
            let mut watch = watch(&net, placement);
            let held = adapters_have(&net);
            assert_eq!(table_has(&watch.stages[0]), held);
            assert!(held.len() >= usize::from(MACHINES) && watch.stages[0].disagreements.is_empty());
            // An adapter loses a queue without an indication: the table and the count of disagreements show it.
            let (member, queue, machine) = *held.iter().next().expect("there are some");
            net.look(|state| {
                let adapter = state.modules[0].external.adapters.get_mut(&member).expect("there");
                let source = net.vm(machine - 1);
                adapter.offloads.forget(source, Resource::Queue(queue));
            });
            watch.changed(StageKind::Up, member, Duration::ZERO);
            assert_eq!(table_has(&watch.stages[1]), adapters_have(&net));
            assert_eq!(table_has(&watch.stages[1]).len(), held.len() - 1);
            assert!(!watch.stages[1].disagreements.is_empty(), "{placement:?}");
        }
    }

    #[test]
    fn a_failure_leaves_the_queues_of_other_members_alone_and_planning_again_empties_the_dead_one() {
        let net = net(Placement::FollowFlows);
        let mut watch = watch(&net, Placement::FollowFlows);
        let victim = watch.stages[0].machines[0].held_by[0].member;
        net.fail(victim);
        watch.changed(StageKind::Down, victim, Duration::ZERO);
        assert!(watch.is_invited(), "the driver says what the team can do now");
        watch.plan_again(Duration::ZERO);
        assert!(!watch.is_invited());
        net.restore(victim);
        // By then, buckets that wait for an idle gap have moved.
        net.advance(10_000_000);
        watch.changed(StageKind::Up, victim, Duration::ZERO);
        watch.plan_again(Duration::ZERO);
        let [start, failed, planned, returned, home] = &watch.stages[..] else { panic!("five stages") };
        assert_eq!(table_has(start), table_has(failed), "nothing moves by itself");
        assert!(
            failed.machines.iter().all(|m| m.is_stranded() == m.held_by.iter().all(|h| h.member == victim))
        );
        assert!(table_has(planned).iter().all(|(member, ..)| *member != victim));
        assert_eq!(table_has(planned).len(), usize::from(MACHINES));
        assert_eq!(table_has(planned), table_has(returned));
        let members = |stage| table_has(stage).into_iter().map(|(member, _, machine)| (member, machine));
        assert!(members(home).eq(members(start)), "everyone is home");
    }

    #[test]
    fn a_frame_of_a_machines_vlan_comes_by_its_queue_and_any_other_by_the_default_one() {
        let net = net(Placement::EveryMember);
        let mac = net.mac(net.vm(0));
        let vnics = vec![vec![VnicAddress { mac, vid: Some(20) }]];
        let mut watch = Watch::of(&net, vnics, Placement::EveryMember, vec![16; 3]);
        let plain = net.external_flow(net.vm(0), 1).frame(1, 60);
        let tagged = [&plain[..12], &[0x81, 0, 0, 20], &plain[12..]].concat();
        let foreign = net.external_flow(net.vm(1), 1).frame(1, 60);
        net.receive_external(2, &[tagged.clone(), plain, tagged, foreign]);
        watch.end();
        let machine = &watch.stages[0].machines[0];
        assert_eq!((machine.frames_own_queue, machine.frames_default_queue), (2, 1));
        assert_eq!(machine.arrives_on, [2]);
        let member = &watch.stages[0].members[1];
        let counts = (member.frames_own_queue, member.frames_default_queue, member.frames_other);
        assert_eq!(counts, (2, 1, 1));
    }
}
