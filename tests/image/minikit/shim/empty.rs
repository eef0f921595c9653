//! Stands for a crate that is compiled on this host only because another one lists it.
