//! One simulated machine: processors, memory, locks, timers, the scheduler, the registry, and the functions of the
//! kernel. Knows nothing of the switch.

pub mod clock;
mod counts;
pub mod cpu;
pub mod driver_object;
pub mod error_log;
pub mod etw;
pub mod event;
pub mod fault;
pub mod ids;
pub mod interfaces;
pub mod kernel;
pub mod lock_order;
pub mod locks;
pub(crate) mod log;
pub mod memory;
#[cfg(test)]
mod mutations;
pub mod objects;
pub mod point;
#[cfg(test)]
mod races;
pub mod random;
pub mod registry;
pub mod registry_calls;
pub mod registry_keys;
pub mod rundown;
pub mod rwlock;
pub mod scheduler;
#[cfg(test)]
mod scheduling;
pub mod slots;
pub mod stack_depth;
mod standstill;
pub mod system_thread;
pub mod thread;
pub mod timer;
pub mod verify;
pub mod work;
pub mod world;
