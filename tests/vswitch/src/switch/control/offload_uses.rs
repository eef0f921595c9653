//! The switch as the issuer of requests that read or change what it has allocated: dynamic VMQ, virtual ports with several
//! queues, the configuration of virtual functions. Each is on behalf of the partition, to the external adapter as a
//! whole, with the id that the switch knows.

use crate::adapter::wire::oid;
use crate::check::rule;
use crate::switch::control::envelope::Inner;
use crate::switch::control::offload::{
    Partition, config_block, config_space, queue_update, reset_vf, scale_parameters, vf_bar, vf_power,
    vf_vendor, vport_update,
};
use crate::switch::ndis::with;
use lbfoext::ndis::raw::SUCCESS;

impl Partition {
    /// Whether a request that may be refused was carried out.
    fn uses(&self, inner: &Inner) -> bool {
        let done = self.ask(inner).status == SUCCESS;
        if !done {
            with(|_, state| state.control.wants.vetoes += 1);
        }
        done
    }

    /// New processors of a queue, in any revision of its parameters.
    pub fn update_queue(&self, queue: u32, mask: u64) -> bool {
        let revision = with(|world, _| 1 + (world.random(4) as u8));
        self.uses(&Inner::set(oid::QUEUE_PARAMETERS, queue_update(revision, self.nic.port, queue, mask)))
    }

    /// A new number of queue pairs of a virtual port.
    pub fn update_vport(&self, vport: u32, pairs: u32) -> bool {
        let revision = with(|world, _| 1 + (world.random(2) as u8));
        self.uses(&Inner::set(oid::VPORT_PARAMETERS, vport_update(revision, vport, pairs)))
    }

    /// Receive side scaling of a virtual port, whose number stands in the NDIS_OID_REQUEST alone.
    pub fn scale_vport(&self, vport: u32) -> bool {
        let revision = with(|world, _| world.random(4) as u8);
        let number = if revision == 0 { oid::RSS_PARAMETERS_V2 } else { oid::RSS_PARAMETERS };
        self.uses(&Inner::set(number, scale_parameters(revision)).for_vport(vport))
    }

    /// Writes to a virtual function's configuration and reads the same back.
    pub fn configure_function(&self, vf: u32) {
        let data: [u8; 8] = with(|world, _| std::array::from_fn(|_| world.random(256) as u8));
        let offset = with(|world, _| 16 + 4 * world.random(50) as u32);
        let requests = [
            (
                oid::WRITE_CONFIG_SPACE,
                oid::READ_CONFIG_SPACE,
                config_space as fn(bool, u32, u32, &[u8]) -> _,
                offset,
            ),
            (oid::WRITE_CONFIG_BLOCK, oid::READ_CONFIG_BLOCK, config_block, offset % 2),
        ];
        for (write, read, payload, which) in requests {
            if !self.uses(&Inner::set(write, payload(true, vf, which, &data))) {
                continue;
            }
            let answer = self.ask(&Inner::method(read, payload(false, vf, which, &[0; 8])));
            let told = answer.buffer().last_chunk::<8>();
            with(|world, _| {
                rule(world, "OFFLOAD-26", answer.status != SUCCESS || told == Some(&data), || {
                    format!("VF {vf} of {} was written {data:x?} and read {told:x?}", self.nic)
                });
            });
        }
    }

    /// Resets a virtual function, changes its power state and asks what it is.
    pub fn manage_function(&self, vf: u32) {
        self.uses(&Inner::set(oid::RESET_VF, reset_vf(vf)));
        let state = with(|world, _| 1 + world.random(4) as u32);
        self.uses(&Inner::set(oid::VF_POWER, vf_power(vf, state)));
        self.uses(&Inner::method(oid::VF_VENDOR, vf_vendor(vf)));
        let bar = with(|world, _| world.random(6) as u32);
        self.uses(&Inner::method(oid::VF_BAR, vf_bar(vf, bar)));
    }

    /// Uses everything that the partition holds in every way.
    pub fn use_all(&self) {
        let held = self.holds();
        for queue in held.queues.into_keys() {
            let mask = with(|world, _| 3 << world.random(15));
            self.update_queue(queue, mask);
        }
        for vport in held.vports {
            let pairs = with(|world, _| 1 + world.random(4) as u32);
            self.update_vport(vport, pairs);
            self.scale_vport(vport);
        }
        for vf in held.functions {
            self.configure_function(vf);
            self.manage_function(vf);
        }
    }
}
