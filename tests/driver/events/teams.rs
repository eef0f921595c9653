//! Events about addresses that adapters of one VM take over from each other.

use super::{Seen, after, team};
use lbfoext::trace::Event;
use teaming::ids::MacAddr;
use teaming::ports::host::Part;
use vswitch::scenario::Net;
use vswitch::switch::ports::policy::{Property, Security};

pub fn too_many_addresses_of_one_part() -> Seen {
    let teaming = || Property::Security(Security { teaming: true, ..Security::default() });
    let mac = |n: u16| [2, 0x15, 0x5D, 9, n.to_be_bytes()[0], n.to_be_bytes()[1]];
    let of_one = |n: &u16| Part::of(MacAddr(mac(*n))) == Part::of(MacAddr(mac(0)));
    let addresses: Vec<_> = (0..).filter(of_one).map(mac).take(17).collect();
    let net = (0..17).fold(team(&[10, 10]).vms(17), |plan, vm| plan.property(vm, teaming())).start();
    let act = |net: &Net| {
        for (vm, mac) in (0..).zip(&addresses) {
            net.readdress(net.vm(vm), *mac);
        }
    };
    after(net, act, |_| vec![Event::AddressesNotShared { ports: 1 }])
}
