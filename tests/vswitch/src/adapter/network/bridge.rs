//! One physical switch: its ports, and the addresses behind them.

use super::port::Port;
use super::snooping::Snooping;
use super::wire::Wire;
use crate::machine::clock::SECOND;
use crate::switch::ports::Mac;
use std::collections::{BTreeMap, BTreeSet};

/// An address of which nothing was heard for so long is forgotten (IEEE 802.1Q, table 8-6, the recommended value).
pub const AGE: u64 = 300 * SECOND;

#[derive(Default, Debug)]
pub struct Bridge {
    ports: BTreeSet<Port>,
    learned: BTreeMap<(u16, Mac), (Port, u64)>,
    snooping: Option<Snooping>,
    flooded: BTreeSet<Mac>,
}

impl Bridge {
    pub fn new(snooping: bool, flooded: BTreeSet<Mac>) -> Self {
        Self { snooping: snooping.then(Snooping::default), flooded, ..Self::default() }
    }

    pub fn cable(&mut self, port: Port) {
        self.ports.insert(port);
    }

    pub fn uncable(&mut self, port: Port) {
        self.ports.remove(&port);
        self.forget_port(port);
    }

    pub fn has(&self, port: Port) -> bool {
        self.ports.contains(&port)
    }

    pub fn router(&mut self, port: Port) {
        if let Some(snooping) = self.snooping.as_mut() {
            snooping.router(port);
        }
    }

    pub fn forget_port(&mut self, port: Port) {
        self.learned.retain(|_, (at, _)| *at != port);
        if let Some(snooping) = self.snooping.as_mut() {
            snooping.forget_port(port);
        }
    }

    /// The port behind which an address is, if it was heard of lately.
    pub fn port_of(&self, vid: u16, mac: Mac, now: u64) -> Option<Port> {
        self.learned.get(&(vid, mac)).filter(|(_, at)| now < at + AGE).map(|(port, _)| *port)
    }

    /// The ports through which a frame leaves.
    pub fn forward(&mut self, from: Port, wire: &Wire, now: u64, live: impl Fn(Port) -> bool) -> Vec<Port> {
        let (to, source) = (wire.to(), wire.from());
        if source[0] & 1 == 0 {
            self.learned.insert((wire.vid, source), (from, now));
        }
        // IEEE 802.1Q, 8.6.3: these groups end at the bridge.
        if matches!(to, [0x01, 0x80, 0xC2, 0, 0, 0..=15]) {
            return Vec::new();
        }
        let known = self.port_of(wire.vid, to, now).filter(|_| to[0] & 1 == 0 && !self.flooded.contains(&to));
        if let Some(port) = known.filter(|port| live(*port)) {
            return if port == from { Vec::new() } else { vec![port] };
        }
        let listening = self.snooping.as_mut().and_then(|snooping| snooping.listeners(from, wire, now));
        let all = self.ports.iter().copied().filter(|port| *port != from && live(*port));
        match listening {
            Some(listening) => all.filter(|port| listening.contains(port)).collect(),
            None => all.collect(),
        }
    }
}
