//! Requests that read or change what an adapter holds and leave it where it is: the parameters of queues and virtual
//! ports, the configuration of virtual functions, and whatever targets a virtual port.

use crate::adapter::offloads::{By, Complaint, Holder, Offloads, Served};
use crate::adapter::sriov::{BLOCK, CONFIG, Function};
use crate::adapter::vmq::{DEFAULT_QUEUE, NO_COMPLAINT, ended, misdirected};
use crate::adapter::wire::{self, Member, flag, get, get32, oid, put};
use lbfoext::ndis::raw::{INVALID_LENGTH, INVALID_PARAMETER, OidRequest, SUCCESS, request_type};

/// What the adapters answer for the vendor of a virtual function; the device follows from its number.
const VENDOR: u64 = 0x1414;
const DEVICE: u64 = 0x1000;

/// `sizeof(CM_PARTIAL_RESOURCE_DESCRIPTOR)`, and `CmResourceTypeMemory`.
const DESCRIPTOR: usize = 20;
const MEMORY: u8 = 3;
/// Base address registers of a PCI function (`PCI_TYPE0_ADDRESSES`).
const BARS: u32 = 6;

type Refused = (i32, Complaint);

fn without(status: i32) -> Refused {
    (status, NO_COMPLAINT)
}

impl Offloads {
    /// Carries out a request of `wire::uses`. The adapter must have allocated what is named, for this partition.
    pub(super) fn use_held(&mut self, holder: Holder, number: u32, bytes: &mut [u8]) -> Served {
        let done = match number {
            oid::QUEUE_PARAMETERS => self.update_queue(holder, bytes),
            oid::VPORT_PARAMETERS => self.update_vport(holder, bytes),
            _ => {
                let id = get32(bytes, wire::used_vf(number));
                self.functions
                    .function(holder, id)
                    .and_then(|function| use_function(function, id, number, bytes))
            }
        };
        let (status, complaint) = ended(done);
        Served { status, complaint, ..Served::default() }
    }

    /// Only who allocated a queue changes its parameters, and only those with a flag of their own
    /// (oid-receive-filter-queue-parameters).
    fn update_queue(&mut self, holder: Holder, bytes: &[u8]) -> Result<(), Refused> {
        let id = get32(bytes, wire::queue::ID);
        if id == DEFAULT_QUEUE {
            return Ok(());
        }
        let owner = self.queues.all.get(&id).map(|queue| queue.holder);
        let Some(queue) = self.queues.all.get_mut(&id).filter(|queue| queue.holder.source == holder.source)
        else {
            return Err(misdirected("OFFLOAD-26", "queue", id, owner, holder));
        };
        if queue.holder.by == By::Switch && holder.by == By::Extension {
            let text = format!("new parameters of the extension's for queue {id} of the switch");
            return Err((INVALID_PARAMETER, ("OFFLOAD-14", text)));
        }
        if get32(bytes, wire::queue::FLAGS) & flag::QUEUE_AFFINITY_CHANGED != 0 {
            queue.affinity = get(bytes, wire::queue::AFFINITY);
        }
        Ok(())
    }

    fn update_vport(&mut self, holder: Holder, bytes: &[u8]) -> Result<(), Refused> {
        let id = get32(bytes, wire::vport::ID);
        if id == 0 {
            return Ok(());
        }
        let vport = self.functions.vport(holder, id, "OFFLOAD-26")?;
        if get32(bytes, wire::vport::FLAGS) & flag::VPORT_PAIRS_CHANGED != 0 {
            vport.pairs = get32(bytes, wire::vport::QUEUE_PAIRS);
        }
        Ok(())
    }

    /// A request of any OID whose NDIS_OID_REQUEST targets a virtual port, not the default one.
    pub(super) fn targeted(
        &mut self,
        holder: Holder,
        id: u32,
        inner: &mut OidRequest,
        bytes: &[u8],
    ) -> Served {
        let vport = match self.functions.vport(holder, id, "OFFLOAD-27") {
            Ok(vport) => vport,
            Err((status, complaint)) => {
                return Served { status, complaint: Some(complaint), ..Served::default() };
            }
        };
        if inner.request_type == request_type::METHOD {
            (inner.method_bytes_read, inner.method_bytes_written) = (inner.length, inner.length);
        } else {
            inner.word52 = inner.length;
        }
        if matches!(inner.oid, oid::RSS_PARAMETERS | oid::RSS_PARAMETERS_V2) {
            vport.scaling = bytes.to_vec();
        }
        inner.supported_revision = 1;
        Served { status: SUCCESS, ..Served::default() }
    }
}

/// The bytes `length` from `offset` of a request's buffer.
fn part(bytes: &mut [u8], offset: Member, length: Member) -> Result<&mut [u8], Refused> {
    let (from, count) = (get32(bytes, offset) as usize, get32(bytes, length) as usize);
    from.checked_add(count).and_then(|end| bytes.get_mut(from..end)).ok_or(without(INVALID_LENGTH))
}

/// Reads, writes, resets or describes a virtual function that is the partition's.
fn use_function(function: &mut Function, id: u32, number: u32, bytes: &mut [u8]) -> Result<(), Refused> {
    let place = |from: usize, size: usize, of: usize| {
        from.checked_add(size).filter(|end| *end <= of).map(|end| from..end).ok_or(without(INVALID_PARAMETER))
    };
    match number {
        oid::READ_CONFIG_SPACE | oid::WRITE_CONFIG_SPACE => {
            use wire::config_space::{BUFFER, LENGTH, OFFSET};
            let from = get32(bytes, OFFSET) as usize;
            let inside = place(from, get32(bytes, LENGTH) as usize, CONFIG)?;
            let data = part(bytes, BUFFER, LENGTH)?;
            if number == oid::READ_CONFIG_SPACE {
                data.copy_from_slice(&function.config[inside]);
            } else {
                function.config[inside].copy_from_slice(data);
            }
        }
        oid::READ_CONFIG_BLOCK | oid::WRITE_CONFIG_BLOCK => {
            use wire::config_block::{BLOCK_ID, BUFFER, LENGTH};
            let inside = place(0, get32(bytes, LENGTH) as usize, BLOCK)?;
            let block = function.blocks.get_mut(get32(bytes, BLOCK_ID) as usize);
            let block = block.ok_or(without(INVALID_PARAMETER))?;
            let data = part(bytes, BUFFER, LENGTH)?;
            if number == oid::READ_CONFIG_BLOCK {
                data.copy_from_slice(&block[inside]);
            } else {
                block[inside].copy_from_slice(data);
            }
        }
        // Only this function is affected, its configuration space is as after power-on (oid-sriov-reset-vf).
        oid::RESET_VF => {
            *function =
                Function { resets: function.resets + 1, ..Function::new(function.holder, function.mac) }
        }
        oid::VF_POWER => function.power = get32(bytes, wire::vf_power::STATE),
        oid::VF_VENDOR => {
            put(bytes, wire::vf_vendor::VENDOR, VENDOR);
            put(bytes, wire::vf_vendor::DEVICE, DEVICE + u64::from(id));
        }
        _ => {
            let bar = get32(bytes, wire::vf_bar::INDEX);
            let at = get32(bytes, wire::vf_bar::RESOURCES_AT) as usize;
            let descriptor = at.checked_add(DESCRIPTOR).and_then(|end| bytes.get_mut(at..end));
            let descriptor = descriptor.ok_or(without(INVALID_LENGTH))?;
            if bar >= BARS {
                return Err(without(INVALID_PARAMETER));
            }
            descriptor[0] = MEMORY;
            descriptor[4..8].copy_from_slice(&(0xF000_0000 + 0x1000 * (BARS * id + bar)).to_le_bytes());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::capabilities::Capabilities;
    use crate::switch::control::offload;
    use crate::switch::ports::NicId;

    const A: Holder = Holder { source: NicId::new(10, 0), by: By::Switch };
    const B: Holder = Holder { source: NicId::new(11, 0), by: By::Switch };

    fn with_function() -> (Offloads, u32, u32) {
        let mut adapter = Offloads::new(Capabilities::default());
        let vf = adapter.functions.allocate(A, [1; 6]).unwrap();
        let vport = adapter.functions.create_vport(A, vf).unwrap();
        (adapter, vf, vport)
    }

    fn rule_of(served: &Served) -> Option<&'static str> {
        served.complaint.as_ref().map(|(rule, _)| *rule)
    }

    #[test]
    fn a_configuration_space_keeps_what_is_written_until_the_function_is_reset() {
        let (mut adapter, vf, _) = with_function();
        let mut write = offload::config_space(true, vf, 16, &[1, 2, 3, 4]);
        assert_eq!(adapter.use_held(A, oid::WRITE_CONFIG_SPACE, &mut write).status, SUCCESS);
        let mut read = offload::config_space(false, vf, 16, &[0; 4]);
        assert_eq!(adapter.use_held(A, oid::READ_CONFIG_SPACE, &mut read).status, SUCCESS);
        assert_eq!(read[read.len() - 4..], [1, 2, 3, 4]);
        let mut reset = offload::reset_vf(vf);
        assert_eq!(adapter.use_held(A, oid::RESET_VF, &mut reset).status, SUCCESS);
        adapter.use_held(A, oid::READ_CONFIG_SPACE, &mut read);
        assert_eq!(read[read.len() - 4..], [0; 4]);
        assert_eq!(adapter.functions.functions[&vf].resets, 1);
    }

    #[test]
    fn what_does_not_fit_the_buffer_or_the_space_is_refused_without_a_complaint() {
        let (mut adapter, vf, _) = with_function();
        let mut beyond = offload::config_space(false, vf, CONFIG as u32 - 2, &[0; 4]);
        let served = adapter.use_held(A, oid::READ_CONFIG_SPACE, &mut beyond);
        assert_eq!((served.status, served.complaint), (INVALID_PARAMETER, None));
        let mut short = offload::config_space(false, vf, 0, &[0; 4]);
        short.truncate(short.len() - 1);
        let served = adapter.use_held(A, oid::READ_CONFIG_SPACE, &mut short);
        assert_eq!((served.status, served.complaint), (INVALID_LENGTH, None));
    }

    #[test]
    fn what_is_not_here_and_what_is_another_partitions_breaks_the_rule_of_the_request() {
        let (mut adapter, vf, vport) = with_function();
        let queue = adapter.queues.allocate(A, 1).unwrap();
        for (holder, plus) in [(B, 0), (A, 50)] {
            let served = adapter.use_held(holder, oid::RESET_VF, &mut offload::reset_vf(vf + plus));
            assert_eq!((served.status, rule_of(&served)), (INVALID_PARAMETER, Some("OFFLOAD-26")));
            let mut update = offload::queue_update(1, holder.source.port, queue + plus, 4);
            assert_eq!(
                rule_of(&adapter.use_held(holder, oid::QUEUE_PARAMETERS, &mut update)),
                Some("OFFLOAD-26")
            );
            let mut update = offload::vport_update(1, vport + plus, 2);
            assert_eq!(
                rule_of(&adapter.use_held(holder, oid::VPORT_PARAMETERS, &mut update)),
                Some("OFFLOAD-26")
            );
            let mut inner = OidRequest::ZERO;
            inner.oid = oid::RSS_PARAMETERS;
            assert_eq!(
                rule_of(&adapter.targeted(holder, vport + plus, &mut inner, &[1])),
                Some("OFFLOAD-27")
            );
        }
        assert_eq!(adapter.functions.functions[&vf].resets, 0);
        assert_eq!((adapter.queues.all[&queue].affinity, adapter.functions.vports[&vport].pairs), (1, 1));
    }

    #[test]
    fn parameters_change_where_their_flag_says_so_and_the_default_ones_are_every_adapters() {
        let (mut adapter, _, vport) = with_function();
        let queue = adapter.queues.allocate(A, 1).unwrap();
        let mut update = offload::queue_update(2, 10, queue, 4);
        assert_eq!(adapter.use_held(A, oid::QUEUE_PARAMETERS, &mut update).status, SUCCESS);
        assert_eq!(adapter.queues.all[&queue].affinity, 4);
        put(&mut update, wire::queue::FLAGS, 0);
        put(&mut update, wire::queue::AFFINITY, 8);
        adapter.use_held(A, oid::QUEUE_PARAMETERS, &mut update);
        assert_eq!(adapter.queues.all[&queue].affinity, 4, "its flag is not set");
        let mut pairs = offload::vport_update(2, vport, 3);
        assert_eq!(adapter.use_held(A, oid::VPORT_PARAMETERS, &mut pairs).status, SUCCESS);
        assert_eq!(adapter.functions.vports[&vport].pairs, 3);
        let defaults = [
            (oid::QUEUE_PARAMETERS, offload::queue_update(1, 10, DEFAULT_QUEUE, 4)),
            (oid::VPORT_PARAMETERS, offload::vport_update(1, 0, 4)),
        ];
        for (number, mut bytes) in defaults {
            assert_eq!(adapter.use_held(B, number, &mut bytes), Served::default());
        }
    }
}
