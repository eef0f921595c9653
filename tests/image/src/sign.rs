//! Signs a copy of the image with a certificate made for the purpose, and verifies the signature.
//!
//! The key is gone when this ends: what remains is a signed copy and the certificate to trust on a machine
//! in test-signing mode. A signature that Windows accepts without that mode is Microsoft's to give.

use std::{path::Path, process::Command};

use anyhow::{Result, bail};

use crate::kit;

/// The signed copy, beside the image.
const SIGNED: &str = "lbfoext.signed.sys";
/// The certificate in the form that certificate stores import.
const CERTIFICATE: &str = "lbfoext.test.cer";
const TOOLS: [(&str, &str); 2] = [("openssl", "openssl"), ("osslsigncode", "osslsigncode")];

pub fn run(workspace: &Path) -> Result<()> {
    for (tool, package) in TOOLS {
        if Command::new(tool).arg("--version").output().is_err() {
            bail!("{tool} is missing. On Debian:\n  apt-get install --no-install-recommends {package}");
        }
    }
    let image = workspace.join(image::IMAGE);
    if !image.exists() {
        bail!("there is no image to sign: cargo image");
    }
    let folder = tempfile::tempdir()?;
    let [key, certificate] = ["key.pem", "certificate.pem"].map(|name| folder.path().join(name));
    let [signed, exported] = [SIGNED, CERTIFICATE].map(|name| image.with_file_name(name));

    kit::run(
        Command::new("openssl")
            .args(["req", "-quiet", "-x509", "-newkey", "rsa:3072", "-noenc", "-sha256", "-days", "30"])
            .args(["-subj", "/CN=lbfoext test signing", "-addext", "extendedKeyUsage=codeSigning"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate),
    )?;
    let _ = std::fs::remove_file(&signed); // osslsigncode does not replace a file
    kit::run(
        Command::new("osslsigncode")
            .args(["sign", "-h", "sha256", "-ph", "-n", "LBFO Teaming Extension", "-certs"])
            .arg(&certificate)
            .arg("-key")
            .arg(&key)
            .arg("-in")
            .arg(&image)
            .arg("-out")
            .arg(&signed),
    )?;
    kit::run(
        Command::new("osslsigncode").arg("verify").arg("-CAfile").arg(&certificate).arg("-in").arg(&signed),
    )?;
    kit::run(
        Command::new("openssl")
            .args(["x509", "-outform", "DER", "-in"])
            .arg(&certificate)
            .arg("-out")
            .arg(&exported),
    )?;
    println!("signed      {}\ncertificate {}", signed.display(), exported.display());
    Ok(())
}
