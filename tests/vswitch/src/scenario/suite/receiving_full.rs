//! More frames at once than any table holds, and frames that an adapter makes others of: what comes back of them is not known
//! again, and says nothing about where addresses are.

use crate::scenario::Net;
use crate::scenario::frames::Kind;
use crate::scenario::guest::{BROADCAST, Flow, Packet, host_mac};
use crate::scenario::suite::MS;
use crate::scenario::suite::reached::speak;
use crate::switch::ports::Mac;

const MANY: u32 = 4_000;
const BEHIND_2: [usize; 4] = [0, 0, 1, 0];
const BEHIND_3: [usize; 4] = [0, 0, 0, 1];
const OUTSIDE: [usize; 4] = [0; 4];

fn nested(kind: u8, n: u16) -> Mac {
    [0x02, 0xCC, 0, 0, kind, n as u8]
}

/// Different frames of a sender for many.
fn many(from: Mac, n: u16) -> Vec<Vec<u8>> {
    (0..MANY).map(|id| Flow::new(from, BROADCAST, n).frame(id, 60)).collect()
}

pub fn crowded(net: &Net) {
    net.excuse_a_full_table();
    for n in 0..2 {
        let [loud, quiet] = [nested(1, n), nested(2, n)];
        for (guest, address) in [(2, loud), (3, quiet)] {
            net.send(net.vm(guest), &[Kind::Arp.frame(address, BROADCAST, n)]);
        }
        net.settle();
        many(loud, n).chunks(500).for_each(|some| net.send(net.vm(2), some));
        net.settle();
        assert_eq!(speak(net, loud, n), BEHIND_2);
        // Whose frames are known again moves as ever.
        assert_eq!(speak(net, quiet, n), BEHIND_3);
        moves(net, quiet, n);
        moves_for_good(net, loud, n);
    }
}

pub fn large_returns(net: &Net) {
    for n in 0..2 {
        let [large, small] = [nested(3, n), nested(4, n)];
        for (guest, address) in [(2, large), (3, small)] {
            net.send(net.vm(guest), &[Kind::Arp.frame(address, BROADCAST, n)]);
        }
        net.settle();
        let frame = Flow::new(large, host_mac(90 + n), n).frame(u32::from(n), 1_400);
        net.send_packets(vec![(net.vm(2), Packet { segment: Some(500), ..Packet::of(frame) })]);
        net.settle();
        assert_eq!(speak(net, large, n), BEHIND_2);
        moves(net, small, n);
        moves_for_good(net, large, n);
    }
}

pub fn crowded_from_outside(net: &Net) {
    net.excuse_a_full_table();
    for n in 0..2 {
        let [loud, quiet] = [host_mac(60 + n), host_mac(70 + n)];
        net.host_sends(70 + n, 0, &[Kind::Arp.frame(quiet, BROADCAST, n)]);
        for some in many(loud, n).chunks(500) {
            net.host_sends(60 + n, 0, some);
        }
        net.settle();
        let last = net.delivered(net.vm(2)).last().expect("it gets what is for many").0;
        net.bridge_back(net.vm(2), last);
        net.settle();
        assert_eq!(speak(net, loud, n), OUTSIDE);
        // A machine whose frames are known comes inside as ever.
        net.send(net.vm(3), &[Kind::Arp.frame(quiet, BROADCAST, 100 + n)]);
        net.settle();
        assert_eq!(speak(net, quiet, n), BEHIND_3);
        net.advance(300 * MS);
        net.send(net.vm(2), &[Kind::Arp.frame(loud, BROADCAST, 100 + n)]);
        net.settle();
        assert_eq!(speak(net, loud, 100 + n), BEHIND_2);
    }
}

/// Two frames from outside move an address.
fn moves(net: &Net, address: Mac, n: u16) {
    for id in [100, 200] {
        net.host_sends(7, 0, &[Kind::Arp.frame(address, BROADCAST, id + n)]);
    }
    net.settle();
    assert_eq!(speak(net, address, 300 + n), OUTSIDE);
}

/// Once nothing can return any more, an address moves as ever.
fn moves_for_good(net: &Net, address: Mac, n: u16) {
    net.advance(300 * MS);
    moves(net, address, n);
}
