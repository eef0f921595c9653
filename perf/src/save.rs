//! `--save`: the frames that each member carried, in order of arrival at the far end, as captures.

use anyhow::{Context, bail};
use pcap_file::DataLink;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

type Writer = PcapNgWriter<BufWriter<File>>;

/// The open captures; a frame is written to the interface of its member.
pub struct Saved {
    /// One file for all members, or one for each.
    writers: Vec<Writer>,
    failed: Option<anyhow::Error>,
}

impl Saved {
    /// A path that ends in `.pcapng` becomes one capture with an interface for each member; any other a folder with
    /// `member-1.pcapng` and so on, from which those of members that an earlier team had are removed.
    pub fn create(path: &Path, members: usize) -> anyhow::Result<Self> {
        let writers = if is_one(path)? {
            vec![open(path, 1..=members)?]
        } else {
            fs::create_dir_all(path).with_context(|| format!("cannot make the folder {}", path.display()))?;
            let old =
                of_members(path).with_context(|| format!("cannot read the folder {}", path.display()))?;
            for file in old {
                fs::remove_file(&file).with_context(|| format!("cannot remove {}", file.display()))?;
            }
            let each = (1..=members)
                .map(|member| open(&path.join(format!("member-{member}.pcapng")), member..=member));
            each.collect::<anyhow::Result<_>>()?
        };
        Ok(Self { writers, failed: None })
    }

    /// Writes a frame that arrived at the far end. The first error is kept until the end.
    pub fn write(&mut self, member: u16, at: Duration, bytes: &[u8]) {
        let slot = usize::from(member).saturating_sub(1);
        let (file, interface) = if self.writers.len() == 1 { (0, slot) } else { (slot, 0) };
        let Some(writer) = self.writers.get_mut(file).filter(|_| self.failed.is_none()) else { return };
        let block = EnhancedPacketBlock {
            interface_id: u32::try_from(interface).unwrap_or(0),
            timestamp: at,
            original_len: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
            data: Cow::Borrowed(bytes),
            options: Vec::new(),
        };
        self.failed = writer.write_pcapng_block(block).err().map(anyhow::Error::from);
    }

    pub fn close(self) -> anyhow::Result<()> {
        if let Some(error) = self.failed {
            return Err(error).context("cannot save what came out of the members");
        }
        for writer in self.writers {
            writer.into_inner().flush().context("cannot save what came out of the members")?;
        }
        Ok(())
    }
}

/// Whether a path is that of one capture; an error if it is neither that nor a folder's.
fn is_one(path: &Path) -> anyhow::Result<bool> {
    let ends_in = |name: &str| path.extension().is_some_and(|extension| extension == name);
    if ends_in("pcap") {
        bail!("{} cannot name its members; save to FILE.pcapng or to a folder", path.display());
    }
    Ok(ends_in("pcapng"))
}

/// The files that are written or removed there.
pub fn files(path: &Path, members: usize) -> anyhow::Result<Vec<PathBuf>> {
    if is_one(path)? {
        return Ok(vec![path.to_owned()]);
    }
    let new = (1..=members).map(|member| path.join(format!("member-{member}.pcapng")));
    // There are none in a folder that is yet to be made.
    Ok(new.chain(of_members(path).unwrap_or_default()).collect())
}

/// The captures of members in a folder, `member-` and a number.
fn of_members(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_prefix("member-")?.strip_suffix(".pcapng"));
        if number
            .is_some_and(|number| !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit()))
        {
            files.push(path);
        }
    }
    Ok(files)
}

fn open(path: &Path, members: std::ops::RangeInclusive<usize>) -> anyhow::Result<Writer> {
    let failed = || format!("cannot write {}", path.display());
    let mut writer =
        PcapNgWriter::new(BufWriter::new(File::create(path).with_context(failed)?)).with_context(failed)?;
    for member in members {
        let name = InterfaceDescriptionOption::IfName(Cow::Owned(format!("member-{member}")));
        // Nanoseconds.
        let options = vec![name, InterfaceDescriptionOption::IfTsResol(9)];
        let interface = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen: 0, options };
        writer.write_pcapng_block(interface).with_context(failed)?;
    }
    Ok(writer)
}
