//! Leaks, by the rule that each kind of allocation breaks. Every entry of the ledger is reported once.

use crate::check::rule;
use crate::machine::memory::{Allocation, AllocationKind};
use crate::machine::world::World;
use crate::switch::ndis::with;

/// Serial number of the newest entry in the ledger.
pub fn newest(world: &World) -> u64 {
    world.live().last().map_or(0, |entry| entry.serial)
}

/// Entries since `mark` that are allocated and not reported yet, if `wanted`.
fn left(world: &World, mark: u64, wanted: impl Fn(&Allocation) -> bool) -> Vec<Allocation> {
    let mut left = world.live();
    with(|_, state| {
        left.retain(|e| e.serial > mark && wanted(e) && state.driver.reported.insert(e.serial));
    });
    left
}

/// After a failed call: nothing that it allocated may be left.
pub fn after_failure(world: &World, mark: u64, within: Option<&'static str>, id: &'static str) {
    let left = left(world, mark, |e| within.is_none_or(|name| e.stack.contains(&name)));
    rule(world, id, left.is_empty(), || format!("a call failed and left {}", list(&left)));
}

/// After the detach of the last module: nothing of it may be left.
pub fn after_detach(world: &World, mark: u64) {
    let of_module = |e: &Allocation| !e.stack.contains(&"DriverEntry") || e.stack.contains(&"FilterAttach");
    let left = left(world, mark, |e| of_module(e) && e.kind != AllocationKind::TraceProvider);
    for id in ["STATE-23", "DATA-20", "OID-46", "OID-08", "IRQL-05"] {
        let of_rule: Vec<Allocation> = left.iter().filter(|e| leak_rule(e.kind) == id).cloned().collect();
        rule(world, id, of_rule.is_empty(), || format!("FilterDetach left {}", list(&of_rule)));
    }
}

fn leak_rule(kind: AllocationKind) -> &'static str {
    match kind {
        AllocationKind::ForwardingContext => "DATA-20",
        AllocationKind::NicReference | AllocationKind::PortReference => "OID-46",
        AllocationKind::OidClone => "OID-08",
        AllocationKind::SystemThread => "IRQL-05",
        _ => "STATE-23",
    }
}

fn list(entries: &[Allocation]) -> String {
    entries.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// After unload: everything that is left and not reported is a leak.
pub fn after_unload(world: &World) {
    let left = left(world, 0, |_| true);
    rule(world, "MEM-02", left.is_empty(), || format!("left after unload: {}", list(&left)));
}
