//! Behaviour that Windows may have although no page documents it. A driver must work with all of it, so the seed draws
//! each independently; without them the switch behaves as the pages state.

use crate::machine::world::{ADVERSITIES, below, stream};

/// One member for each behaviour.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Adversities {
    /// Free elements of a destination array have the contents of an earlier packet. No page states their contents.
    pub stale_slots: bool,
    /// AddNetBufferListDestination fails if no element is free. The documented steps for a single destination do not
    /// include GrowNetBufferListDestinations (adding-extensible-switch-destination-port-data-to-a-packet), so the
    /// switch normally grows the array itself; no page promises that. Only if a test requests it, because each failure
    /// costs a packet.
    pub add_needs_slot: bool,
    /// Lists arrive with a ChildRefCount that a driver above left. By the page it is 0, because a parent is never
    /// passed to another driver (relationships-between-net-buffer-list-generations).
    pub derived_above: bool,
}

impl Adversities {
    pub const NONE: Self = Self { stale_slots: false, add_needs_slot: false, derived_above: false };

    /// The behaviours that a seed draws, each in half of all seeds; `add_needs_slot` only on request.
    pub fn drawn(seed: u64) -> Self {
        let mut rng = stream(seed, ADVERSITIES);
        let [stale_slots, derived_above] = [(); 2].map(|()| below(&mut rng, 2) == 1);
        Self { stale_slots, derived_above, ..Self::NONE }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_drawn_in_about_half_of_the_seeds_and_by_itself() {
        let all: Vec<_> = (0..400).map(Adversities::drawn).collect();
        let count = |of: fn(&Adversities) -> bool| all.iter().filter(|one| of(one)).count();
        assert!((150..250).contains(&count(|a| a.stale_slots)));
        assert!((150..250).contains(&count(|a| a.derived_above)));
        assert!((60..140).contains(&count(|a| a.stale_slots && a.derived_above)));
        assert!((60..140).contains(&count(|a| *a == Adversities::NONE)));
    }
}
