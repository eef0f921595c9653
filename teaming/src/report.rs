//! A team's state and load as plain data and as text of at most 80 columns.
//!
//! Filled from the team, the table and merged counters; so far tests alone print it. Below each member is the adapter
//! that it is, by name and GUID: an index may be another adapter's after a restart.

use core::fmt;

use crate::Storage;
use crate::forward::Forwarding;
use crate::forward::counters::{Counters, Load};
use crate::forward::drop_reason::{DROP_REASONS, DropReason};
use crate::ids::{AdapterId, BUCKETS, MEMBERS, MemberIndex};
use crate::settings::Settings;
use crate::team::Team;
use crate::team::member::{Member, MemberState};

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberLine {
    pub index: MemberIndex,
    pub member: Member,
    /// Buckets that it carries now.
    pub buckets: u16,
    /// Buckets whose home it is.
    pub home_buckets: u16,
    pub load: Load,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub settings: Settings,
    pub members: heapless::Vec<MemberLine, MEMBERS>,
    pub stations: usize,
    /// Buckets wait to change member.
    pub moving: bool,
    pub delivered: u64,
    pub uplink: u64,
    pub flooded: u64,
    pub native: u64,
    pub split: u64,
    pub dropped: [u64; DropReason::COUNT],
}

impl Report {
    pub fn new<S: Storage>(
        settings: &Settings,
        team: &Team<S>,
        forwarding: &Forwarding<S>,
        counters: &Counters,
    ) -> Self {
        let owned = forwarding.table.counts();
        let members = team.members().map(|(index, member)| MemberLine {
            index,
            member: *member,
            buckets: owned.get(index.slot()).copied().unwrap_or(0),
            home_buckets: count(team.home(), index),
            load: counters.members.get(index.slot()).copied().unwrap_or_default(),
        });
        Self {
            settings: *settings,
            members: members.collect(),
            stations: forwarding.ports.len(),
            moving: forwarding.moving(),
            delivered: counters.delivered,
            uplink: counters.uplink,
            flooded: counters.flooded,
            native: counters.native,
            split: counters.split,
            dropped: counters.dropped,
        }
    }

    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason.index()).copied().unwrap_or(0)
    }
}

fn count(home: &[u8], index: MemberIndex) -> u16 {
    u16::try_from(home.iter().filter(|&&owner| owner == index.get()).count()).unwrap_or(u16::MAX)
}

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { settings, delivered, uplink, flooded, native, split, .. } = self;
        writeln!(
            out,
            "team {} {}, {} stations",
            settings.mode.name(),
            settings.policy.name(),
            self.stations
        )?;
        writeln!(
            out,
            "{:>6} {:<28} {:>7} {:>6} {:>6} {:>10} {:>9}",
            "member", "state", "speed", "share", "home", "frames", "bytes"
        )?;
        for line in &self.members {
            write!(out, "{:>6} {:<28} ", line.index.get(), state(&line.member))?;
            match line.member.speed {
                Some(speed) => Scaled(speed).fmt(out)?,
                None => write!(out, "{:>7}", "?")?,
            }
            out.write_str(" ")?;
            Share(line.buckets).fmt(out)?;
            out.write_str(" ")?;
            Share(line.home_buckets).fmt(out)?;
            write!(out, " {:>10}   ", line.load.frames)?;
            Scaled(line.load.bytes).fmt(out)?;
            writeln!(out)?;
            identity(&line.member, out)?;
        }
        if self.moving {
            writeln!(out, "flows wait for a gap to change member")?;
        }
        writeln!(
            out,
            "delivered {delivered}, uplink {uplink}, flooded {flooded}, native {native}, split {split}"
        )?;
        for reason in DROP_REASONS {
            let count = self.dropped(reason);
            if count != 0 {
                writeln!(out, "dropped {count}: {}", reason.sentence())?;
            }
        }
        Ok(())
    }
}

/// The state, or in LBFO's words why it carries nothing.
const fn state(member: &Member) -> &'static str {
    match member.state {
        MemberState::Active => "Active",
        MemberState::Absent
        | MemberState::Created
        | MemberState::Down { .. }
        | MemberState::Settling { .. } => member.state.failure_reason().name(),
    }
}

/// The adapter, one line for its name and one for its GUID.
fn identity(member: &Member, out: &mut fmt::Formatter<'_>) -> fmt::Result {
    if member.name.is_known() {
        writeln!(out, "       {}", member.name)?;
    }
    match member.adapter {
        AdapterId::UNKNOWN => writeln!(out, "       adapter not known yet"),
        adapter => writeln!(out, "       {adapter}"),
    }?;
    match member.settings.weight {
        Some(weight) => writeln!(out, "       weight {weight} is set"),
        None => Ok(()),
    }
}

/// Part of all buckets in per cent, six columns.
struct Share(u16);

impl fmt::Display for Share {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let per_mille = usize::from(self.0).saturating_mul(1000).saturating_add(BUCKETS / 2) / BUCKETS;
        write!(out, "{:>3}.{}%", per_mille / 10, per_mille % 10)
    }
}

/// A number with a decimal multiple, seven columns.
struct Scaled(u64);

impl fmt::Display for Scaled {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MULTIPLES: [(u64, char); 6] = [
            (1_000_000_000_000_000_000, 'E'),
            (1_000_000_000_000_000, 'P'),
            (1_000_000_000_000, 'T'),
            (1_000_000_000, 'G'),
            (1_000_000, 'M'),
            (1_000, 'k'),
        ];
        match MULTIPLES.iter().find(|(unit, _)| self.0 >= *unit) {
            Some((unit, letter)) => {
                let tenths = self.0.checked_div(unit / 10).unwrap_or(0);
                write!(out, "{:>4}.{}{letter}", tenths / 10, tenths % 10)
            }
            None => write!(out, "{:>6} ", self.0),
        }
    }
}
