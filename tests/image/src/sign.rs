//! Signs images and catalogs with a test certificate, and verifies that.
//!
//! Without a key of the caller's, one is made and is gone when this ends: what remains is what it signed and the certificate to trust on a
//! machine in test-signing mode. A signature that Windows accepts without that mode is Microsoft's to give.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail, ensure};
use cms::cert::x509::Certificate;
use der::{DecodePem, Encode};
use tempfile::TempDir;

const TOOLS: [&str; 2] = ["openssl", "osslsigncode"];
/// Shown by Windows as the signed program's name.
const NAME: &str = "LBFO Teaming Extension";

/// A key with its self-signed certificate.
pub struct Signer {
    key: PathBuf,
    certificate: PathBuf,
    /// The certificate in the form that certificate stores import.
    pub exported: Vec<u8>,
    /// When all signatures are said to be made, in seconds since 1970: the first time of the certificate.
    time: u64,
    /// Where a key lies that was made here, until this is dropped.
    _made_in: Option<TempDir>,
}

impl Signer {
    /// Makes a key and a certificate for it.
    pub fn make() -> Result<Self> {
        find_tools()?;
        let folder = tempfile::tempdir()?;
        let [key, certificate] = ["key.pem", "certificate.pem"].map(|name| folder.path().join(name));
        let mut command = Command::new("openssl");
        command
            .args(["req", "-quiet", "-x509", "-newkey", "rsa:3072", "-noenc", "-sha256", "-days", "30"])
            .args(["-subj", "/CN=lbfoext test signing", "-addext", "extendedKeyUsage=codeSigning"]);
        run(command.arg("-keyout").arg(&key).arg("-out").arg(&certificate))?;
        Self::new(key, certificate, Some(folder))
    }

    /// Takes a key and its self-signed certificate, both in PEM.
    pub fn take(key: &Path, certificate: &Path) -> Result<Self> {
        find_tools()?;
        Self::new(key.to_owned(), certificate.to_owned(), None)
    }

    fn new(key: PathBuf, certificate: PathBuf, made_in: Option<TempDir>) -> Result<Self> {
        let name = certificate.display().to_string();
        let pem = fs::read(&certificate).with_context(|| name.clone())?;
        let parsed = Certificate::from_pem(&pem).with_context(|| name.clone())?;
        let fields = &parsed.tbs_certificate;
        ensure!(fields.issuer == fields.subject, "{name} is not self-signed");
        let time = fields.validity.not_before.to_unix_duration().as_secs();
        Ok(Self { key, certificate, exported: parsed.to_der()?, time, _made_in: made_in })
    }

    /// Writes a signed copy of an image or a catalog; the same copy each time.
    pub fn sign(&self, file: &Path, to: &Path) -> Result<()> {
        if to.exists() {
            fs::remove_file(to)?; // osslsigncode replaces no file
        }
        let mut command = Command::new("osslsigncode");
        command.args(["sign", "-h", "sha256", "-n", NAME, "-time", &self.time.to_string()]);
        if to.extension() == Some(OsStr::new("sys")) {
            command.arg("-ph"); // digests of the pages, for memory integrity
        }
        command.arg("-certs").arg(&self.certificate).arg("-key").arg(&self.key);
        run(command.arg("-in").arg(file).arg("-out").arg(to))
    }

    /// Verifies the signature in a file or, with a catalog, that a file is as the catalog says and the catalog is
    /// signed. The tool goes by the names' ends: it takes the digest of a file byte by byte if it ends in `.mof`.
    pub fn verify(&self, file: &Path, catalog: Option<&Path>) -> Result<()> {
        let mut command = Command::new("osslsigncode");
        command.arg("verify").arg("-CAfile").arg(&self.certificate);
        if let Some(catalog) = catalog {
            command.arg("-catalog").arg(catalog);
        }
        run(command.arg("-in").arg(file))
    }
}

fn find_tools() -> Result<()> {
    for tool in TOOLS {
        if Command::new(tool).arg("--version").output().is_err() {
            bail!("{tool} is missing. On Debian:\n  apt-get install --no-install-recommends {tool}");
        }
    }
    Ok(())
}

/// Runs a tool; what it wrote is the message if it fails.
fn run(command: &mut Command) -> Result<()> {
    let tool = Path::new(command.get_program()).display().to_string();
    let output = command.output().with_context(|| tool.clone())?;
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(output.status.success(), "{tool}: {}\n{}{}", output.status, said[0], said[1]);
    Ok(())
}
