//! Where addresses were seen that belong to no NIC: behind ports that may send with any address.

use crate::switch::ports::{Mac, NicId};
use std::collections::BTreeMap;

/// Places of each address, newest last. The extension may have forgotten any of them, or never have noticed.
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
