//! Reports of filtered packets: the reason of every drop.

use crate::check::rule;
use crate::machine::world::World;
use crate::switch::frames::FrameOutcome;
use crate::switch::ndis::chain::chain;
use crate::switch::ndis::packet::PacketStage;
use crate::switch::ndis::{State, calls};
use lbfoext::ndis::raw::{NetBufferList, ReportFilteredFlags};

impl State {
    pub(crate) fn report(
        &mut self,
        world: &World,
        module: usize,
        (port, flags, count): (u32, u32, u32),
        first: *mut NetBufferList,
        reason: &str,
    ) {
        let incoming =
            ReportFilteredFlags::from_bits_retain(flags).contains(ReportFilteredFlags::IS_INCOMING);
        let lists = chain(self, first);
        rule(world, "DATA-81", count as usize == lists.len(), || {
            format!("report of {count} lists, the chain has {}", lists.len())
        });
        let same = self.same_source(&lists);
        let call = calls().last().map_or(0, |call| call.began);
        let this = (call, port, reason.to_owned());
        if self.last_report.as_ref() == Some(&this) {
            self.cost("DATA-87");
        }
        self.last_report = Some(this);
        rule(world, "DATA-79", !incoming || same, || {
            "one report for packets of several source ports".to_owned()
        });
        for list in lists {
            self.identify(list);
            let Some(packet) = self.packets.at(list) else { continue };
            // A port may be deleted between the decision and its report.
            let known_port = self.modules[module].topology.existed_since(port, packet.generation);
            let name = packet.name;
            let theirs = packet.place.is_the_extensions();
            rule(world, "DATA-78", theirs, || format!("packet {name} reported after it was given away"));
            let source = packet.source.port;
            rule(world, "DATA-80", if incoming { !same || port == source } else { known_port }, || {
                format!("packet {name} from port {source} reported for port {port}, incoming {incoming}")
            });
            if !theirs {
                continue;
            }
            packet.reported_ports.push(port);
            if packet.place == PacketStage::Ingress {
                packet.blamed = Some((incoming, port));
            }
            self.reported(list, incoming, reason);
            world.log(|| format!("packet {name} filtered: {reason}"));
        }
    }

    /// Every frame of a reported list is accounted for.
    fn reported(&mut self, list: usize, incoming: bool, reason: &str) {
        let Some(packet) = self.packets.at(list) else { return };
        if packet.reported {
            return;
        }
        packet.reported = true;
        let carried = packet.carried.clone();
        let own = packet.own.is_some();
        // SAFETY: the packet is in the extension's hands and so uncovered.
        let parent = unsafe { (*packet.nbl).parent } as usize;
        for id in packet.frames.clone() {
            if incoming && carried.contains(&id) {
                continue;
            }
            self.frames.end(id, FrameOutcome::Filtered { reason: reason.to_owned() });
            if own && let Some(parent) = self.packets.at(parent) {
                parent.carried.push(id);
            }
        }
    }
}
