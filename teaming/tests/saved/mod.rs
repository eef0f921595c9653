//! Invariants of any bytes in a restore: they are accepted whole or rejected, and accepted data is written as the same
//! bytes again. Used by tests and by the fuzz target `saved`.

use teaming::flow::{Keying, POLICIES};
use teaming::frame::TunnelPorts;
use teaming::ids::{MemberIndex, NicId, NicIndex, PortId};
use teaming::migration::record::{
    Assembly, Cursor, Discard, Handed, NicState, PART_HEADER, PART_MAX, Part, Pin, PinKind, Placement,
    RECORD_MAX, decode, encode, record_len,
};
use teaming::ports::traffic::Traffic;

/// The record of a NIC's state.
pub fn record(state: &NicState, pins: &[Pin]) -> Vec<u8> {
    let mut bytes = vec![0xEE; record_len(pins.len())];
    encode(state, pins.iter().copied(), &mut bytes).expect("the length is right");
    bytes
}

/// All parts of a record, written to buffers of these sizes in turn; a buffer that is too small is replaced by one of
/// the needed size.
pub fn parts(record: &[u8], mut offered: impl FnMut() -> usize) -> Vec<Vec<u8>> {
    const GUARD: usize = 64;
    let mut cursor = Cursor::START;
    let mut parts = Vec::new();
    let mut size = offered();
    loop {
        let mut memory = vec![0xA5; size + GUARD];
        let left = cursor;
        let handed = cursor.hand_out(record, &mut memory[..size]);
        match handed {
            Handed::Nothing => {
                assert!(memory.iter().all(|&byte| byte == 0xA5), "nothing was to be written");
                assert!(cursor.is_done(record));
                return parts;
            }
            Handed::TooSmall { need } => {
                assert!(memory.iter().all(|&byte| byte == 0xA5), "a buffer that is too small was written to");
                assert_eq!(cursor, left);
                assert!(need > size && need <= PART_MAX, "{size} bytes are too small, {need} wanted");
                // The needed size is exact: one byte less is not enough.
                let mut less = vec![0; need - 1];
                assert_eq!(cursor.hand_out(record, &mut less), Handed::TooSmall { need });
                size = need;
            }
            Handed::Part { bytes } => {
                assert!(bytes <= size && bytes > PART_HEADER);
                assert!(
                    memory[bytes..].iter().all(|&byte| byte == 0xA5),
                    "bytes behind the part were written"
                );
                memory.truncate(bytes);
                parts.push(memory);
                assert!(parts.len() <= record.len().div_ceil(PART_MAX - PART_HEADER), "rounds do not end");
                size = offered();
            }
        }
    }
}

/// Assembles the record from its parts.
pub fn assemble(parts: &[Vec<u8>]) -> Result<Vec<u8>, Discard> {
    let first = Part::parse(parts.first().ok_or(Discard::Incomplete)?)?;
    let mut assembly = Assembly::new(vec![0; first.record]);
    for part in parts {
        assembly.add(&Part::parse(part)?)?;
    }
    assembly.finish()
}

/// Checks any bytes as a record and as a part: no panic, and accepted data is written as the same bytes again.
pub fn hold(data: &[u8]) {
    if let Ok((state, pins)) = decode(data) {
        let pins: Vec<Pin> = pins.iter().collect();
        assert_eq!(record(&state, &pins), data, "another record reads the same");
    }
    if let Ok(part) = Part::parse(data) {
        assert!(part.record <= RECORD_MAX && part.offset + part.bytes.len() <= part.record);
        assert_eq!(part.bytes.len() + PART_HEADER, data.len());
        let mut assembly = Assembly::new(vec![0; part.record]);
        assembly.add(&part).expect("it fits");
        if let Ok(record) = assembly.finish() {
            hold_record(&record);
        }
    }
}

fn hold_record(bytes: &[u8]) {
    if let Ok((state, pins)) = decode(bytes) {
        assert_eq!(record(&state, &pins.iter().collect::<Vec<_>>()), bytes);
    }
}

/// A record in a single part.
pub fn part(record: &[u8]) -> Vec<u8> {
    let length = u32::try_from(record.len()).expect("short").to_le_bytes();
    [b"LBRP", &[1, 0, 0, 0][..], &length, &[0; 4], record].concat()
}

/// A small random generator, so that the fuzz target needs no dependency.
pub struct Draw(pub u64);

impl Draw {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn state(&mut self) -> NicState {
        let bits = self.next();
        let policy = POLICIES[self.below(POLICIES.len())];
        NicState {
            placement: Placement {
                seed: self.next(),
                keying: Keying {
                    policy,
                    flow_label: bits & 1 != 0,
                    symmetric: bits & 2 != 0,
                    // Half of the records have none, and are written in the first version.
                    tunnels: match bits & 8 {
                        0 => TunnelPorts::REGISTERED,
                        _ => TunnelPorts { vxlan: (bits >> 16) as u16 | 1, geneve: (bits >> 32) as u16 },
                    },
                },
                adapter_hash: bits & 4 != 0,
                members: self.below(33) as u8,
                home_map_version: self.next() as u16,
                home_map: self.next() as u32,
            },
            hashed_as: NicId::new(PortId::new(self.next() as u32), NicIndex::new(self.next() as u16)),
            seat: if bits & 16 == 0 { 0 } else { self.next() as u16 },
            traffic: Traffic { frames: self.next(), bytes: self.next() },
        }
    }

    pub fn pins(&mut self, count: usize) -> Vec<Pin> {
        let mut pin = || Pin {
            kind: if self.next() & 1 == 0 { PinKind::Queue } else { PinKind::SecurityAssociation },
            member: MemberIndex::new(1 + self.below(32) as u8).expect("1 to 32"),
            id: self.next(),
        };
        (0..count).map(|_| pin()).collect()
    }
}
