//! The extensible switch: ports, NICs, packets and OIDs, and the functions of NDIS.

pub mod control;
pub mod frames;
pub mod nbl;
pub mod ndis;
pub mod ports;
pub mod shown;
