//! The first pass over a capture: its length, the VMs in it, and whether it can be read.

use crate::capture::Capture;
use crate::hosts::{Hosts, Search, Which};
use anyhow::{Context, bail};
use std::time::Duration;

pub struct Survey {
    pub frames: usize,
    /// Number of truncated frames.
    pub cut: usize,
    /// What is to be said of the capture.
    pub warnings: Vec<String>,
    /// Time of the first frame.
    pub start: Duration,
    /// Time from the first frame to the last.
    pub length: Duration,
    pub hosts: Hosts,
}

impl Survey {
    pub fn of(capture: &Capture, which: &Which) -> anyhow::Result<Self> {
        let (mut frames, mut cut, mut first, mut last) = (0, 0, None, Duration::ZERO);
        let mut search = Search::default();
        let mut all = capture.frames()?;
        for frame in all.by_ref() {
            let frame = frame?;
            frames += 1;
            cut += usize::from(frame.cut);
            first = first.or(Some(frame.at));
            last = frame.at;
            search.see(&frame.bytes);
        }
        let warnings = all.warnings();
        let Some(start) = first else {
            bail!("{capture} holds no frame; choose a capture with traffic in it")
        };
        let hosts = search.hosts(which).with_context(|| format!("cannot use {capture}"))?;
        Ok(Self { frames, cut, warnings, start, length: last - start, hosts })
    }
}
