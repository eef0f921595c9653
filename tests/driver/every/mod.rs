//! Tests that go through every case of a kind: each packet filter, NIC index, memory layout, damage, and outcome of a
//! request. Each case is compared with an expectation that the test computes itself, or with the same case in its
//! simplest form.

mod damaged;
pub mod driver;
mod flags;
mod ids;
mod layouts;
mod link_local;
mod nic_indexes;
mod packet_filter;
mod port_table;
mod prune_multicast;
mod recovered;
pub mod request_outcomes;
mod split_lists;
mod teams;
