//! Adapters of one VM that fail over to each other (AllowTeaming): who may send from which address, and where that is
//! reached then.

use teaming::Heap;
use teaming::forward::drop_reason::DropReason;
use teaming::forward::{Forwarding, OutOfBand, Packet, Verdict};
use teaming::ids::{AdapterId, BUCKETS, MEMBERS, MacAddr, MemberIndex, NicId, NicIndex, PortId, Ticks};
use teaming::oid::nic::{NicKind, NicOp, NicParameters, VmId};
use teaming::ports::host::{HeapHost, Part};
use teaming::ports::mac_learning::AGE;
use teaming::ports::policy::Security;
use teaming::ports::storage::PortTableStorage;
use teaming::ports::vlan::VlanProperty;
use teaming::settings::{Settings, TeamingMode};
use teaming::team::member::{Member, MemberEvent};
use teaming::team::{Next, Team};

const HOST: MacAddr = MacAddr([2, 0xee, 0, 0, 0, 1]);
/// Two adapters of one VM, one of another, and one of no VM.
const A: u32 = 10;
const B: u32 = 11;
const STRANGER: u32 = 12;
const HOSTS: u32 = 13;
/// An adapter of the first VM whose port allows any source address, and one of yet another VM like that.
const BRIDGE: u32 = 14;
const NESTED: u32 = 15;
/// Nobody's port but a plain VM's.
const PLAIN: u32 = 16;

const TEAMING: Security = Security { teaming: true, ..Security::STRICT };
const SPOOFING: Security = Security { mac_spoofing: true, ..Security::STRICT };

fn mac(port: u32) -> MacAddr {
    MacAddr([2, 0, 0, 0, 0, port as u8])
}

const fn nic(port: u32) -> NicId {
    NicId::new(PortId::new(port), NicIndex::new(0))
}

fn outside(member: u16) -> NicId {
    NicId::new(PortId::new(1), NicIndex::new(member))
}

fn vm(port: u32) -> VmId {
    match port {
        A | B | BRIDGE => VmId::of(b"one"),
        HOSTS => VmId::NONE,
        other => VmId::of(&other.to_le_bytes()),
    }
}

fn parameters(port: u32) -> NicParameters {
    let kind = match port {
        1 => NicKind::External,
        HOSTS => NicKind::Internal,
        B => NicKind::Emulated,
        _ => NicKind::Synthetic,
    };
    NicParameters {
        id: nic(port),
        kind,
        current_mac: mac(port),
        permanent_mac: mac(port),
        vm_mac: mac(port),
        mtu: 1500,
        vm: vm(port),
        vf_assigned: false,
        initializing: true,
        adapter: AdapterId::UNKNOWN,
    }
}

struct Switch {
    forwarding: Forwarding<Heap>,
    now: Ticks,
}

fn switch(mode: TeamingMode) -> Switch {
    switch_of(mode, HeapHost::default(), &[A, B, STRANGER, HOSTS, BRIDGE, NESTED, PLAIN])
}

fn switch_of(mode: TeamingMode, host: HeapHost, ports: &[u32]) -> Switch {
    let settings =
        Settings { mode, flowlet_gap: Ticks::ZERO, link_up_delay: Ticks::ZERO, ..Settings::default() };
    let mut forwarding = Forwarding::of_host(16, &settings, host);
    for &port in ports {
        forwarding.create_port(PortId::new(port), false).unwrap();
        forwarding.on_vnic(NicOp::Connect, &parameters(port)).unwrap();
        let security = match port {
            BRIDGE => Security { mac_spoofing: true, ..TEAMING },
            NESTED => SPOOFING,
            PLAIN => Security::STRICT,
            _ => TEAMING,
        };
        forwarding.set_security(PortId::new(port), Some(security));
    }
    forwarding.on_external(NicOp::Create, &parameters(1));
    let mut team = Team::new(vec![0; BUCKETS], Next::at_once(), vec![Member::ABSENT; MEMBERS], &settings);
    for member in [1, 2] {
        let plan = team.on(MemberIndex::new(member).unwrap(), MemberEvent::Connected, Ticks::ZERO);
        forwarding.publish(&plan, team.home(), Ticks::ZERO);
    }
    Switch { forwarding, now: Ticks::from_ms(1_000) }
}

type Change = fn(&mut Switch);

fn modes() -> [Switch; 2] {
    [TeamingMode::Static, TeamingMode::SwitchIndependent].map(switch)
}

impl Switch {
    fn verdict(&self, from: NicId, source: MacAddr, to: MacAddr) -> Verdict {
        let frame = [&to.0[..], &source.0, &[0x08, 0, 0x45]].concat();
        let packet = Packet { source: from, window: &frame, pinned: None, native: false, now: self.now };
        self.forwarding.decide_alone(&packet, &OutOfBand::NOTHING).verdict
    }

    /// Whether the frame may leave.
    fn leaves(&self, from: u32, source: MacAddr) -> bool {
        match self.verdict(nic(from), source, HOST) {
            Verdict::Uplink(_) | Verdict::Flood { uplink: Some(_) } => true,
            Verdict::Drop(DropReason::SpoofedAddress) => false,
            other => panic!("{other:?}"),
        }
    }

    /// The port that gets a frame for an address, from a plain VM and from outside; `None` if no port is known to have it.
    fn reached(&self, to: MacAddr) -> Option<u32> {
        let [inside, external] =
            [self.verdict(nic(PLAIN), mac(PLAIN), to), self.verdict(outside(1), HOST, to)].map(|verdict| {
                match verdict {
                    Verdict::Deliver(nic) => Some(nic.port.get()),
                    Verdict::Uplink(_) | Verdict::Flood { .. } => None,
                    Verdict::Drop(DropReason::NoDestination) => None,
                    other => panic!("{other:?}"),
                }
            });
        assert_eq!(inside, external, "from inside and from outside");
        inside
    }

    fn on(&mut self, op: NicOp, port: u32) {
        self.forwarding.on_vnic(op, &parameters(port)).unwrap();
    }

    fn secure(&mut self, port: u32, security: Option<Security>) {
        self.forwarding.set_security(PortId::new(port), security);
    }
}

#[test]
fn an_address_is_reached_at_the_adapter_of_the_vm_that_sent_from_it_last() {
    for switch in modes() {
        assert_eq!(switch.reached(mac(A)), Some(A));
        assert!(switch.leaves(B, mac(A)));
        assert_eq!(switch.reached(mac(A)), Some(B), "the guest has moved its team");
        assert_eq!(switch.reached(mac(B)), Some(B), "its own stays");
        assert!(switch.leaves(A, mac(A)));
        assert_eq!(switch.reached(mac(A)), Some(A), "and back");
        assert!(switch.leaves(BRIDGE, mac(A)), "an adapter that may learn, too");
        assert_eq!(switch.reached(mac(A)), Some(BRIDGE));
        assert!(switch.leaves(A, mac(A)));
        assert_eq!(switch.reached(mac(A)), Some(A));
    }
}

#[test]
fn an_address_of_a_disconnected_adapter_is_taken_over_and_is_nobodys_until_then() {
    for mut switch in modes() {
        switch.on(NicOp::Disconnect, A);
        assert_eq!(switch.reached(mac(A)), None);
        assert!(switch.leaves(B, mac(A)));
        assert_eq!(switch.reached(mac(A)), Some(B));
        switch.on(NicOp::Connect, A);
        assert_eq!(switch.reached(mac(A)), Some(B), "until its owner sends");
        assert!(switch.leaves(A, mac(A)));
        assert_eq!(switch.reached(mac(A)), Some(A));
        // Only created.
        switch.on(NicOp::Delete, A);
        switch.on(NicOp::Create, A);
        assert!(switch.leaves(B, mac(A)));
        assert_eq!(switch.reached(mac(A)), Some(B));
    }
}

#[test]
fn nothing_but_an_address_in_use_by_another_adapter_of_the_vm_that_may_be_teamed_is_to_be_had() {
    for mut switch in modes() {
        for other in [STRANGER, HOSTS, PLAIN, NESTED] {
            assert!(!switch.leaves(A, mac(other)), "port {other}");
            assert!(!switch.leaves(HOSTS, mac(other)) || other == HOSTS, "port {other}");
            assert!(!switch.leaves(STRANGER, mac(other)) || other == STRANGER, "port {other}");
        }
        for odd in [MacAddr::ZERO, HOST, MacAddr::BROADCAST] {
            assert!(!switch.leaves(A, odd), "{odd:?}");
        }
        // An address that it had before is in use no more, one that it has now is.
        let renewed = MacAddr([2, 0, 0, 9, 9, 9]);
        let other = NicParameters { current_mac: renewed, ..parameters(B) };
        switch.forwarding.on_vnic(NicOp::Update, &other).unwrap();
        assert!(!switch.leaves(A, mac(B)) && switch.leaves(A, renewed));
        assert_eq!(switch.reached(renewed), Some(A));
    }
}

#[test]
fn what_is_revoked_on_either_port_ends_at_once() {
    let revocations: [(&str, Change); 7] = [
        ("the borrower's property is removed", |switch| switch.secure(B, None)),
        ("the borrower's property changes", |switch| switch.secure(B, Some(Security::STRICT))),
        ("the owner's property is removed", |switch| switch.secure(A, None)),
        ("the owner is deleted", |switch| {
            switch.on(NicOp::Disconnect, A);
            switch.on(NicOp::Delete, A);
        }),
        ("the owner's port is deleted", |switch| switch.forwarding.delete_port(PortId::new(A))),
        ("the owner gets another address", |switch| {
            let other = MacAddr([2, 0, 0, 9, 9, 9]);
            let other =
                NicParameters { current_mac: other, permanent_mac: other, vm_mac: other, ..parameters(A) };
            switch.forwarding.on_vnic(NicOp::Update, &other).unwrap();
        }),
        ("the owner's port is given to another VM", |switch| {
            switch.on(NicOp::Disconnect, A);
            switch.on(NicOp::Delete, A);
            let other = NicParameters { vm: vm(STRANGER), ..parameters(A) };
            switch.forwarding.on_vnic(NicOp::Create, &other).unwrap();
        }),
    ];
    for (what, revoke) in revocations {
        for mut switch in modes() {
            assert!(switch.leaves(B, mac(A)));
            revoke(&mut switch);
            assert!(!switch.leaves(B, mac(A)), "{what}");
            assert_ne!(switch.reached(mac(A)), Some(B), "{what}");
            assert_eq!(switch.reached(mac(B)), Some(B), "{what}");
        }
    }
}

#[test]
fn adapters_in_different_virtual_subnets_are_no_team() {
    let in_subnet = |subnet, security: Security| Some(Security { virtual_subnet: subnet, ..security });
    for mut switch in modes() {
        // One that may use any address sends from it, and takes nothing over in a network that it is not in.
        switch.secure(B, in_subnet(5_001, Security { mac_spoofing: true, ..TEAMING }));
        switch.verdict(nic(B), mac(A), HOST);
        assert_eq!(switch.reached(mac(A)), Some(A));
        switch.secure(B, in_subnet(5_001, TEAMING));
        assert!(!switch.leaves(B, mac(A)));
        switch.secure(B, in_subnet(0, TEAMING));
        assert!(switch.leaves(B, mac(A)));
        assert_eq!(switch.reached(mac(A)), Some(B));
    }
}

#[test]
fn an_adapter_that_is_gone_leaves_the_address_to_its_owner_and_nothing_to_who_comes_to_its_place() {
    for mut switch in modes() {
        assert!(switch.leaves(B, mac(A)));
        switch.on(NicOp::Disconnect, B);
        assert_eq!(switch.reached(mac(A)), Some(A));
        switch.on(NicOp::Connect, B);
        assert_eq!(switch.reached(mac(A)), Some(A), "until it sends again");
        assert!(switch.leaves(B, mac(A)));
        switch.forwarding.delete_port(PortId::new(B));
        // Another adapter of the VM in the same place of the table.
        switch.forwarding.create_port(PortId::new(40), false).unwrap();
        let other = NicParameters { id: nic(40), current_mac: mac(40), ..parameters(A) };
        switch.forwarding.on_vnic(NicOp::Connect, &other).unwrap();
        switch.secure(40, Some(TEAMING));
        assert_eq!(switch.reached(mac(A)), Some(A));
        assert!(switch.leaves(40, mac(A)));
        assert_eq!(switch.reached(mac(A)), Some(40));
    }
}

#[test]
fn an_adapter_whose_vm_uses_a_function_lends_its_address_too() {
    for mut switch in modes() {
        let other = NicParameters { vf_assigned: true, ..parameters(A) };
        switch.forwarding.on_vnic(NicOp::Update, &other).unwrap();
        assert!(switch.leaves(B, mac(A)));
        assert_eq!(switch.reached(mac(A)), Some(B));
    }
}

#[test]
fn silence_moves_no_address_back() {
    for mut switch in modes() {
        assert!(switch.leaves(B, mac(A)));
        switch.now = Ticks::new(3 * AGE.get());
        assert_eq!(switch.reached(mac(A)), Some(B));
        switch.on(NicOp::Disconnect, A);
        assert_eq!(switch.reached(mac(A)), Some(B));
    }
}

#[test]
fn no_frame_from_outside_and_no_other_vm_moves_an_address_that_an_adapter_has_taken_over() {
    for mut switch in modes() {
        for connected in [true, false] {
            if !connected {
                switch.on(NicOp::Disconnect, A);
            }
            assert!(switch.leaves(B, mac(A)));
            for (round, to) in
                [mac(PLAIN), MacAddr::BROADCAST, mac(NESTED), HOST].into_iter().cycle().take(12).enumerate()
            {
                switch.now = Ticks::from_ms(2_000 + 10_000 * round as u64);
                switch.verdict(outside(1 + round as u16 % 2), mac(A), to);
                assert_eq!(switch.reached(mac(A)), Some(B), "from outside, connected {connected}");
            }
            // A VM that may send from any address.
            switch.verdict(nic(NESTED), mac(A), HOST);
            assert_eq!(switch.reached(mac(A)), Some(B), "another VM, connected {connected}");
        }
    }
}

#[test]
fn nothing_from_outside_with_that_address_reaches_its_owner_or_who_has_taken_it_over() {
    for switch in modes() {
        assert!(switch.leaves(B, mac(A)));
        let frame = [&MacAddr::BROADCAST.0[..], &mac(A).0, &[0x08, 0, 0x45]].concat();
        let from = outside(1);
        let packet = Packet { source: from, window: &frame, pinned: None, native: false, now: switch.now };
        let decision = switch.forwarding.decide_alone(&packet, &OutOfBand::NOTHING);
        let source_port = switch.forwarding.source_port(from);
        let audience = switch.forwarding.audience(&decision);
        let reached = switch.forwarding.reach(&source_port, &audience, 0);
        let reached: Vec<u32> = switch.forwarding.targets(reached).map(|to| to.nic().port.get()).collect();
        assert_eq!(reached, [STRANGER, HOSTS, BRIDGE, NESTED, PLAIN]);
        let to_user = switch.verdict(from, mac(A), mac(B));
        assert_eq!(to_user, Verdict::RefusedBy(PortId::new(B), DropReason::Reflection));
    }
}

#[test]
fn an_address_is_taken_over_in_the_vlan_of_the_port_alone() {
    for mut switch in modes() {
        let set = |switch: &mut Switch, port, vlan| {
            let vlan = VlanProperty::Access { vlan }.check().unwrap();
            switch.forwarding.set_vlans(PortId::new(port), Some(&vlan)).unwrap();
        };
        set(&mut switch, B, 30);
        assert!(switch.leaves(B, mac(A)));
        assert_eq!(switch.reached(mac(A)), Some(A));
        set(&mut switch, PLAIN, 30);
        assert_eq!(switch.verdict(nic(PLAIN), mac(PLAIN), mac(A)), Verdict::Deliver(nic(B)));
        set(&mut switch, B, 31);
        let refused = Verdict::RefusedBy(PortId::new(A), DropReason::VlanMismatch);
        assert_eq!(switch.verdict(nic(PLAIN), mac(PLAIN), mac(A)), refused);
    }
}

#[test]
fn larger_storage_keeps_what_may_be_taken_over_and_what_was() {
    for mut switch in modes() {
        assert!(switch.leaves(B, mac(A)));
        switch.forwarding.ports.grow(&mut PortTableStorage::on_heap(64));
        assert_eq!(switch.reached(mac(A)), Some(B));
        assert!(switch.leaves(A, mac(B)) && !switch.leaves(A, mac(STRANGER)));
        switch.secure(A, None);
        assert!(!switch.leaves(B, mac(A)));
    }
}

#[test]
fn frames_of_other_vms_are_looked_for_inside_only_while_an_adapter_has_taken_an_address_over() {
    for mut switch in modes() {
        switch.secure(NESTED, None);
        switch.secure(BRIDGE, None);
        assert!(!switch.forwarding.ports.searches());
        assert!(switch.leaves(B, mac(B)) && !switch.forwarding.ports.searches());
        assert!(switch.leaves(B, mac(A)) && switch.forwarding.ports.searches());
        for port in [A, B, STRANGER] {
            switch.secure(port, None);
        }
        assert!(!switch.forwarding.ports.searches());
    }
}

/// Two switches of one host: the first has one adapter of the guest, the second the other. Both have the other ports.
fn two_switches(mode: TeamingMode) -> [Switch; 2] {
    let host = HeapHost::shared();
    let others = [STRANGER, HOSTS, PLAIN];
    [A, B].map(|port| switch_of(mode, host.clone(), &[&[port][..], &others].concat()))
}

fn both_modes() -> [[Switch; 2]; 2] {
    [TeamingMode::Static, TeamingMode::SwitchIndependent].map(two_switches)
}

#[test]
fn a_guest_fails_over_to_its_adapter_on_another_switch_and_back() {
    for [mut first, second] in both_modes() {
        for connected in [true, false] {
            if !connected {
                first.on(NicOp::Disconnect, A);
            }
            assert!(second.leaves(B, mac(A)));
            assert_eq!(second.reached(mac(A)), Some(B));
            assert!(!second.leaves(STRANGER, mac(A)) && !second.leaves(B, mac(40)));
            assert_eq!(first.reached(mac(B)), None);
        }
        first.on(NicOp::Connect, A);
        assert!(first.leaves(A, mac(A)) && first.leaves(A, mac(B)));
        assert_eq!(first.reached(mac(B)), Some(A));
    }
}

#[test]
fn an_address_of_another_switch_is_outside_when_it_is_heard_there() {
    for [_, mut second] in both_modes() {
        assert!(second.leaves(B, mac(A)));
        second.now = Ticks::from_ms(20_000);
        second.verdict(outside(1), mac(A), MacAddr::BROADCAST);
        assert_eq!(second.reached(mac(A)), None, "its owner has sent, on the other switch");
        assert!(second.leaves(B, mac(A)));
        assert_eq!(second.reached(mac(A)), Some(B));
        second.verdict(outside(1), mac(A), mac(PLAIN));
        assert_eq!(second.reached(mac(A)), None, "unicast that nobody here would have sent");
    }
}

#[test]
fn what_ends_on_one_switch_ends_on_all() {
    let ends: [(&str, Change); 5] = [
        ("the property is removed", |switch| switch.secure(A, None)),
        ("the adapter is deleted", |switch| {
            switch.on(NicOp::Disconnect, A);
            switch.on(NicOp::Delete, A);
        }),
        ("the port is deleted", |switch| switch.forwarding.delete_port(PortId::new(A))),
        ("the adapter is another VM's", |switch| {
            let other = NicParameters { vm: vm(STRANGER), ..parameters(A) };
            switch.forwarding.on_vnic(NicOp::Update, &other).unwrap();
        }),
        ("the switch goes", |switch| switch.forwarding.ports.leave_host()),
    ];
    for (what, end) in ends {
        for [mut first, second] in both_modes() {
            assert!(second.leaves(B, mac(A)));
            end(&mut first);
            assert!(!second.leaves(B, mac(A)), "{what}");
            assert_eq!(second.reached(mac(A)), None, "{what}");
            assert_eq!(second.reached(mac(B)), Some(B), "{what}");
        }
    }
}

#[test]
fn an_address_that_the_host_has_no_room_for_is_told_and_shared_as_soon_as_there_is() {
    let host = HeapHost::shared();
    let ports: Vec<u32> =
        (100..).filter(|&port| Part::of(mac_of(port)) == Part::of(mac_of(100))).take(20).collect();
    let settings = Settings::default();
    let [mut first, mut second] = [(), ()].map(|()| Forwarding::of_host(32, &settings, host.clone()));
    let connect = |switch: &mut Forwarding<Heap>, port: u32, address: MacAddr| {
        let nic = NicParameters {
            current_mac: address,
            permanent_mac: address,
            vm_mac: address,
            ..parameters(port)
        };
        let nic = NicParameters { vm: VmId::of(b"large"), ..nic };
        switch.create_port(nic.id.port, false).unwrap();
        switch.on_vnic(NicOp::Connect, &nic).unwrap();
        switch.set_security(nic.id.port, Some(TEAMING));
    };
    for &port in &ports {
        connect(&mut first, port, mac_of(port));
    }
    let refused = first.ports.unshared();
    assert!(refused > 0 && refused < ports.len());
    connect(&mut second, 10, mac(10));
    let allowed = |second: &Forwarding<Heap>| {
        let port = *second.ports.get(PortId::new(10)).unwrap();
        ports.iter().filter(|&&of| second.ports.may_use(&port, mac_of(of))).count()
    };
    assert_eq!(allowed(&second), ports.len() - refused);
    // On its own switch nothing depends on it.
    let port = *first.ports.get(PortId::new(ports[0])).unwrap();
    assert!(ports.iter().all(|&of| first.ports.may_use(&port, mac_of(of))));
    for &port in &ports[..refused] {
        first.delete_port(PortId::new(port));
    }
    first.ports.share_again();
    assert_eq!((first.ports.unshared(), allowed(&second)), (0, ports.len() - refused));
    first.ports.leave_host();
    assert_eq!(allowed(&second), 0);
}

fn mac_of(port: u32) -> MacAddr {
    let [_, _, high, low] = port.to_be_bytes();
    MacAddr([2, 0, 0, 7, high, low])
}
