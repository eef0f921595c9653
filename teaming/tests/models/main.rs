//! The core against models that are written from the documentation: after any sequence of changes the result for
//! frames is that of the model's present state. The sequences are the same in every run.

mod bits;
mod carriers;
mod edges;
mod growth;
mod host;
mod learned;
mod multicast;
mod outside;
mod receive;
mod rows;
mod settings;
mod sources;
mod tags;
mod weights;
mod witnesses;
