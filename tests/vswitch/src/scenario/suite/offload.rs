//! Random sequences of commands: offload requests, status, links, life cycle of NICs, pause and restart. A sequence is
//! a list that can be repeated, shortened and printed.

use crate::adapter::capabilities::Capabilities;
use crate::adapter::wire::oid;
use crate::scenario::guest::Packet;
use crate::scenario::suite::MS;
use crate::scenario::{CAPABILITY_CODES, Net};
use crate::switch::control::below::{Completion, Plan};
use crate::switch::control::envelope::Inner;
use crate::switch::control::offload::queue_parameters;
use crate::switch::control::status::Status;
use crate::switch::ports::NicId;

/// Number of guests of a sequence.
pub const GUESTS: u16 = 6;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Command {
    StartQueue(u16),
    AllocateQueue(u16),
    Release(u16),
    PlanAgain,
    Function(u16),
    Associations(u16),
    DeleteAssociations(u16),
    UpdateAssociations(u16),
    /// Reads and changes all that the guest holds.
    Use(u16),
    RefuseQueue(u16, i32),
    CancelQueue(u16),
    Fail(u16),
    Restore(u16),
    Unplug(u16),
    Replug(u16),
    AddGuest(u16),
    RemoveGuest(u16),
    Abilities(u16, u64, bool),
    Storm(u16, u8),
    Pause,
    Restart,
    AttachAgain,
    RefuseReferences(u64),
    Send(u16),
    Receive(u16, u16),
    Wait,
}

/// Random numbers from a seed.
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((u128::from(self.0) * u128::from(n)) >> 64) as u64
    }
}

/// A random sequence for a team of `members`.
pub fn sequence(seed: u64, length: usize, members: u16) -> Vec<Command> {
    let mut draw = Draw::new(seed);
    (0..length).map(|_| command(&mut draw, members)).collect()
}

fn command(draw: &mut Draw, members: u16) -> Command {
    let kind = draw.below(44);
    let guest = draw.below(u64::from(GUESTS)) as u16;
    let member = 1 + draw.below(u64::from(members)) as u16;
    match kind {
        0..=4 => Command::StartQueue(guest),
        5 => Command::AllocateQueue(guest),
        6..=8 => Command::Release(guest),
        9 => Command::PlanAgain,
        10..=11 => Command::Function(guest),
        12..=13 => Command::Associations(guest),
        14 => Command::DeleteAssociations(guest),
        15 => Command::UpdateAssociations(guest),
        16 => Command::RefuseQueue(
            guest,
            [-1_073_741_670, -1_073_741_637, -1_073_741_823][draw.below(3) as usize],
        ),
        17 => Command::CancelQueue(guest),
        18..=19 => Command::Fail(member),
        20..=22 => Command::Restore(member),
        23 => Command::Unplug(member),
        24..=25 => Command::Replug(member),
        26 => Command::AddGuest(guest),
        27 => Command::RemoveGuest(guest),
        28..=29 => Command::Abilities(member, draw.below(1 << 30), draw.below(2) == 0),
        30 => Command::Storm(member, 3 + draw.below(9) as u8),
        31 => Command::Pause,
        32..=33 => Command::Restart,
        34 => Command::AttachAgain,
        35 => Command::RefuseReferences([0, 20, 100][draw.below(3) as usize]),
        36..=37 => Command::Send(guest),
        38 => Command::Receive(member, guest),
        39..=42 => Command::Use(guest),
        _ => Command::Wait,
    }
}

/// Requests that the extension must forward unread or that only resemble others, and one that is cancelled.
pub fn odd_requests(net: &Net) {
    let (from, external) = (net.vm(0), net.member(0));
    let later = Plan { status: 0, completion: Some(Completion::Later) };
    let unknown = Inner::method(0x0001_0E77, vec![1; 20]);
    let parameters = queue_parameters(1, from.port, 1);
    for (to, inner) in [
        (external, &unknown),
        (external, &Inner::set(oid::ALLOCATE_QUEUE, parameters)),
        (external, &Inner::method(oid::ALLOCATE_QUEUE, vec![3; 1084])),
        (NicId::NOWHERE, &Inner::set(oid::ADD_MULTICAST, vec![1, 0, 0x5E, 0, 0, 1])),
    ] {
        net.ask_nic(from, to, inner, Plan::default());
    }
    net.cancel_next();
    net.ask_nic(from, external, &unknown, later);
}

/// Runs a sequence. A command that is not possible in the present state is skipped, because the switch would not issue
/// it.
pub fn run(net: &Net, commands: &[Command]) {
    for command in commands {
        step(net, *command);
    }
    net.look(|state| state.style.refuse_references = 0);
    net.restart();
    // What was refused is tried again within a minute.
    net.advance(61_000 * MS);
    net.settle();
}

fn step(net: &Net, command: Command) {
    let there = |member: u16| {
        net.look(move |s| s.modules[0].topology.nic(NicId::new(1, member)).is_some()).unwrap_or(false)
    };
    // A guest has one queue or one virtual function or neither, because virtual ports replace queues
    // (nondefault-virtual-ports-and-vmq.md). So no id denotes two resources of a guest.
    let idle = |guest: u16| {
        let held = net.holds(net.vm(guest));
        held.queues.is_empty() && held.functions.is_empty()
    };
    match command {
        Command::StartQueue(guest) if idle(guest) => _ = net.start_queue(net.vm(guest)),
        Command::AllocateQueue(guest) if idle(guest) => {
            _ = net.offload(net.vm(guest), |p| p.allocate_queue())
        }
        Command::Release(guest) => net.release(net.vm(guest)),
        Command::PlanAgain => net.plan_again(),
        Command::Function(guest) if idle(guest) => {
            _ = net.start_function(net.vm(guest));
        }
        Command::Associations(guest) if net.holds(net.vm(guest)).associations.is_empty() => {
            // All at once or a single one, so that no handle denotes two associations of a guest.
            net.offload(net.vm(guest), move |p| {
                if guest % 2 == 0 {
                    p.add_associations(&[1, 2, 3]).first().copied()
                } else {
                    p.add_association_ex(4)
                }
            });
        }
        Command::DeleteAssociations(guest) => {
            let all = net.holds(net.vm(guest)).associations;
            net.offload(net.vm(guest), move |p| p.delete_associations(&all));
        }
        Command::UpdateAssociations(guest) => {
            let all = net.holds(net.vm(guest)).associations;
            net.offload(net.vm(guest), move |p| all.iter().all(|handle| p.update_association(*handle, 9)));
        }
        Command::Use(guest) => _ = net.offload(net.vm(guest), |p| p.use_all()),
        Command::RefuseQueue(guest, status) if idle(guest) => {
            let plan = Plan { status, completion: None };
            net.offload_planned(net.vm(guest), plan, |p| p.allocate_queue());
        }
        Command::CancelQueue(guest) if idle(guest) => {
            net.cancel_next();
            let plan = Plan { status: 0, completion: Some(Completion::Later) };
            net.offload_planned(net.vm(guest), plan, |p| p.allocate_queue());
        }
        Command::Fail(member) if there(member) => net.fail(member),
        Command::Restore(member) if there(member) => net.restore(member),
        Command::Unplug(member) if there(member) => net.unplug(member),
        Command::Replug(member) if !there(member) => net.replug(member),
        Command::AddGuest(guest) => net.add_vm(guest),
        Command::RemoveGuest(guest) => net.remove_vm(guest),
        Command::Abilities(member, seed, from_team) if there(member) => {
            let mut draw = Draw::new(seed);
            let abilities = Capabilities::random(|n| draw.below(n));
            net.change_abilities(member, abilities, &CAPABILITY_CODES, from_team);
        }
        Command::Storm(member, count) if there(member) => {
            for n in 0..count {
                let code = [0x4002_0010, 0x4002_0070, 0x4001_0003, 0x4002_0030][usize::from(n % 4)];
                net.status(Status {
                    code,
                    buffer: vec![n; usize::from(n) * 7],
                    from: Some(net.member(member)),
                });
            }
        }
        Command::Pause => net.pause(),
        Command::Restart => _ = net.restart(),
        Command::AttachAgain => {
            net.detach();
            net.attach();
        }
        Command::RefuseReferences(percent) => {
            net.look(move |state| state.style.refuse_references = percent);
        }
        Command::Send(guest) => {
            let from = net.vm(guest);
            net.send(from, &[net.flow(from, 3).frame(1, 60)]);
            for handle in net.holds(from).associations {
                let packet = Packet::of(net.flow(from, 3).frame(1, 60));
                net.send_packets(vec![(from, Packet { association: Some(handle), ..packet })]);
            }
        }
        Command::Receive(member, guest) if there(member) => {
            net.receive_external(member, &[net.external_flow(net.vm(guest), 4).frame(1, 60)]);
        }
        // Long enough for what was refused to be tried again.
        Command::Wait => net.advance(200 * MS),
        Command::StartQueue(_)
        | Command::AllocateQueue(_)
        | Command::Function(_)
        | Command::Associations(_)
        | Command::RefuseQueue(..)
        | Command::CancelQueue(_)
        | Command::Abilities(..)
        | Command::Storm(..)
        | Command::Fail(_)
        | Command::Restore(_)
        | Command::Unplug(_)
        | Command::Replug(_)
        | Command::Receive(..) => {}
    }
}

/// Shortens a sequence, first by halves and then by single commands, as long as `fails` holds.
pub fn shrink(mut commands: Vec<Command>, fails: impl Fn(&[Command]) -> bool) -> Vec<Command> {
    let mut piece = commands.len().div_ceil(2);
    while piece > 0 {
        let mut at = 0;
        while at < commands.len() {
            let mut shorter = commands.clone();
            shorter.drain(at..(at + piece).min(commands.len()));
            if fails(&shorter) { commands = shorter } else { at += piece }
        }
        piece /= 2;
    }
    commands
}
