//! The decision core against models of it that are written from the documents: after any walk of changes, what frames
//! see is what a plain description of the present says. Every walk is the same in every run.

mod bits;
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
