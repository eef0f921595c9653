//! The parts of the switch's configuration that must still be read, and the thread that reads them.
//!
//! A step that failed is repeated until it succeeds. A step that is requested while a thread reads is read by that
//! thread. The driver issues the queries, one step at a time, and reports the result of each. Requests may change ports
//! and NICs meanwhile: `Changes` says what of an array that was read is still true.

use crate::ids::{NicId, PortId};

/// A part of the configuration, in the order of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Whether the switch is active, and its name, which is part of the settings' key.
    Parameters,
    /// Ports and NICs.
    Arrays,
    /// Properties of ports that are closed until these are known.
    Properties,
}

impl Step {
    const ALL: [Self; 3] = [Self::Parameters, Self::Arrays, Self::Properties];

    const fn bit(self) -> u8 {
        match self {
            Self::Parameters => 1,
            Self::Arrays => 2,
            Self::Properties => 4,
        }
    }
}

/// What the caller must do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Read(Step),
    /// Nothing: all parts are known, or another thread reads.
    Rest,
    /// A step failed: begin again later.
    Later,
}

/// The initial state: the parameters must be read first.
#[derive(Debug, Clone, Copy)]
pub struct Enumeration {
    wanted: u8,
    refused: u8,
    done: u8,
    reading: Option<Step>,
}

impl Enumeration {
    pub const NEW: Self = Self { wanted: Step::Parameters.bit(), refused: 0, done: 0, reading: None };

    /// Requests a step; parameters and arrays are read only once.
    pub fn want(&mut self, step: Step) {
        let under_way = self.reading == Some(step) && step != Step::Properties;
        if self.done & step.bit() == 0 && !under_way {
            self.wanted |= step.bit();
        }
    }

    /// Requests that the arrays are read again, unless they were not read yet.
    pub fn want_arrays_again(&mut self) {
        if self.knows_ports() || self.reading == Some(Step::Arrays) {
            self.done &= !Step::Arrays.bit();
            self.wanted |= Step::Arrays.bit();
        }
    }

    /// Whether ports and NICs are known.
    pub const fn knows_ports(&self) -> bool {
        self.done & Step::Arrays.bit() != 0
    }

    /// Whether a step is still to be done.
    pub const fn is_owed(&self) -> bool {
        self.wanted | self.refused != 0
    }

    /// Begins to read, unless another thread reads.
    pub fn begin(&mut self) -> Next {
        if self.reading.is_some() { Next::Rest } else { self.next() }
    }

    /// Reports that the step was done or failed; returns the next one.
    pub fn finish(&mut self, step: Step, is_done: bool) -> Next {
        let is_wanted_again = self.wanted & step.bit() != 0;
        match (is_done, step) {
            (true, Step::Parameters | Step::Arrays) if is_wanted_again => {}
            (true, Step::Parameters | Step::Arrays) => self.done |= step.bit(),
            (true, Step::Properties) => {}
            (false, _) => self.refused |= step.bit(),
        }
        self.reading = None;
        self.next()
    }

    fn next(&mut self) -> Next {
        // A step that failed in this round waits for the next round.
        let due = self.wanted & !self.refused;
        if let Some(step) = Step::ALL.into_iter().find(|step| due & step.bit() != 0) {
            self.wanted &= !step.bit();
            self.reading = Some(step);
            return Next::Read(step);
        }
        self.wanted |= self.refused;
        self.refused = 0;
        if self.wanted == 0 { Next::Rest } else { Next::Later }
    }
}

/// What a request takes away. The driver knows of it from the request's way down on; the arrays show it until the switch
/// has carried the request out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaving {
    /// NIC_DISCONNECT: the NIC stays, unconnected.
    Connection(NicId),
    /// NIC_DELETE.
    Nic(NicId),
    /// PORT_TEARDOWN or PORT_DELETE.
    Port(PortId),
}

/// The requests about ports and NICs that arrive while the arrays are read. NDIS sends one at a time.
#[derive(Debug, Clone, Copy, Default)]
pub struct Changes {
    count: u32,
    leaving: Option<Leaving>,
}

impl Changes {
    pub const NONE: Self = Self { count: 0, leaving: None };

    /// The tables have been changed.
    pub fn note(&mut self) {
        self.count = self.count.wrapping_add(1);
    }

    /// A request goes down that takes something away.
    pub fn leaves(&mut self, leaving: Leaving) {
        self.leaving = Some(leaving);
        self.note();
    }

    /// That request is back. Arrays that were read before may or may not show what it took away.
    pub fn left(&mut self) {
        self.leaving = None;
        self.note();
    }

    /// The number of changes so far: arrays that were read before a change are no longer true.
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Whether a port that the arrays show will be there.
    pub fn stays(&self, port: PortId) -> bool {
        self.leaving != Some(Leaving::Port(port))
    }

    /// Whether a NIC that the arrays show will be there.
    pub fn nic_stays(&self, nic: NicId) -> bool {
        self.leaving != Some(Leaving::Nic(nic)) && self.stays(nic.port)
    }

    /// Whether a NIC that the arrays show as connected will be.
    pub fn stays_connected(&self, nic: NicId) -> bool {
        self.leaving != Some(Leaving::Connection(nic))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::NicIndex;

    #[test]
    fn what_a_request_takes_away_is_in_no_array_that_is_read_until_it_is_back() {
        let (port, other) = (PortId::new(7), PortId::new(8));
        let [nic, beside] = [1, 2].map(|index| NicId::new(port, NicIndex::new(index)));
        let mut changes = Changes::NONE;
        let stays = |of: &Changes| (of.stays(port), of.nic_stays(nic), of.stays_connected(nic));
        for (leaving, expected) in [
            (Leaving::Connection(nic), (true, true, false)),
            (Leaving::Nic(nic), (true, false, true)),
            (Leaving::Port(port), (false, false, true)),
        ] {
            let before = changes.count();
            changes.leaves(leaving);
            assert_ne!(changes.count(), before, "arrays that were read before still show it");
            assert_eq!(stays(&changes), expected);
            assert!(changes.stays(other) && changes.stays_connected(beside));
            let under_way = changes.count();
            changes.left();
            assert_ne!(changes.count(), under_way, "arrays that were read meanwhile may show it");
            assert_eq!(stays(&changes), (true, true, true));
        }
    }

    /// Runs every step that is due, and lets some fail; returns the steps that were done, and the last result.
    fn round(of: &mut Enumeration, refuse: &[Step]) -> (std::vec::Vec<Step>, Next) {
        let mut steps = std::vec::Vec::new();
        let mut next = of.begin();
        while let Next::Read(step) = next {
            steps.push(step);
            next = of.finish(step, !refuse.contains(&step));
        }
        (steps, next)
    }

    #[test]
    fn steps_are_read_in_order_and_once() {
        let mut all = Enumeration::NEW;
        all.want(Step::Properties);
        // The switch has not reported that it is active.
        all.want_arrays_again();
        assert_eq!(all.wanted & Step::Arrays.bit(), 0);
        all.want(Step::Arrays);
        assert_eq!(round(&mut all, &[]), (Step::ALL.to_vec(), Next::Rest));
        all.want(Step::Parameters);
        all.want(Step::Arrays);
        assert_eq!(round(&mut all, &[]), (std::vec![], Next::Rest));
        all.want(Step::Properties);
        assert_eq!(round(&mut all, &[]), (std::vec![Step::Properties], Next::Rest));
        all.want_arrays_again();
        assert_eq!(round(&mut all, &[]), (std::vec![Step::Arrays], Next::Rest));
    }

    #[test]
    fn a_refused_step_keeps_no_other_from_being_read_and_is_read_in_the_next_round() {
        for refused in Step::ALL {
            let mut all = Enumeration::NEW;
            Step::ALL.into_iter().for_each(|step| all.want(step));
            assert_eq!(round(&mut all, &[refused]), (Step::ALL.to_vec(), Next::Later));
            assert!(all.is_owed());
            assert_eq!(all.knows_ports(), refused != Step::Arrays);
            assert_eq!(round(&mut all, &[refused]), (std::vec![refused], Next::Later));
            assert_eq!(round(&mut all, &[]), (std::vec![refused], Next::Rest));
            assert!(!all.is_owed() && all.knows_ports());
        }
    }

    #[test]
    fn who_reads_goes_on_with_what_is_wanted_meanwhile_and_nobody_reads_beside() {
        let mut all = Enumeration::NEW;
        assert_eq!(all.begin(), Next::Read(Step::Parameters));
        all.want(Step::Parameters);
        all.want(Step::Arrays);
        assert_eq!(all.begin(), Next::Rest);
        assert_eq!(all.finish(Step::Parameters, true), Next::Read(Step::Arrays));
        all.want(Step::Properties);
        assert_eq!(all.finish(Step::Arrays, true), Next::Read(Step::Properties));
        // A port that was closed after its properties were read.
        all.want(Step::Properties);
        assert_eq!(all.finish(Step::Properties, false), Next::Later);
        assert_eq!(all.begin(), Next::Read(Step::Properties));
        assert_eq!(all.finish(Step::Properties, true), Next::Rest);
    }
}
