//! Addresses of no NIC, and the ports from which they were sent: ports that may use any source address.

use crate::switch::ports::{Mac, NicId};
use std::collections::BTreeMap;

/// The ports of each address, newest last. The extension may have forgotten any of them or not have learned it.
#[derive(Default, Debug)]
pub struct Learned(BTreeMap<Mac, Vec<NicId>>);

impl Learned {
    pub fn note(&mut self, mac: Mac, at: NicId) {
        let places = self.0.entry(mac).or_default();
        places.retain(|known| *known != at);
        places.push(at);
    }

    pub fn places(&self, mac: Mac) -> &[NicId] {
        self.0.get(&mac).map_or(&[], Vec::as_slice)
    }
}
