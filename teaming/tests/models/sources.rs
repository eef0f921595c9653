//! The source addresses that a port may use, and the ports whose properties must still be read, each against a plain
//! list.

use std::collections::BTreeMap;

use proptest::prelude::*;
use teaming::forward::drop_reason::DropReason;
use teaming::ids::{MacAddr, PortId};
use teaming::oid::nic::{NicKind, NicOp, NicParameters, VmId};
use teaming::ports::policy::Security;
use teaming::settings::TeamingMode;

use crate::host::{Host, REMOTE, group, nic, parameters, settings, stray, walks};

/// The current, the permanent and the VM's address of the NIC on a port.
fn address(port: u32, kind: u8) -> MacAddr {
    MacAddr([2, 0xf0, 0, 0, kind, port as u8])
}

/// NICs 10 and 11 belong to one VM, 12 to another, 13 and 14 to the host.
fn adapter(port: u32) -> NicParameters {
    let vm = match port {
        10 | 11 => VmId::of(b"one"),
        12 => VmId::of(b"other"),
        _ => VmId::NONE,
    };
    NicParameters {
        current_mac: address(port, 1),
        permanent_mac: address(port, 2),
        vm_mac: if port == 11 { MacAddr::ZERO } else { address(port, 3) },
        vm,
        ..parameters(port, NicKind::Synthetic)
    }
}

#[test]
fn a_port_sends_with_its_adapters_addresses_and_those_that_its_policy_adds() {
    let ports = 10..15_u32;
    for (mac_spoofing, teaming) in [(false, false), (false, true), (true, false), (true, true)] {
        for away in [None, Some(11)] {
            let mut host = Host::new(&settings(TeamingMode::Static), 8);
            for port in ports.clone() {
                host.forwarding.create_port(PortId::new(port), false).unwrap();
                host.forwarding.on_vnic(NicOp::Connect, &adapter(port)).unwrap();
                let security = Security { mac_spoofing, teaming, ..Security::STRICT };
                host.forwarding.set_security(PortId::new(port), Some(security));
            }
            if let Some(away) = away {
                host.forwarding.on_vnic(NicOp::Disconnect, &adapter(away)).unwrap();
            }
            let those =
                ports.clone().flat_map(|port| [1, 2, 3].map(|kind| (port, kind, address(port, kind))));
            let nobodys =
                [stray(1), MacAddr::ZERO, group(1), MacAddr::BROADCAST].map(|source| (0, 0, source));
            for (owner, kind, source) in those.chain(nobodys) {
                for port in ports.clone().filter(|port| Some(*port) != away) {
                    // The VM of port 11 has no address of its own.
                    let mine = owner == port && (owner, kind) != (11, 3);
                    // The current address of another NIC of the same VM, connected or not.
                    let mates = kind == 1 && [(10, 11), (11, 10)].contains(&(port, owner));
                    let allowed = mine || mac_spoofing || teaming && mates;
                    let refused = host.plain(nic(port, 0), source, REMOTE) == Err(DropReason::SpoofedAddress);
                    let told = format!(
                        "{source} from {port}, spoofing {mac_spoofing}, teaming {teaming}, away {away:?}"
                    );
                    assert_eq!(refused, !allowed, "{told}");
                }
            }
            // The NIC's own addresses and invalid addresses are not learned.
            let learned = host.forwarding.learned.len();
            assert_eq!(learned == 0, !mac_spoofing && !teaming);
            for none in [MacAddr::ZERO, group(1), MacAddr::BROADCAST] {
                assert_eq!(host.forwarding.learned.find(none, None, host.now), None);
            }
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Create(u32, bool),
    TearDown(u32),
    Delete(u32),
    Close(u32),
    /// The properties of a port were read; whether they changed meanwhile.
    Read(u32, bool),
}

fn any_step() -> impl Strategy<Value = Step> {
    let port = || 10..14_u32;
    prop_oneof![
        3 => (port(), any::<bool>()).prop_map(|(port, closed)| Step::Create(port, closed)),
        1 => port().prop_map(Step::TearDown),
        2 => port().prop_map(Step::Delete),
        1 => port().prop_map(Step::Close),
        3 => (port(), any::<bool>()).prop_map(|(port, meanwhile)| Step::Read(port, meanwhile)),
    ]
}

proptest! {
    #![proptest_config(walks(300))]

    /// A port is in the list if it was found without its properties or was closed, until they are read, unless its
    /// teardown has begun.
    #[test]
    fn the_ports_to_be_read_after_any_walk_are_those_of_a_list(steps in prop::collection::vec(any_step(), 1..60)) {
        let mut host = Host::new(&settings(TeamingMode::Static), 4);
        // Whether it is unread, and whether its teardown has begun.
        let mut list = BTreeMap::<u32, (bool, bool)>::new();
        for step in steps {
            let forwarding = &mut host.forwarding;
            match step {
                Step::Create(port, closed) => {
                    forwarding.create_port(PortId::new(port), closed).unwrap();
                    list.entry(port).or_insert((closed, false)).1 = false;
                }
                Step::TearDown(port) => {
                    forwarding.tear_down(PortId::new(port));
                    list.entry(port).and_modify(|entry| *entry = (true, true));
                }
                Step::Delete(port) => {
                    forwarding.delete_port(PortId::new(port));
                    list.remove(&port);
                }
                Step::Close(port) => {
                    forwarding.close(PortId::new(port));
                    list.entry(port).and_modify(|entry| entry.0 = true);
                }
                Step::Read(port, meanwhile) => {
                    let id = PortId::new(port);
                    let revision = forwarding.ports.revision(id).unwrap_or(0);
                    if meanwhile {
                        forwarding.set_security(id, Some(Security::STRICT));
                    }
                    let replaced = forwarding.replace_policy(id, revision, None, None, false).unwrap();
                    let known = list.contains_key(&port);
                    prop_assert_eq!(replaced, !known || !meanwhile);
                    if replaced {
                        list.entry(port).and_modify(|entry| entry.0 = false);
                    }
                }
            }
            let mut unread = Vec::new();
            let mut from = 0;
            while let Some((port, next)) = host.forwarding.ports.unread(from) {
                unread.push(port.get());
                from = next;
            }
            unread.sort_unstable();
            let of_list = list.iter().filter(|(_, entry)| **entry == (true, false));
            let expected: Vec<u32> = of_list.map(|(&port, _)| port).collect();
            prop_assert_eq!(unread, expected, "after {:?}", step);
        }
    }
}
