//! Settings against the table of the README: each setting has the effect that its row describes, and the values read
//! last apply, after any number of changes.

use proptest::prelude::*;
use teaming::flow::HashPolicy;
use teaming::forward::{OutOfBand, Packet, Verdict};
use teaming::frame::TunnelPorts;
use teaming::ids::{LinkLocalSet, PortId, Ticks};
use teaming::offload::OffloadPlacement;
use teaming::settings::{Announcing, Lookup, Problem, SETTINGS, Settings, TeamingMode};
use teaming::team::carriers::{CarrierRules, Failback};
use teaming::team::member::{LinkState, MemberEvent};

use crate::host::{Host, REMOTE, TRUSTED, UPLINK, frame, member, nic, walks};

/// Name, default, values.
const TABLE: [(&str, u64, &[u64]); 11] = [
    ("TeamingMode", 1, &[0, 1]),
    ("LoadBalancingAlgorithm", 4, &[0, 2, 3, 4, 6, 7]),
    ("UseIpv6FlowLabel", 0, &[0, 1]),
    ("SymmetricHash", 0, &[0, 1]),
    ("UseAdapterHash", 0, &[0, 1]),
    ("HashSeed", 0, &[]),
    ("FailbackPolicy", 0, &[0, 1, 2]),
    ("OffloadPlacement", 1, &[0, 1, 2]),
    ("PruneMulticast", 0, &[0, 1]),
    ("PrivateOids", 0, &[0, 1]),
    ("Survey", 0, &[0, 1]),
];
/// Name, default, largest value.
const RANGES: [(&str, u64, u64); 10] = [
    ("VxlanPort", 0, 65_535),
    ("GenevePort", 0, 65_535),
    ("LinkUpDelayMs", 2_000, 60_000),
    ("FlapHoldDownMs", 60_000, 600_000),
    ("MinimumLinks", 0, 32),
    ("FlowletGapUs", 500, 500_000),
    ("MoveDeadlineMs", 30_000, 600_000),
    ("Announcements", 3, 10),
    ("AnnouncementBurst", 1_024, 65_535),
    ("LinkLocalForwardMask", 0, 131_071),
];

fn allowed(name: &str, value: u64) -> bool {
    if let Some((.., largest)) = RANGES.iter().find(|row| row.0 == name) {
        return value <= *largest;
    }
    let (.., values) = TABLE.iter().find(|row| row.0 == name).unwrap();
    values.is_empty() || values.contains(&value)
}

fn default(name: &str) -> u64 {
    let choices = TABLE.iter().map(|row| (row.0, row.1));
    let mut all = choices.chain(RANGES.iter().map(|row| (row.0, row.1)));
    all.find(|row| row.0 == name).unwrap().1
}

/// The value in effect, and the problem that is reported, if any.
fn governs(name: &str, found: Lookup) -> (u64, Option<Problem>) {
    match found {
        Lookup::Missing => (default(name), None),
        Lookup::WrongType => (default(name), Some(Problem::WrongType)),
        Lookup::Value(value) if allowed(name, value) => (value, None),
        Lookup::Value(value) => (default(name), Some(Problem::OutOfRange(value))),
    }
}

fn expected(values: &[Lookup]) -> (Settings, Vec<(&'static str, Problem)>) {
    let found = |name: &str| values[SETTINGS.iter().position(|setting| setting.name == name).unwrap()];
    let value = |name: &str| governs(name, found(name)).0;
    let mut issues: Vec<_> = SETTINGS
        .iter()
        .filter_map(|setting| Some((setting.name, governs(setting.name, found(setting.name)).1?)))
        .collect();
    let mode = if value("TeamingMode") == 0 { TeamingMode::Static } else { TeamingMode::SwitchIndependent };
    let number = value("LoadBalancingAlgorithm");
    let mut policy = match number {
        0 => HashPolicy::TransportPorts,
        2 => HashPolicy::IpAddresses,
        3 => HashPolicy::MacAddresses,
        6 => HashPolicy::VlanSourceMac,
        7 => HashPolicy::Encapsulated,
        _ => HashPolicy::HyperVPort,
    };
    // "All but 4 and 6 need TeamingMode 0."
    if mode == TeamingMode::SwitchIndependent && ![4, 6].contains(&number) {
        policy = HashPolicy::HyperVPort;
        issues.push(("LoadBalancingAlgorithm", Problem::NotInMode(number, mode)));
    }
    let settings = Settings {
        mode,
        policy,
        use_ipv6_flow_label: value("UseIpv6FlowLabel") == 1,
        symmetric_hash: value("SymmetricHash") == 1,
        use_adapter_hash: value("UseAdapterHash") == 1,
        tunnels: TunnelPorts { vxlan: value("VxlanPort") as u16, geneve: value("GenevePort") as u16 },
        seed: match value("HashSeed") {
            0 => Settings::default().seed,
            seed => seed,
        },
        link_up_delay: Ticks::from_us(value("LinkUpDelayMs") * 1_000),
        flap_hold_down: Ticks::from_us(value("FlapHoldDownMs") * 1_000),
        carriers: CarrierRules {
            failback: [Failback::Always, Failback::Better, Failback::Never][value("FailbackPolicy") as usize],
            minimum_links: value("MinimumLinks") as u32,
        },
        flowlet_gap: Ticks::from_us(value("FlowletGapUs")),
        move_deadline: match value("MoveDeadlineMs") {
            0 => None,
            ms => Some(Ticks::from_us(ms * 1_000)),
        },
        offload_placement: [
            OffloadPlacement::FollowFlows,
            OffloadPlacement::SingleMember,
            OffloadPlacement::EveryMember,
        ][value("OffloadPlacement") as usize],
        announcing: Announcing {
            times: value("Announcements") as u8,
            burst: match value("AnnouncementBurst") {
                0 => u32::MAX,
                burst => burst as u32,
            },
        },
        link_local_forwarded: LinkLocalSet::from_mask(value("LinkLocalForwardMask")),
        prune_multicast: value("PruneMulticast") == 1,
        private_oids: value("PrivateOids") == 1,
        survey: value("Survey") == 1,
    };
    (settings, issues)
}

fn read(values: &[Lookup]) -> (Settings, Vec<(&'static str, Problem)>) {
    let (settings, issues) = Settings::read(|setting| {
        values[SETTINGS.iter().position(|other| other.name == setting.name).unwrap()]
    });
    assert!(issues.iter().all(|issue| issue.used() == default(issue.setting.name)));
    (settings, issues.iter().map(|issue| (issue.setting.name, issue.problem)).collect())
}

fn any_values() -> impl Strategy<Value = Vec<Lookup>> {
    let values: Vec<_> = SETTINGS
        .iter()
        .map(|setting| {
            let largest = RANGES.iter().find(|row| row.0 == setting.name).map_or(7, |row| row.2);
            prop_oneof![
                1 => Just(Lookup::Missing),
                1 => Just(Lookup::WrongType),
                4 => (0..9_u64).prop_map(Lookup::Value),
                2 => (largest - 1..=largest + 1).prop_map(Lookup::Value),
                1 => any::<u64>().prop_map(Lookup::Value),
            ]
        })
        .collect();
    values
}

/// The effects of the settings on packets and members.
fn seen(host: &mut Host) -> Vec<String> {
    let forwarding = &host.forwarding;
    let mut seen =
        vec![format!("{:?} {}", forwarding.table.rebalance_timers(), forwarding.uses_adapter_hash())];
    for flow in 0..40_u16 {
        let mut bytes = frame(REMOTE, crate::host::stray((flow % 5) as u8), &[]);
        bytes[34..36].copy_from_slice(&flow.to_be_bytes());
        bytes[29] = (flow % 3) as u8;
        let packet = Packet { source: TRUSTED, window: &bytes, pinned: None, native: false, now: host.now };
        let decision = forwarding.decide_with(&packet, &OutOfBand::NOTHING);
        assert!(matches!(decision.verdict, Verdict::Uplink(_)));
        seen.push(format!("{:?} {:?}", decision.verdict, decision.basis));
    }
    for index in 0..3 {
        // In a switch-independent team the second is a copy of the first.
        let bytes = frame(REMOTE, teaming::ids::MacAddr::BROADCAST, &[]);
        let source = nic(UPLINK, index);
        let packet = Packet { source, window: &bytes, pinned: None, native: false, now: host.now };
        seen.push(format!("{:?}", forwarding.decide_alone(&packet, &OutOfBand::NOTHING).verdict));
    }
    // How long a link must stay up before the member is used again.
    host.on(2, MemberEvent::Link(LinkState::Down));
    host.on(2, MemberEvent::Link(LinkState::Unknown));
    seen.push(format!("{:?} {:?}", host.team.member(member(2)).state, host.team.deadline()));
    seen
}

proptest! {
    #![proptest_config(walks(1000))]

    #[test]
    fn each_value_is_governed_by_its_own_name(values in any_values()) {
        let ((settings, mut issues), (right, mut told)) = (read(&values), expected(&values));
        issues.sort_by_key(|issue| issue.0);
        told.sort_by_key(|issue| issue.0);
        prop_assert_eq!(settings, right);
        prop_assert_eq!(issues, told);
    }
}

proptest! {
    #![proptest_config(walks(60))]

    #[test]
    fn the_last_settings_govern_after_any_number_of_changes(changes in prop::collection::vec(any_values(), 1..6)) {
        let first = Settings { flowlet_gap: Ticks::ZERO, ..Settings::default() };
        let mut walked = Host::new(&first, 4);
        let mut last = first;
        for values in &changes {
            last = read(values).0;
            let plan = walked.team.configure(&last, walked.now);
            walked.forwarding.publish(&plan, walked.team.home(), walked.now);
            walked.forwarding.configure(&last);
        }
        let mut fresh = Host::new(&last, 4);
        // Long enough that every delay has passed.
        for host in [&mut walked, &mut fresh] {
            host.station(10);
            host.now = Ticks::from_ms(1_000_000);
            let plan = host.team.tick(host.now);
            host.forwarding.publish(&plan, host.team.home(), host.now);
            host.now = Ticks::from_ms(1_700_000);
            host.forwarding.settle(host.team.home(), host.now);
        }
        prop_assert!(walked.forwarding.ports.get(PortId::new(10)).is_some());
        prop_assert_eq!(seen(&mut walked), seen(&mut fresh), "{:?}", last);
    }
}
