//! Which row to take. Loads that differ by less than a twentieth are alike; among those the row wins that splits fewer
//! flows, then the one whose failures move fewer. A team of which the physical switch need not know is preferred if the
//! best other one is not better by more than a tenth: it can be on two switches, and has nothing to configure.

use super::{Compare, Compared, Recommendation, Row, USUAL};
use crate::args::{Mode, PolicyName};
use crate::print::speed;
use crate::text::count_of;
use crate::tunnels::Tunnels;
use std::collections::BTreeMap;

/// Loads up to this part above the least are alike.
const ALIKE: f64 = 1.05;
/// What a port channel must gain to be worth it.
const WORTH: f64 = 1.10;

pub fn recommend(arguments: &Compare, capture: &str, speeds: &[u64], rows: &[Row]) -> Option<Recommendation> {
    let row = best(rows)?;
    let chosen = &rows[row];
    Some(Recommendation {
        row,
        sentence: sentence(rows, row),
        registry: registry(arguments, chosen),
        command: command(arguments, capture, speeds, chosen),
    })
}

fn best(rows: &[Row]) -> Option<usize> {
    let of = |mode| best_of(rows, mode);
    match (of(Mode::Static), of(Mode::SwitchIndependent)) {
        (Some(channel), Some(free)) if rows[free].imbalance > rows[channel].imbalance * WORTH => {
            Some(channel)
        }
        (channel, free) => free.or(channel),
    }
}

/// The best row of a mode, if frames left by the team and every guarantee held.
fn best_of(rows: &[Row], mode: Mode) -> Option<usize> {
    let usable =
        |row: &Row| row.mode == mode && row.fine && row.members.iter().any(|member| member.frames != 0);
    let rows = || rows.iter().enumerate().filter(|(_, row)| usable(row));
    let least = rows().map(|(_, row)| row.imbalance).fold(f64::INFINITY, f64::min);
    let alike = rows().filter(|(_, row)| row.imbalance <= least * ALIKE);
    let risk = |row: &Row| row.reordered_frames + row.split_flows as u64;
    alike.min_by_key(|(number, row)| (risk(row), row.most_moved(), *number)).map(|(number, _)| number)
}

/// One sentence with its numbers.
fn sentence(rows: &[Row], chosen: usize) -> String {
    let row = &rows[chosen];
    let least = if row.imbalance_floor_exact {
        format!("{:.2} is the least possible under it", row.imbalance_floor)
    } else {
        format!("below {:.2} is impossible under it", row.imbalance_floor)
    };
    let other = match row.mode {
        Mode::Static => Mode::SwitchIndependent,
        Mode::SwitchIndependent => Mode::Static,
    };
    let against = match (best_of(rows, other).map(|number| &rows[number]), row.mode) {
        (None, _) => String::new(),
        (Some(other), Mode::Static) => {
            format!("; without a port channel {:.2} at best, with {}", other.imbalance, other.name())
        }
        (Some(other), Mode::SwitchIndependent) => {
            format!("; with a port channel {:.2} at best, with {}", other.imbalance, other.name())
        }
    };
    let moves = match &row.failures {
        Some(_) => format!("a single failure moves at most {}", count_of(row.most_moved(), "flow")),
        None if row.members.len() < 2 => "there is no other member to move to".to_owned(),
        None => "the capture is too short for failures".to_owned(),
    };
    let order = match (row.reordered_frames, row.split_flows) {
        (0, 0) => "no frame overtook one of its flow".to_owned(),
        (0, split) => {
            format!("fragments of {} can overtake its datagrams", count_of(split as u64, "UDP flow"))
        }
        (frames, _) => format!("{} overtaken", count_of(frames, "frame")),
    };
    format!(
        "Take a {} team with {}: its busiest member carries {:.2} of a fair share ({least}{against}); {moves}, and {order}.",
        row.mode.name(),
        row.name(),
        row.imbalance
    )
}

/// All settings that decide about members, so that none is left from before.
fn registry(arguments: &Compare, row: &Row) -> BTreeMap<&'static str, u64> {
    let inner = row.policy.wants_innermost_headers();
    let tunnels = if inner { arguments.tunnels } else { Tunnels::default() };
    let mut values = BTreeMap::from([
        ("TeamingMode", u64::from(row.mode.number())),
        ("LoadBalancingAlgorithm", row.policy.number().into()),
        ("UseIpv6FlowLabel", 0),
        ("SymmetricHash", 0),
        ("UseAdapterHash", 0),
        ("HashSeed", row.hash_seed),
        ("FlowletGapUs", arguments.gap_us.into()),
    ]);
    values.extend(tunnels.settings().map(|(name, port)| (name, port.into())));
    values
}

/// The replay with these settings in which nothing fails.
fn command(arguments: &Compare, capture: &str, speeds: &[u64], row: &Row) -> String {
    let team = if speeds.iter().all(|bits| *bits == USUAL) {
        format!("--members {}", speeds.len())
    } else {
        format!("--speeds {}", speeds.iter().map(|bits| speed(*bits)).collect::<Vec<_>>().join(","))
    };
    let mut words = vec!["teamctl replay".to_owned()];
    words.extend(arguments.capture.is_some().then(|| capture.to_owned()));
    words.extend([
        format!("--mode {}", row.mode.name()),
        format!("--policy {}", PolicyName(row.policy).text()),
        team,
        "--fail none".to_owned(),
    ]);
    words.extend((row.hash_seed != 0).then(|| format!("--hash-seed {}", row.hash_seed)));
    words.extend((arguments.gap_us != 500).then(|| format!("--gap-us {}", arguments.gap_us)));
    words.extend((arguments.seed != 1).then(|| format!("--seed {}", arguments.seed)));
    if row.policy.wants_innermost_headers() {
        let tunnels = arguments.tunnels;
        words.extend(tunnels.vxlan_port.map(|port| format!("--vxlan-port {port}")));
        words.extend(tunnels.geneve_port.map(|port| format!("--geneve-port {port}")));
    }
    words.join(" ")
}

impl Compared {
    /// The row that is recommended.
    pub fn chosen(&self) -> Option<&Row> {
        self.rows.get(self.recommendation.as_ref()?.row)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Failure, Load};
    use super::*;
    use teaming::flow::HashPolicy;

    fn row(mode: Mode, policy: HashPolicy, imbalance: f64) -> Row {
        let load = Load { frames: 1, bytes: 100, flows: 1, share: 1.0 };
        Row {
            mode,
            policy,
            hash_seed: 0,
            fine: true,
            imbalance,
            imbalance_floor: 1.0,
            imbalance_floor_exact: true,
            peak: None,
            members: vec![load; 2],
            failures: Some(Vec::new()),
            reordered_frames: 0,
            split_flows: 0,
        }
    }

    fn moving(row: Row, flows: u64) -> Row {
        let failure = Failure {
            member: 1,
            down_at_seconds: 1.0,
            up_at_seconds: 2.0,
            flows_moved_down: flows,
            flows_moved_up: flows,
            frames_lost_before_indication: 0,
        };
        Row { failures: Some(vec![failure]), ..row }
    }

    #[test]
    fn a_port_channel_is_recommended_only_if_it_is_worth_it() {
        let rows = |free| {
            vec![
                row(Mode::Static, HashPolicy::TransportPorts, 1.0),
                row(Mode::SwitchIndependent, HashPolicy::HyperVPort, free),
            ]
        };
        assert_eq!(best(&rows(1.09)), Some(1));
        assert_eq!(best(&rows(1.11)), Some(0));
        assert_eq!(best(&rows(1.11)[1..]), Some(0));
        assert!(sentence(&rows(1.11), 0).contains("without a port channel 1.11 at best, with hyper-v-port"));
    }

    #[test]
    fn among_loads_that_are_alike_the_one_with_less_risk_wins_and_then_the_one_that_moves_less() {
        let of = |policy, imbalance| row(Mode::Static, policy, imbalance);
        let split = Row { split_flows: 3, ..of(HashPolicy::TransportPorts, 1.00) };
        let whole = moving(of(HashPolicy::IpAddresses, 1.04), 90);
        assert_eq!(best(&[split.clone(), whole.clone()]), Some(1));
        assert_eq!(best(&[split, Row { imbalance: 1.06, ..whole.clone() }]), Some(0));
        let still = moving(of(HashPolicy::MacAddresses, 1.03), 80);
        assert_eq!(best(&[whole.clone(), still.clone()]), Some(1));
        assert_eq!(best(&[whole.clone(), Row { fine: false, ..still }]), Some(0));
        let idle = Row { members: vec![Load { frames: 0, bytes: 0, flows: 0, share: 0.0 }], ..whole };
        assert_eq!(best(&[idle]), None);
    }
}
