//! The memory of the forwarding state.

use core::sync::atomic::AtomicU32;

use crate::Storage;
use crate::flow::digest::Secret;
use crate::forward::credits::CreditSlot;
use crate::ports::mac_learning::Learned;
use crate::ports::storage::PortTableStorage;
use crate::ports::vlan::VlanSet;
use crate::team::buckets::BucketActivity;

/// The tables of `Forwarding::new`.
pub struct ForwardingStorage<S: Storage> {
    /// `BUCKETS` long, like `stamps`.
    pub owners: S::Of<u8>,
    pub stamps: S::Of<BucketActivity>,
    /// `ARRIVALS` long.
    pub arrivals: S::Of<u64>,
    /// See `PortTable::new`, also for `sets`.
    pub room: PortTableStorage<S>,
    pub sets: S::Of<VlanSet>,
    /// `LEARNED` long, like `outside`.
    pub learned: S::Of<Learned>,
    pub outside: S::Of<Learned>,
    /// `CREDIT_SLOTS` long, or another power of two of at least `WAYS`.
    pub credits: S::Of<CreditSlot>,
    /// `QUOTAS` long.
    pub quotas: S::Of<AtomicU32>,
    /// `WATCHED` long.
    pub watch: S::Of<AtomicU32>,
    /// The key of digests, random.
    pub secret: Secret,
    pub host: S::Host,
}

#[cfg(any(test, feature = "std"))]
impl ForwardingStorage<crate::Heap> {
    /// Memory for `ports` ports and `credits` slots; for tools and tests.
    pub fn on_heap(ports: usize, credits: usize) -> Self {
        use crate::forward::{credits, watch};
        use crate::ports::mac_learning::LEARNED;
        use crate::team::buckets::ARRIVALS;
        let learned = || (0..LEARNED).map(|_| Learned::EMPTY).collect();
        let zeros = |count| (0..count).map(|_| AtomicU32::new(0)).collect();
        Self {
            owners: std::vec![0; crate::ids::BUCKETS],
            stamps: (0..crate::ids::BUCKETS).map(|_| BucketActivity::EMPTY).collect(),
            arrivals: std::vec![0; ARRIVALS],
            room: PortTableStorage::on_heap(ports),
            sets: std::vec![VlanSet::EMPTY; ports],
            learned: learned(),
            outside: learned(),
            credits: (0..credits).map(|_| CreditSlot::EMPTY).collect(),
            quotas: zeros(credits::QUOTAS),
            watch: zeros(watch::WATCHED),
            secret: Secret::new([0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9]),
            host: crate::ports::host::HeapHost::default(),
        }
    }
}
