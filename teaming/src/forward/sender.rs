//! What a source may send: tags, virtual subnets, and the source address rule. The rare half of what `SourcePort`
//! answers at once for an untagged frame with the adapter's own address.

use crate::Storage;
use crate::forward::drop_reason::DropReason;
use crate::forward::source::{FrameTag, Origin, SourcePort};
use crate::forward::{Forwarding, OutOfBand, Packet};
use crate::frame;
use crate::ids::MacAddr;
use crate::ports::vlan::{self, Carried};

impl<S: Storage> Forwarding<S> {
    /// A source address that is not the adapter's, a tag, a virtual subnet, or a port with policies of its own. Reads
    /// the headers again, because passing them would force them into memory for every other packet too.
    #[inline(never)]
    pub(crate) fn look_closer(
        &self,
        source_port: &SourcePort,
        packet: &Packet<'_>,
        out_of_band: &OutOfBand<'_>,
    ) -> Result<FrameTag, DropReason> {
        if source_port.origin == Origin::Closed {
            return Err(DropReason::PortClosed);
        }
        let headers = frame::parse(packet.window);
        let carried = vlan::classify(source_port.vlans, out_of_band.vlan, &headers, self.ports.sets())?;
        let own = source_port.security.virtual_subnet;
        let subnet = match (own, out_of_band.subnet) {
            (0, said) => said,
            (own, said) if said == 0 || said == own => own,
            _ => return Err(DropReason::VirtualSubnet),
        };
        if source_port.origin == Origin::Vnic {
            self.check_source(source_port, headers.source, carried, packet)?;
        }
        let mut sent = FrameTag::new(
            carried,
            subnet,
            (source_port.vlans, source_port.tag_owner),
            out_of_band.vlan != 0,
            out_of_band.subnet != 0,
        );
        // See `SourcePort::external`.
        let trusted = source_port.origin == Origin::Trusted && carried.vlan.is_none();
        if trusted || source_port.origin == Origin::External {
            sent.key = 0;
        }
        Ok(sent)
    }

    /// The source address rule; addresses are learned here (ns-ntddndis-_ndis_switch_port_property_security.md).
    fn check_source(
        &self,
        source_port: &SourcePort,
        mac: MacAddr,
        carried: Carried,
        packet: &Packet<'_>,
    ) -> Result<(), DropReason> {
        let Some((position, port)) = self.ports.find(source_port.nic.port) else {
            return Err(DropReason::PortClosed);
        };
        if self.ports.may_use(port, mac) {
            self.take_over(packet, (mac, carried.vlan), (position, port));
            return Ok(());
        }
        if port.addresses().any(|own| own == mac) {
            self.note_own(packet, (mac, carried.vlan), (position, port));
            return Ok(());
        }
        if source_port.security.mac_spoofing {
            // What an adapter has taken over from another of its VM is no stranger's.
            if self.holder(mac, carried.vlan).is_none() {
                self.learn(packet, (mac, carried.vlan, carried.in_bytes), position);
            }
            return Ok(());
        }
        Err(DropReason::SpoofedAddress)
    }
}
