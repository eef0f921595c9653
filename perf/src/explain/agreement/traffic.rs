//! Frames of all kinds: made and captured ones, whole, damaged and cut, and random bytes.

#[path = "../../../../teaming/tests/captures/made.rs"]
mod made;

/// What `made` is made for.
mod reader {
    pub struct Frame {
        #[allow(dead_code, reason = "told where frames come from files")]
        pub file: String,
        #[allow(dead_code, reason = "as above")]
        pub number: usize,
        pub bytes: Vec<u8>,
    }
}

use super::teams::{MACHINES, PORTS, Team};
use crate::args::Mode;
use crate::capture::Capture;
use teaming::frame;
use teaming::ids::{MacAddr, NicId};

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % end
    }
}

/// The frames of the bundled captures.
fn captured() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/varied");
    let files = std::fs::read_dir(folder).expect("there").flatten().map(|entry| entry.path());
    let captures =
        files.filter(|path| path.extension().is_some_and(|end| end.to_string_lossy().starts_with("pcap")));
    for capture in captures.map(Capture::File).chain([Capture::Bundled]) {
        all.extend(capture.frames().expect("a capture").map(|frame| frame.expect("a frame").bytes));
    }
    all
}

/// Frames that machines send: whole ones, damaged, cut, of random bytes.
pub struct Traffic {
    random: Random,
    captured: Vec<Vec<u8>>,
    made: Vec<reader::Frame>,
    macs: Vec<MacAddr>,
    /// Frames come from outside too.
    pub inward: bool,
}

/// The sender of what comes from outside.
pub const OUTSIDE: usize = MACHINES as usize;

/// A tunnel at a registered port goes to the other port of its kind.
fn move_tunnel(bytes: &mut [u8]) {
    let Some((from, registered)) = frame::parse(bytes).ports() else { return };
    let to = match registered {
        4789 => PORTS.vxlan,
        6081 => PORTS.geneve,
        _ => return,
    };
    let now = [from.to_be_bytes(), registered.to_be_bytes()].concat();
    if let Some(at) = bytes.windows(4).position(|part| part == now) {
        bytes[at + 2..at + 4].copy_from_slice(&to.to_be_bytes());
    }
}

impl Traffic {
    pub fn new(seed: u64, team: &Team, machines: &[(NicId, MacAddr)]) -> Self {
        // A switch that knows nothing of the team repeats what it floods, and the driver tells copies apart.
        let inward = team.rules.mode == Mode::Static && team.down.len() < team.speeds.len();
        let macs = machines.iter().map(|(_, mac)| *mac).collect();
        Self { random: Random(seed * 2 + 1), captured: captured(), made: Vec::new(), macs, inward }
    }

    /// Its sender, from 0, and the frame.
    pub fn next(&mut self) -> (usize, Vec<u8>) {
        let from = self.random.below(self.macs.len() + usize::from(self.inward));
        let mut bytes = match self.random.below(16) {
            0 => (0..1 + self.random.below(300)).map(|_| self.random.below(256) as u8).collect(),
            1..=5 => self.captured[self.random.below(self.captured.len())].clone(),
            _ => self.made(),
        };
        if self.random.below(2) == 0 {
            move_tunnel(&mut bytes);
        }
        let addresses = self.addresses(from, bytes.get(..6).is_some_and(|to| to[0] & 1 != 0));
        if let Some(place) = bytes.get_mut(..12) {
            place.copy_from_slice(&addresses);
        }
        match self.random.below(8) {
            0 => bytes.truncate(1 + self.random.below(bytes.len())),
            // Tags that the frame did not have, one to six.
            2 if bytes.len() > 12 => {
                for _ in 0..=self.random.below(6) {
                    let tag = [0x81, 0, self.random.below(16) as u8, self.random.below(256) as u8];
                    bytes.splice(12..12, tag);
                }
            }
            1 => {
                for _ in 0..=self.random.below(4) {
                    let length = bytes.len();
                    let at = 12 + self.random.below(100);
                    bytes[at % length] ^= 1 << self.random.below(8);
                }
            }
            _ => {}
        }
        (from, bytes)
    }

    fn made(&mut self) -> Vec<u8> {
        if self.made.is_empty() {
            self.made = made::frames(1 + self.random.below(1 << 30) as u64, 512);
        }
        self.made.pop().map_or_else(Vec::new, |frame| frame.bytes)
    }

    fn addresses(&mut self, from: usize, is_group: bool) -> [u8; 12] {
        let own = match self.macs.get(from) {
            Some(_) if self.random.below(32) == 0 => [2, 9, 9, 9, 9, 9],
            Some(own) => own.0,
            None => [2, 8, 0, 0, 0, self.random.below(256) as u8],
        };
        let to = match self.random.below(24) {
            0 | 1 => self.macs[self.random.below(self.macs.len())].0,
            2 => [0xFF; 6],
            3 => [1, 0, 0x5E, 0, 0, self.random.below(256) as u8],
            4 => [1, 0x80, 0xC2, 0, 0, self.random.below(16) as u8],
            _ if is_group => [0x33, 0x33, 0, 0, 0, 1],
            _ => [2, 7, 0, 0, 0, self.random.below(256) as u8],
        };
        let mut both = [0; 12];
        both[..6].copy_from_slice(&to);
        both[6..].copy_from_slice(&own);
        both
    }
}
