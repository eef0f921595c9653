//! The steps of one decision, for tools: what the packet walk decides of a packet, and beside it what it decided by.
//!
//! The decision is the walk's own (`decide_alone`), and so is the hash (`flow_hash`); key, bucket, home and lending come
//! from the functions and tables that the walk uses. Nothing here is called for packets.

use crate::Storage;
use crate::flow::{Basis, FlowKey};
use crate::forward::drop_reason::DropReason;
use crate::forward::{Decision, Forwarding, OutOfBand, Packet, Verdict};
use crate::frame::{self, Headers};
use crate::ids::{Bucket, FlowHash, HashId, MemberIndex, VlanId};

/// What becomes of a packet, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reasons {
    /// The packet's own headers, as the parser reads them.
    pub outer: Headers,
    pub decision: Decision,
    /// How the member was chosen; `None` for a packet that asks for no member by a hash.
    pub choice: Option<Choice>,
}

/// The steps from a packet's headers to a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Choice {
    /// What the policy Hyper-V port hashes for the source.
    pub hashed_as: HashId,
    /// The headers that the key is made of: those in a tunnel under a policy that reads them.
    pub hashed: Headers,
    pub basis: Basis,
    pub key: FlowKey,
    pub hash: FlowHash,
    pub bucket: Bucket,
    /// The member to which the bucket belongs while all members are up; `None` before there is a home map.
    pub home: Option<MemberIndex>,
    /// The member that carries the bucket now; `None` if no member is live.
    pub member: Option<MemberIndex>,
}

impl<S: Storage> Forwarding<S> {
    /// The decision for a packet that is alone in its list, with its steps. `home` is the home map of the team. As the
    /// decision for a packet it may learn and record.
    pub fn reasons(&self, packet: &Packet<'_>, out_of_band: &OutOfBand<'_>, home: &[u8]) -> Reasons {
        let decision = self.decide_alone(packet, out_of_band);
        let asked = decision.basis.is_some() || decision.verdict == Verdict::Drop(DropReason::NoLiveMember);
        let choice = asked.then(|| self.choice(packet, out_of_band, home));
        Reasons { outer: frame::parse(packet.window), decision, choice }
    }

    /// The steps by which a packet that goes to the outside gets its member. Changes no state.
    pub fn choice(&self, packet: &Packet<'_>, out_of_band: &OutOfBand<'_>, home: &[u8]) -> Choice {
        let hashed_as = self.hashed_as(packet.source);
        let outer = frame::parse(packet.window);
        let (hash, basis) = self.flow_hash(hashed_as, packet, outer, out_of_band);
        let hashed = self.hashed_headers(packet.window);
        let bucket = hash.bucket();
        Choice {
            hashed_as,
            hashed,
            basis,
            key: self.keying.key(&hashed, hashed_as, VlanId::new(out_of_band.vlan)),
            hash,
            bucket,
            home: home.get(bucket.index()).copied().and_then(MemberIndex::new),
            member: self.table.lookup(bucket),
        }
    }
}
