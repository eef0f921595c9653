//! Who got what in the meantime.

use crate::scenario::Net;
use crate::scenario::guest::{Flow, vm_mac};
use crate::switch::ports::{Mac, NicId};

/// How many frames a NIC got in the meantime.
pub struct Counter<'a> {
    net: &'a Net,
    before: Vec<(NicId, usize)>,
}

impl<'a> Counter<'a> {
    pub fn new(net: &'a Net, vms: u16) -> Self {
        net.settle();
        let before = (0..vms).map(|vm| (net.vm(vm), net.delivered(net.vm(vm)).len())).collect();
        Self { net, before }
    }

    pub fn got(&self) -> Vec<usize> {
        self.net.settle();
        self.before.iter().map(|(vm, before)| self.net.delivered(*vm).len() - before).collect()
    }
}

/// Guest 0 speaks to an address: who gets it.
pub(super) fn speak(net: &Net, to: Mac, n: u16) -> Vec<usize> {
    let counter = Counter::new(net, 4);
    net.send(net.vm(0), &[Flow::new(vm_mac(0), to, n).frame(u32::from(n), 60)]);
    counter.got()
}
