//! UDP flows that a policy may bring out of order by itself: whole datagrams have a key with ports, fragments have none,
//! and where the keys differ the two go over unlike members.

use crate::capture::Capture;
use crate::flow::{Identity, Reader};
use crate::survey::Survey;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use teaming::flow::{FlowKey, HashPolicy};
use teaming::frame::{self, Headers, Transport, TunnelPorts};
use teaming::ids::{NicId, NicIndex, PortId};

const UDP: u8 = 17;

type Pair = (IpAddr, IpAddr);

/// The number of such flows for each policy, among those that leave by the team.
pub fn flows(
    capture: &Capture,
    survey: &Survey,
    policies: &[HashPolicy],
    tunnels: TunnelPorts,
) -> anyhow::Result<Vec<(HashPolicy, usize)>> {
    let readers: Vec<Reader> =
        policies.iter().map(|policy| Reader::new(*policy).with_tunnels_at(tunnels)).collect();
    let keys = |bytes: &[u8], from: NicId| -> Vec<FlowKey> {
        readers.iter().map(|reader| reader.key(bytes, from).0).collect()
    };
    // Few pairs of addresses send fragments.
    let mut fragments: HashMap<Pair, HashSet<Vec<FlowKey>>> = HashMap::new();
    leaving(capture, survey, |headers, bytes, from| {
        if headers.transport == Transport::Fragment
            && headers.protocol().is_none_or(|protocol| protocol == UDP)
            && let Some(pair) = headers.addresses()
        {
            fragments.entry(pair).or_default().insert(keys(bytes, from));
        }
    })?;
    let mut split: Vec<HashSet<Identity>> = vec![HashSet::new(); readers.len()];
    if !fragments.is_empty() {
        leaving(capture, survey, |headers, bytes, from| {
            let is_whole = headers.protocol() == Some(UDP) && headers.ports().is_some();
            let of_pair = headers.addresses().filter(|_| is_whole).and_then(|pair| fragments.get(&pair));
            let Some(of_pair) = of_pair else { return };
            for (number, key) in keys(bytes, from).into_iter().enumerate() {
                if of_pair.iter().any(|other| other[number] != key) {
                    split[number].insert(readers[number].read(bytes).0);
                }
            }
        })?;
    }
    Ok(policies.iter().copied().zip(split.iter().map(HashSet::len)).collect())
}

/// Calls `each` with the frames from a machine to the outside.
fn leaving(
    capture: &Capture,
    survey: &Survey,
    mut each: impl FnMut(&Headers, &[u8], NicId),
) -> anyhow::Result<()> {
    for frame in capture.frames()? {
        let bytes = frame?.bytes;
        let headers = frame::parse(&bytes[..bytes.len().min(frame::WINDOW_MAX)]);
        let from = survey.hosts.machine(headers.source);
        if let Some(from) = from.filter(|_| survey.hosts.machine(headers.destination).is_none()) {
            let port = PortId::new(u32::try_from(from).unwrap_or(u32::MAX));
            each(&headers, &bytes, NicId::new(port, NicIndex::DEFAULT));
        }
    }
    Ok(())
}
