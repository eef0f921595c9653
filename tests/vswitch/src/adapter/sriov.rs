//! Virtual functions and virtual ports of one physical adapter (SR-IOV).

use crate::adapter::offloads::{Complaint, Holder};
use crate::adapter::vmq::{foreign, lowest_free, misdirected, unknown};
use crate::switch::ports::Mac;
use lbfoext::ndis::raw::{INVALID_PARAMETER, RESOURCES};
use std::collections::BTreeMap;

/// `NDIS_PF_FUNCTION_ID`: a virtual port that belongs to no virtual function.
pub const PHYSICAL_FUNCTION: u32 = 0xFFFF;

/// Bytes of a function's configuration space, and of one block of the back channel to its driver.
pub const CONFIG: usize = 256;
pub const BLOCK: usize = 128;

#[derive(Clone, Debug)]
pub struct Function {
    pub holder: Holder,
    pub mac: Mac,
    /// Its PCI configuration space, and the blocks that the drivers of function and adapter exchange.
    pub config: [u8; CONFIG],
    pub blocks: [[u8; BLOCK]; 2],
    /// `NDIS_DEVICE_POWER_STATE`.
    pub power: u32,
    pub resets: u32,
}

impl Function {
    pub const fn new(holder: Holder, mac: Mac) -> Self {
        Self { holder, mac, config: [0; CONFIG], blocks: [[0; BLOCK]; 2], power: 1, resets: 0 }
    }
}

#[derive(Clone, Debug)]
pub struct Vport {
    pub holder: Holder,
    pub function: u32,
    /// Queue pairs, and the parameters of receive side scaling as they were set.
    pub pairs: u32,
    pub scaling: Vec<u8>,
}

#[derive(Clone, Debug)]
pub struct Functions {
    pub function_limit: u32,
    pub vport_limit: u32,
    pub functions: BTreeMap<u32, Function>,
    /// Virtual ports in addition to the default one, whose number is 0.
    pub vports: BTreeMap<u32, Vport>,
}

impl Functions {
    pub fn new(function_limit: u32, vport_limit: u32) -> Self {
        Self { function_limit, vport_limit, functions: BTreeMap::new(), vports: BTreeMap::new() }
    }

    pub fn is_empty(&self) -> bool {
        self.functions.is_empty() && self.vports.is_empty()
    }

    pub fn allocate(&mut self, holder: Holder, mac: Mac) -> Result<u32, i32> {
        if self.functions.len() >= self.function_limit as usize {
            return Err(RESOURCES);
        }
        let id = lowest_free(self.functions.keys(), 0);
        self.functions.insert(id, Function::new(holder, mac));
        Ok(id)
    }

    /// A partition's function, for a request that reads or changes it.
    pub fn function(&mut self, holder: Holder, id: u32) -> Result<&mut Function, (i32, Complaint)> {
        let owner = self.functions.get(&id).map(|function| function.holder);
        let mine = self.functions.get_mut(&id).filter(|function| function.holder.source == holder.source);
        mine.ok_or_else(|| misdirected("OFFLOAD-26", "VF", id, owner, holder))
    }

    /// A partition's virtual port, for a request that `rule` sends to its adapter.
    pub fn vport(
        &mut self,
        holder: Holder,
        id: u32,
        rule: &'static str,
    ) -> Result<&mut Vport, (i32, Complaint)> {
        let owner = self.vports.get(&id).map(|vport| vport.holder);
        let mine = self.vports.get_mut(&id).filter(|vport| vport.holder.source == holder.source);
        mine.ok_or_else(|| misdirected(rule, "virtual port", id, owner, holder))
    }

    pub fn free(&mut self, holder: Holder, id: u32) -> Result<(), (i32, Complaint)> {
        let function = self.functions.get(&id).ok_or((INVALID_PARAMETER, unknown("VF", id)))?;
        if function.holder.source != holder.source {
            return Err((INVALID_PARAMETER, foreign("VF", id, function.holder, holder)));
        }
        if self.vports.values().any(|vport| vport.function == id) {
            let text = format!("VF {id} was to be freed with a virtual port on it");
            return Err((INVALID_PARAMETER, ("OFFLOAD-11", text)));
        }
        self.functions.remove(&id);
        Ok(())
    }

    pub fn create_vport(&mut self, holder: Holder, function: u32) -> Result<u32, (i32, Complaint)> {
        if function != PHYSICAL_FUNCTION {
            let found = self.functions.get(&function).ok_or((INVALID_PARAMETER, unknown("VF", function)))?;
            if found.holder.source != holder.source {
                return Err((INVALID_PARAMETER, foreign("VF", function, found.holder, holder)));
            }
        }
        if self.vports.len() >= self.vport_limit as usize {
            return Err((RESOURCES, crate::adapter::vmq::NO_COMPLAINT));
        }
        let id = lowest_free(self.vports.keys(), 1);
        self.vports.insert(id, Vport { holder, function, pairs: 1, scaling: Vec::new() });
        Ok(id)
    }

    pub fn delete_vport(&mut self, holder: Holder, id: u32, filtered: bool) -> Result<(), (i32, Complaint)> {
        let vport = self.vports.get(&id).ok_or((INVALID_PARAMETER, unknown("virtual port", id)))?;
        if vport.holder.source != holder.source {
            return Err((INVALID_PARAMETER, foreign("virtual port", id, vport.holder, holder)));
        }
        if filtered {
            let text = format!("virtual port {id} was to be deleted with filters set");
            return Err((INVALID_PARAMETER, ("OFFLOAD-11", text)));
        }
        self.vports.remove(&id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::offloads::By;
    use crate::switch::ports::NicId;

    #[test]
    fn a_function_outlives_its_virtual_ports() {
        let holder = Holder { source: NicId::new(10, 0), by: By::Switch };
        let other = Holder { source: NicId::new(11, 0), by: By::Switch };
        let mut functions = Functions::new(1, 2);
        let vf = functions.allocate(holder, [1; 6]).unwrap();
        assert_eq!(functions.allocate(other, [2; 6]), Err(RESOURCES));
        assert!(functions.create_vport(other, vf).is_err(), "another partition's function");
        let vport = functions.create_vport(holder, vf).unwrap();
        assert_eq!(functions.free(holder, vf).unwrap_err().1.0, "OFFLOAD-11");
        assert_eq!(functions.delete_vport(other, vport, false).unwrap_err().1.0, "OFFLOAD-08");
        assert_eq!(functions.delete_vport(holder, vport, true).unwrap_err().1.0, "OFFLOAD-11");
        functions.delete_vport(holder, vport, false).unwrap();
        functions.free(holder, vf).unwrap();
        assert_eq!(functions.free(holder, vf).unwrap_err().1.0, "OFFLOAD-07");
    }
}
