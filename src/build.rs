//! Build script of the driver: how the image is linked, which texts it has for the event log, and whether the tests have an image to load.
//!
//! With the Windows Driver Kit on the build host, wdk-build decides; on another host `cargo image` has laid
//! out a kit of its own, and the same arguments are given here. A native build links nothing: it only
//! learns whether there is an image (`cfg(image_present)`) and whether there are the extensions that the simulated
//! switch is checked with (`cfg(witnesses_present)`), because a test cannot ignore itself as it runs.

#[allow(dead_code, reason = "the driver uses the rest")]
#[path = "../teaming/src/event/catalog.rs"]
mod catalog;
#[path = "build/messages.rs"]
mod messages;

use std::{env, error::Error, fs, path::Path, time::SystemTime};

/// The image, and a file that changes when it appears; `cargo image` writes both.
const IMAGE: &str = "target/x86_64-pc-windows-msvc/release/lbfoext.sys";
const MARKER: &str = "target/image.marker";
/// The last of the extensions that `cargo image witnesses` builds.
const WITNESS: &str = "target/witnesses/forward.sys";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rustc-check-cfg=cfg(image_present)");
    println!("cargo::rustc-check-cfg=cfg(witnesses_present)");
    if env::var("CARGO_CFG_TARGET_OS")? == "windows" {
        link_messages()?;
        return link_driver();
    }
    look_for(IMAGE, "image_present")?;
    look_for(WITNESS, "witnesses_present")
}

/// Links the texts of the event log into the image; the linkers of both kits take compiled resources.
fn link_messages() -> Result<(), Box<dyn Error>> {
    let file = Path::new(&env::var("OUT_DIR")?).join("messages.res");
    fs::write(&file, messages::resource(catalog::KINDS))?;
    println!("cargo::rustc-cdylib-link-arg={}", file.display());
    println!("cargo::rerun-if-changed=teaming/src/event/catalog.rs");
    println!("cargo::rerun-if-changed=src/build");
    Ok(())
}

#[cfg(windows)]
fn link_driver() -> Result<(), Box<dyn Error>> {
    Ok(wdk_build::configure_wdk_binary_build()?)
}

#[cfg(not(windows))]
fn link_driver() -> Result<(), Box<dyn Error>> {
    // As wdk-build links a WDM driver; a test compares the two lists.
    const AS_WDK_BUILD: [&str; 14] = [
        "/DRIVER",
        "/NODEFAULTLIB",
        "/SUBSYSTEM:NATIVE",
        "/KERNEL",
        "/ENTRY:DriverEntry",
        "/IGNORE:4257",
        "/IGNORE:4216",
        "/NXCOMPAT",
        "/DYNAMICBASE",
        "/MAP",
        "/MAPINFO:EXPORTS",
        "/OPT:REF,ICF",
        "/INTEGRITYCHECK",
        "/MANIFEST:NO",
    ];
    // What lld-link does not do unasked: the header's checksum, which Windows requires of a driver; the same bytes from
    // the same sources (no time, and in the symbols no folder but this one); the symbols under their name alone.
    const FOR_LLD: [&str; 5] =
        ["/RELEASE", "/Brepro", "/DEBUG", "/PDBALTPATH:lbfoext.pdb", "/PDBSOURCEPATH:C:\\lbfoext"];

    let kit = env::var("WDKContentRoot").map_err(|_| "no driver kit: build the image with `cargo image`")?;
    let version = env::var("Version_Number")?;
    println!("cargo::rustc-link-search={kit}/Lib/{version}/km/x64");
    for argument in AS_WDK_BUILD.iter().chain(&FOR_LLD) {
        println!("cargo::rustc-link-arg={argument}");
    }
    for variable in ["WDKContentRoot", "Version_Number"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    Ok(())
}

/// An image is watched once it exists. Until then the marker is, because a watched file that does
/// not exist makes every build a new one.
fn look_for(image: &str, found: &str) -> Result<(), Box<dyn Error>> {
    let workspace = env::var("CARGO_MANIFEST_DIR")?;
    let [image, marker] = [image, MARKER].map(|file| Path::new(&workspace).join(file));
    let watched = if image.exists() {
        println!("cargo::rustc-cfg={found}");
        image
    } else {
        if !marker.exists() {
            fs::create_dir_all(Path::new(&workspace).join("target"))?;
            // Old, or it would seem to have changed since this script began.
            fs::File::create(&marker)?.set_modified(SystemTime::UNIX_EPOCH)?;
        }
        marker
    };
    println!("cargo::rerun-if-changed={}", watched.display());
    Ok(())
}
