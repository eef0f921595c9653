//! All calls of ntoskrnl. Besides `ndis` and `entry` the only module with `unsafe` code.

pub mod error_log;
pub mod etw;
pub mod event;
pub mod extension;
#[cfg(windows)]
mod image;
pub mod netio;
pub mod per_processor;
pub mod pool;
pub mod processor;
pub mod random;
pub mod registry;
pub mod rundown;
#[doc(hidden)]
pub mod sys;
pub mod time;
pub mod worker;
