//! Tells the tests whether the image is built, as `src/build.rs` does for the driver's tests.

use std::path::Path;

fn main() {
    let image = Path::new("../target/x86_64-pc-windows-msvc/release/lbfoext.sys");
    println!("cargo::rustc-check-cfg=cfg(image_present)");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../target/image.marker");
    if image.exists() {
        println!("cargo::rustc-cfg=image_present");
    }
}
