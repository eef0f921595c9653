//! `std` as the published wdk-build sources see it on this host: the real one, plus the one Windows
//! function that they name. It belongs to a cargo-make flow that `cargo image` never enters.

#![no_std]
extern crate std as real;
pub use real::*;

pub mod os {
    pub use super::real::os::*;

    pub mod windows {
        pub mod fs {
            use crate::{io, path::Path};

            pub fn symlink_file<P: AsRef<Path>, Q: AsRef<Path>>(_original: P, _link: Q) -> io::Result<()> {
                Err(io::Error::from(io::ErrorKind::Unsupported))
            }
        }
    }
}
