//! Properties that hold for every case of a kind: each filter, index, layout, damage, and outcome of a request. Every
//! case is held against an expectation that is computed apart from the driver, or against the same case done plainly.

mod damaged;
mod driver;
mod flags;
mod ids;
mod layouts;
mod nic_indexes;
mod packet_filter;
mod port_table;
mod recovered;
mod request_outcomes;
mod split_lists;
