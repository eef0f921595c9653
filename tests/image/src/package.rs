//! The driver package: all that is copied to a host, with a signed catalog, in one zip file.
//!
//! It is made twice and compared, read back, and verified by two programs: file by file against the catalog by this one
//! and by osslsigncode. Both must also refuse each file with one byte changed.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use image::{
    archive,
    catalog::{self, Catalog, Member, Package},
    symbols,
};

use crate::{build, sign::Signer};

/// What the package has besides the files of `inf` and what is made here.
const OTHERS: [&str; 3] = [image::IMAGE, image::SYMBOLS, "LICENSE"];
const CATALOG: &str = "lbfoext.cat";
const CERTIFICATE: &str = "lbfoext.cer";
/// Inf2Cat's names for Windows Server 2022 and 2025 in catalogs of published drivers; no page lists them.
const SYSTEMS: &str = "Server_v100_X64_21H2,Server_v100_X64_24H2";

/// (name, content) of each file of the package.
type Files = Vec<(String, Vec<u8>)>;

/// Builds the image, unless it is as its sources are, and packs it.
pub fn run(workspace: &Path, key: Option<(PathBuf, PathBuf)>) -> Result<()> {
    build::build(workspace)?;
    let signer = match key {
        Some((key, certificate)) => Signer::take(&key, &certificate)?,
        None => Signer::make()?,
    };
    let sources = sources(workspace)?;
    let inf = text(&sources, "lbfoext.inf")?;
    let package = describe(inf)?;
    let folder = tempfile::tempdir()?;
    let [first, second] =
        ["first", "second"].map(|name| make(&folder.path().join(name), &sources, &package, &signer));
    let archive = archive::write(&first?, package.time)?;
    ensure!(
        archive::write(&second?, package.time)? == archive,
        "made twice, the package has not the same bytes"
    );

    let files = archive::read(&archive)?;
    let catalog = verify(&folder.path().join("verified"), &files, &signer)?;
    ensure!(catalog.package == package, "the catalog describes another package: {:?}", catalog.package);
    let (name, id) = symbols::of_image(content(&files, "lbfoext.sys")?)?;
    ensure!(symbols::of_file(content(&files, &name)?)? == id, "{name} has not the symbols of this image");

    let zip = workspace.join(image::PACKAGE);
    fs::write(&zip, &archive)?;
    for member in &catalog.members {
        println!("{:<15} {}", member.name, image::hex(&member.sha256));
    }
    println!(
        "package  {}\nsize     {} bytes\nsha-256  {}",
        image::PACKAGE,
        archive.len(),
        image::file_digest(&zip)?
    );
    Ok(())
}

/// The files that are there before a catalog is made, in the order of their names.
fn sources(workspace: &Path) -> Result<Files> {
    let mut paths: Vec<PathBuf> = OTHERS.iter().map(|path| workspace.join(path)).collect();
    for entry in fs::read_dir(workspace.join("inf"))? {
        paths.push(entry?.path());
    }
    let mut files = Files::new();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).context("a file without a name")?;
        files.push((name.into(), fs::read(&path).with_context(|| path.display().to_string())?));
    }
    files.sort();
    Ok(files)
}

/// What the INF says of the package. The package's time is that of DriverVer, if SOURCE_DATE_EPOCH gives none.
fn describe(inf: &str) -> Result<Package> {
    let date = directive(inf, "DriverVer")?.split(',').next().unwrap_or_default();
    let parts: Vec<u32> = date.split('/').filter_map(|part| part.parse().ok()).collect();
    let [month, day, year] = parts[..] else { bail!("DriverVer has no date: {date}") };
    let date = der::DateTime::new(year.try_into()?, month.try_into()?, day.try_into()?, 0, 0, 0)?;
    let time = match env::var("SOURCE_DATE_EPOCH") {
        Ok(time) => time.parse().context("SOURCE_DATE_EPOCH")?,
        Err(_) => date.unix_duration().as_secs(),
    };
    ensure!(directive(inf, "CatalogFile")? == CATALOG, "the INF names another catalog");
    let models =
        inf.split("\n[Models.").nth(1).and_then(|rest| rest.split("\n[").next()).context("no models")?;
    let models = models.lines().filter_map(|line| line.split_once('=')?.1.split_once(','));
    let hardware_ids: Vec<String> = models.map(|(_, id)| id.trim().into()).collect();
    ensure!(!hardware_ids.is_empty(), "the INF has no model");
    Ok(Package { systems: SYSTEMS.into(), hardware_ids, time })
}

/// The value of a directive of the INF, its comment taken off.
fn directive<'a>(inf: &'a str, name: &str) -> Result<&'a str> {
    let mut lines = inf.lines().filter_map(|line| line.split_once('='));
    let (_, value) =
        lines.find(|(key, _)| key.trim() == name).with_context(|| format!("the INF has no {name}"))?;
    Ok(value.split(';').next().unwrap_or_default().trim())
}

/// Signs the image, lists all files in a catalog, signs that and adds it with the certificate.
fn make(folder: &Path, sources: &Files, package: &Package, signer: &Signer) -> Result<Files> {
    fs::create_dir(folder)?;
    let [given, signed] = ["given", "signed"].map(|name| folder.join(name));
    let sign = |name: &str, content: &[u8]| -> Result<Vec<u8>> {
        let signed = signed.with_extension(Path::new(name).extension().unwrap_or_default());
        fs::write(&given, content)?;
        signer.sign(&given, &signed)?;
        Ok(fs::read(&signed)?)
    };
    let mut files = sources.clone();
    for (name, content) in files.iter_mut().filter(|(name, _)| name.ends_with(".sys")) {
        *content = sign(name, content)?;
    }
    let members =
        files.iter().map(|(name, content)| Member::of(name, content)).collect::<Result<Vec<_>>>()?;
    let catalog = sign(CATALOG, &catalog::write(package, &members)?)?;
    files.extend([(CATALOG.into(), catalog), (CERTIFICATE.into(), signer.exported.clone())]);
    files.sort();
    Ok(files)
}

/// Verifies every file of a package, as it is and with a byte changed.
fn verify(folder: &Path, files: &Files, signer: &Signer) -> Result<Catalog> {
    fs::create_dir(folder)?;
    let place = folder.join(CATALOG);
    fs::write(&place, content(files, CATALOG)?)?;
    let catalog = Catalog::read(content(files, CATALOG)?)?;
    let listed: Files =
        files.iter().filter(|(name, _)| ![CATALOG, CERTIFICATE].contains(&name.as_str())).cloned().collect();
    let faults = catalog.faults(&listed);
    ensure!(faults.is_empty(), "the catalog: {}", faults.join("; "));
    for at in 0..listed.len() {
        let (name, content) = &listed[at];
        // What is no image is read byte by byte under this name.
        let end = if name.ends_with(".sys") { "sys" } else { "mof" };
        let file = folder.join(name).with_extension(end);
        fs::write(&file, content)?;
        signer.verify(&file, Some(&place)).with_context(|| name.clone())?;
        if end == "sys" {
            signer.verify(&file, None).with_context(|| name.clone())?;
        }

        let mut changed = listed.clone();
        let middle = content.len() / 2;
        *changed[at].1.get_mut(middle).with_context(|| format!("{name} is empty"))? ^= 1;
        fs::write(&file, &changed[at].1)?;
        ensure!(
            signer.verify(&file, Some(&place)).is_err(),
            "osslsigncode takes {name} with byte {middle} changed"
        );
        ensure!(!catalog.faults(&changed).is_empty(), "{name} with byte {middle} changed goes unnoticed");
    }
    let mut other = content(files, CATALOG)?.to_vec();
    let system: Vec<u8> = SYSTEMS.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let at =
        other.windows(system.len()).position(|part| part == system).context("the catalog names no system")?;
    other[at] ^= 1;
    fs::write(&place, &other)?;
    let file = folder.join("lbfoext.mof");
    fs::write(&file, content(files, "lbfoext.mof")?)?;
    ensure!(signer.verify(&file, Some(&place)).is_err(), "osslsigncode takes a changed catalog");
    ensure!(
        Catalog::read(&other).is_ok_and(|other| !other.faults(&listed).is_empty()),
        "a changed catalog goes unnoticed"
    );
    Ok(catalog)
}

fn content<'a>(files: &'a Files, name: &str) -> Result<&'a [u8]> {
    let file = files.iter().find(|(file, _)| file == name).with_context(|| format!("{name} is missing"))?;
    Ok(&file.1)
}

fn text<'a>(files: &'a Files, name: &str) -> Result<&'a str> {
    std::str::from_utf8(content(files, name)?).context(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const INF: &str = include_str!("../../../inf/lbfoext.inf");

    #[test]
    fn the_inf_names_the_catalog_the_device_and_the_date() {
        let package = describe(INF).unwrap();
        assert_eq!(package.hardware_ids, ["lbfo_lbfoext"]);
        assert_eq!(package.systems, SYSTEMS);
        assert!(
            env::var("SOURCE_DATE_EPOCH").is_ok()
                || package.time.is_multiple_of(86_400) && package.time > 1_790_000_000
        );
    }

    #[test]
    fn an_inf_with_another_catalog_or_without_a_model_or_date_is_refused() {
        for (from, to) in [
            ("CatalogFile = lbfoext.cat", "CatalogFile = other.cat"),
            ("CatalogFile = lbfoext.cat", ""),
            ("%Name% = Install, lbfo_lbfoext", ""),
            ("DriverVer   = ", "DriverVer   = 13"),
        ] {
            assert!(INF.contains(from), "{from}");
            assert!(describe(&INF.replace(from, to)).is_err(), "{to} for {from}");
        }
    }
}
