//! The check an hour (virtual time) after a failure: a frame to every vNIC shows whether the module still lacks
//! information.

use super::Net;
use super::life::is_attached;
use crate::reference::case::{PATIENCE, Picture};
use crate::scenario::guest::{BROADCAST, Flow, Packet, host_mac};
use crate::switch::ndis::Odd;
use crate::switch::ndis::{Life, with};
use crate::switch::ports::{Mac, NicId, NicKind, NicState};

/// Flow numbers that no other part of a scenario uses.
const NUMBER: u16 = 40_000;

impl Net {
    /// If a call failed, waits until its effects must be over and sends frames to every vNIC. By then the module's
    /// queries have succeeded.
    pub(super) fn recover(&self) {
        let module = self.1;
        let running = || with(|_, state| state.life(module)) == Life::Running;
        if !is_attached(module) || !running() {
            return;
        }
        let failed = with(|world, state| {
            let failed = matches!(state.picture(world, module), Picture::Partial | Picture::Recovered);
            if failed {
                (state.style.refuse, state.style.refuse_references) = (0, 0);
                state.style.odd = Odd::NOTHING;
            }
            failed
        });
        // What fails meanwhile is waited for as well.
        for turn in 0..4 {
            if failed && (turn == 0 || with(|world, state| state.may_recover(world, module))) {
                self.advance(PATIENCE + 1);
            }
        }
        if with(|world, state| state.picture(world, module)) == Picture::Recovered && running() {
            self.speak_to_everybody();
            self.settle();
        }
        with(|world, state| {
            if state.life(module) == Life::Running {
                state.modules[module].answers.judge(world);
            }
        });
    }

    /// Sends frames from each vNIC to the next, to broadcast and to the external network, and from there to each vNIC.
    fn speak_to_everybody(&self) {
        let module = self.1;
        let (vnics, members): (Vec<(NicId, Mac)>, Vec<u16>) = with(|_, state| {
            // By now the module must have read the configuration, also of vNICs whose requests it missed.
            let topology = &mut state.modules[module].topology;
            let unread = topology.nics_mut().filter(|nic| nic.state == NicState::Connected);
            unread.filter(|nic| !nic.disconnect_passed).for_each(|nic| nic.usable = true);
            let topology = &state.modules[module].topology;
            let connected = topology
                .nics()
                .filter(|nic| nic.state == NicState::Connected && nic.usable && nic.requests == 0);
            let vnics = connected.filter(|nic| nic.kind != NicKind::External).map(|nic| (nic.id, nic.mac));
            let up = topology.members().filter(|nic| nic.usable && !nic.known_down).map(|nic| nic.id.index);
            (vnics.collect(), up.collect())
        });
        for (n, (nic, mac)) in (0..).zip(&vnics) {
            let (_, next) = vnics[(usize::from(n) + 1) % vnics.len()];
            let frames = [next, BROADCAST, host_mac(NUMBER)].map(|to| Flow::new(*mac, to, n).frame(1, 60));
            self.send_packets(frames.into_iter().map(|frame| (*nic, Packet::of(frame))).collect());
            if let Some(member) = members.get(usize::from(n) % members.len().max(1)) {
                let frame = Flow::new(host_mac(NUMBER + 1), *mac, n).frame(1, 60);
                self.receive_external(*member, &[frame]);
            }
            self.advance(1_000);
        }
    }
}
