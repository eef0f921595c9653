//! Frames that are rare in captures: stacked tags, labels, sessions and nested tunnels, in random combinations, all
//! well formed.

use super::reader::Frame;

/// `count` frames, the same at each call with this seed, which is not 0.
pub fn frames(seed: u64, count: usize) -> Vec<Frame> {
    let mut maker = Maker { state: seed };
    (1..=count).map(|number| Frame { file: "made".to_owned(), number, bytes: maker.ethernet(0) }).collect()
}

struct Maker {
    state: u64,
}

impl Maker {
    fn random(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    fn below(&mut self, end: u64) -> u64 {
        self.random() % end
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.random() as u8).collect()
    }

    fn ethernet(&mut self, depth: u32) -> Vec<u8> {
        let mut frame = [&[2, 0][..], &self.bytes(4), &[2, 1], &self.bytes(4)].concat();
        for tag in 0..[0, 0, 1, 1, 2, 3, 4][self.below(7) as usize] {
            let is_service = depth == 0 && tag == 0 && self.below(2) == 0;
            frame.extend(if is_service { [0x88, 0xa8] } else { [0x81, 0] });
            frame.extend((self.below(0x10000) as u16).to_be_bytes());
        }
        let (ethertype, payload) = self.link(depth);
        if frame.len() == 12 && self.below(8) == 0 && matches!(ethertype, 0x0800 | 0x86dd | 0x0806) {
            frame.extend(((payload.len() + 8) as u16).to_be_bytes());
            frame.extend([0xaa, 0xaa, 3, 0, 0, 0]);
        }
        frame.extend(ethertype.to_be_bytes());
        frame.extend(payload);
        frame
    }

    /// EtherType and payload.
    fn link(&mut self, depth: u32) -> (u16, Vec<u8>) {
        let (v6, packet) = self.ip(depth);
        let plain = if v6 { 0x86dd } else { 0x0800 };
        match self.below(10) {
            0 => (0x8847, self.labels(packet)),
            1 if depth == 0 => {
                let protocol = if v6 { [0, 0x57] } else { [0, 0x21] };
                let length = (packet.len() as u16 + 2).to_be_bytes();
                (0x8864, [&[0x11, 0, 0, 1][..], &length, &protocol, &packet].concat())
            }
            2 => {
                let who = self.bytes(20);
                (0x0806, [&[0, 1, 8, 0, 6, 4, 0, 1][..], &who].concat())
            }
            _ => (plain, packet),
        }
    }

    fn labels(&mut self, packet: Vec<u8>) -> Vec<u8> {
        let count = 1 + self.below(4);
        let mut bytes = Vec::new();
        for number in 1..=count {
            let label = (1000 + self.below(100_000)) as u32;
            bytes.extend((label << 12 | u32::from(number == count) << 8 | 64).to_be_bytes());
        }
        bytes.extend(packet);
        bytes
    }

    /// Whether it is IPv6, and the packet.
    fn ip(&mut self, depth: u32) -> (bool, Vec<u8>) {
        let (protocol, payload) = self.transport(depth);
        if self.below(2) == 0 {
            (true, self.ipv6(protocol, payload))
        } else {
            (false, self.ipv4(protocol, payload))
        }
    }

    fn ipv4(&mut self, protocol: u8, payload: Vec<u8>) -> Vec<u8> {
        let words = [0, 0, 0, 1, 9][self.below(5) as usize];
        let fragment = [0, 0, 0, 0, 0x4000, 0x2000, 0x2010, 0x0020][self.below(8) as usize];
        let mut packet = vec![0x45 + words as u8, 0];
        packet.extend(((20 + words * 4 + payload.len()) as u16).to_be_bytes());
        packet.extend([7, 7]);
        packet.extend(u16::to_be_bytes(fragment));
        packet.extend([64, protocol, 0, 0, 10, 0]);
        packet.extend(self.bytes(2));
        packet.extend([10, 1]);
        packet.extend(self.bytes(2));
        packet.extend(vec![1; words * 4]);
        packet.extend(payload);
        packet
    }

    fn ipv6(&mut self, protocol: u8, payload: Vec<u8>) -> Vec<u8> {
        let (mut next, mut rest) = (protocol, payload);
        for _ in 0..[0, 0, 0, 1, 2][self.below(5) as usize] {
            let (number, header) = match self.below(4) {
                0 => (60, vec![next, 0, 1, 4, 0, 0, 0, 0]),
                1 => (0, vec![next, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
                2 => (43, [&[next, 2, 0, 0, 0, 0, 0, 0][..], &self.bytes(16)].concat()),
                _ => (44, vec![next, 0, 0, self.below(3) as u8 * 8 + 1, 1, 2, 3, 4]),
            };
            next = number;
            rest = [header, rest].concat();
        }
        let label = if self.below(2) == 0 { 0 } else { self.below(1 << 20) as u32 };
        let mut packet = (0x6000_0000 | label).to_be_bytes().to_vec();
        packet.extend((rest.len() as u16).to_be_bytes());
        packet.extend([next, 64, 0x20, 0x01, 0x0d, 0xb8]);
        packet.extend(self.bytes(12));
        packet.extend([0x20, 0x01, 0x0d, 0xb8]);
        packet.extend(self.bytes(12));
        packet.extend(rest);
        packet
    }

    /// Protocol number and payload.
    fn transport(&mut self, depth: u32) -> (u8, Vec<u8>) {
        // Ports for which tshark has no dissector of a tunnel.
        let ports =
            [50_000 + self.below(1000), 51_000 + self.below(1000)].map(|port| (port as u16).to_be_bytes());
        let ports = ports.concat();
        let tcp = [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x10, 0, 9, 0, 0, 0, 0]].concat();
        match self.below(if depth < 3 { 16 } else { 8 }) {
            0 | 1 => (6, tcp),
            2 => (17, udp(&ports, &[0; 9])),
            3 => (136, udp(&ports, &[0; 9])),
            4 => (132, [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 0, 10, 0, 0, 8, 1, 1, 1, 1]].concat()),
            5 => (33, [&ports[..], &[4, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]].concat()),
            6 => (50, self.bytes(40)),
            7 => (51, [&[6, 4, 0, 0][..], &self.bytes(20), &tcp].concat()),
            8 | 9 => self.ip_in_ip(depth),
            10 | 11 => (47, self.gre(depth)),
            12 | 13 => {
                let frame = self.ethernet(depth + 1);
                let inside = [&[8, 0, 0, 0, 0, 0, 7, 0][..], &frame].concat();
                (17, udp(&[ports[0], ports[1], 0x12, 0xb5], &inside))
            }
            14 => (17, udp(&[ports[0], ports[1], 0x17, 0xc1], &self.geneve(depth))),
            _ => (17, udp(&[0x08, 0x68, 0x08, 0x68], &self.gtp(depth))),
        }
    }

    fn ip_in_ip(&mut self, depth: u32) -> (u8, Vec<u8>) {
        let (v6, packet) = self.ip(depth + 1);
        (if v6 { 41 } else { 4 }, packet)
    }

    fn gre(&mut self, depth: u32) -> Vec<u8> {
        let flags = self.below(8) as u8;
        let words = flags.count_ones() as usize;
        let (ethertype, payload) = match self.below(3) {
            0 => (0x6558, self.ethernet(depth + 1)),
            _ => match self.ip(depth + 1) {
                (true, packet) => (0x86dd_u16, packet),
                (false, packet) => (0x0800, packet),
            },
        };
        // The bits for checksum, key and sequence number are 7, 5 and 4.
        let lead = flags >> 2 << 7 | (flags & 3) << 4;
        [&[lead, 0][..], &ethertype.to_be_bytes(), &vec![0; words * 4], &payload].concat()
    }

    fn geneve(&mut self, depth: u32) -> Vec<u8> {
        let words = self.below(3) as u8 * 2;
        let options = [1, 2, 0x80, 1, 0, 0, 0, 0].repeat(usize::from(words) / 2);
        let frame = self.ethernet(depth + 1);
        [&[words, 0, 0x65, 0x58, 0, 0, 9, 0][..], &options, &frame].concat()
    }

    fn gtp(&mut self, depth: u32) -> Vec<u8> {
        let (_, packet) = self.ip(depth + 1);
        let options: &[u8] = match self.below(3) {
            0 => &[],
            1 => &[0, 7, 0, 0],
            _ => &[0, 0, 0, 0x85, 1, 0, 9, 0],
        };
        let flags = [0x30, 0x32, 0x34][options.len() / 4];
        let length = ((packet.len() + options.len()) as u16).to_be_bytes();
        [&[flags, 255][..], &length, &[0, 0, 0, 5], options, &packet].concat()
    }
}

fn udp(ports: &[u8], payload: &[u8]) -> Vec<u8> {
    [ports, &((payload.len() + 8) as u16).to_be_bytes(), &[0, 0], payload].concat()
}
