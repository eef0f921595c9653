//! The table of security associations of one physical adapter (IPsec task offload, version 2).
//!
//! Each adapter assigns its own handles, and different adapters assign equal ones, because no page excludes that.

use crate::adapter::offloads::{Complaint, Holder};
use lbfoext::ndis::raw::{INVALID_PARAMETER, RESOURCES};
use std::collections::BTreeMap;

#[derive(Clone, Debug)]
pub struct Association {
    pub holder: Holder,
    pub spi: u32,
    pub updates: u32,
}

#[derive(Clone, Debug)]
pub struct Associations {
    pub limit: u32,
    pub all: BTreeMap<u64, Association>,
}

/// The first handle; it has the form of an address, as real ones do.
const FIRST: u64 = 0xFFFF_C000_0010_0000;
const STEP: u64 = 0x40;

impl Associations {
    pub fn new(limit: u32) -> Self {
        Self { limit, all: BTreeMap::new() }
    }

    pub fn add(&mut self, holder: Holder, spi: u32) -> Result<u64, i32> {
        if self.all.len() >= self.limit as usize {
            return Err(RESOURCES);
        }
        let handle = (0..).map(|n| FIRST + n * STEP).find(|handle| !self.all.contains_key(handle));
        let handle = handle.ok_or(RESOURCES)?;
        self.all.insert(handle, Association { holder, spi, updates: 0 });
        Ok(handle)
    }

    fn check(&self, holder: Holder, handle: u64) -> Result<(), (i32, Complaint)> {
        let known = self.all.get(&handle).is_some_and(|sa| sa.holder.source == holder.source);
        let what = || format!("security association {handle:#x} of {} is not on this adapter", holder.source);
        if known { Ok(()) } else { Err((INVALID_PARAMETER, ("OFFLOAD-23", what()))) }
    }

    pub fn delete(&mut self, holder: Holder, handle: u64) -> Result<(), (i32, Complaint)> {
        self.check(holder, handle)?;
        self.all.remove(&handle);
        Ok(())
    }

    pub fn update(&mut self, holder: Holder, handle: u64, spi: u32) -> Result<(), (i32, Complaint)> {
        self.check(holder, handle)?;
        if let Some(sa) = self.all.get_mut(&handle) {
            sa.spi = spi;
            sa.updates += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::offloads::By;
    use crate::switch::ports::NicId;

    #[test]
    fn two_adapters_give_out_the_same_handle_and_know_only_their_own() {
        let holder = |port| Holder { source: NicId::new(port, 0), by: By::Switch };
        let (mut one, mut other) = (Associations::new(1), Associations::new(1));
        let handle = one.add(holder(10), 7).unwrap();
        assert_eq!(one.add(holder(10), 8), Err(RESOURCES));
        assert_eq!(other.add(holder(11), 7), Ok(handle));
        assert_eq!(other.delete(holder(10), handle).unwrap_err().1.0, "OFFLOAD-23");
        one.update(holder(10), handle, 9).unwrap();
        assert_eq!((one.all[&handle].spi, one.all[&handle].updates), (9, 1));
        one.delete(holder(10), handle).unwrap();
        assert!(one.update(holder(10), handle, 9).is_err());
    }
}
