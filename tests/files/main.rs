//! The files of the product: INF, scripts, layouts, the image as a file, and the rules of the house.

mod assumptions;
mod flags;
mod guide;
mod image_checks;
mod imports;
mod inf;
mod layout;
mod map;
mod memory_integrity;
mod messages;
mod mof;
mod peers;
mod tidy;
mod topics;
mod words;
