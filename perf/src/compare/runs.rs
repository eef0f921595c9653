//! The replays of a comparison, on all processors.

use super::{Compare, Compared, Failure, Load, Peak, Row, judge};
use crate::args::{Mode, PolicyName, Replay, Speed, Time, When};
use crate::capture::Capture;
use crate::hosts::Which;
use crate::observer::COLUMNS;
use crate::plan::INDICATED_AFTER;
use crate::replay;
use crate::report::Report;
use crate::survey::Survey;
use crate::tunnels::Tunnels;
use anyhow::Context;
use std::sync::Mutex;
use std::time::Duration;
use teaming::flow::{HashPolicy, POLICIES};
use vswitch::scenario::suite::depth::each;

pub struct Runs<'a> {
    pub arguments: &'a Compare,
    pub capture: &'a Capture,
    pub survey: &'a Survey,
    pub modes: &'a [Mode],
    /// Of each policy, the flows that it splits by itself.
    pub split: &'a [(HashPolicy, usize)],
}

/// What one row plays.
#[derive(Clone, Copy)]
struct Choice {
    team: usize,
    mode: Mode,
    policy: HashPolicy,
    hash_seed: u64,
}

/// What fails in a run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Nothing,
    EachInTurn,
}

type Done = Mutex<Option<anyhow::Result<Report>>>;

impl Runs<'_> {
    pub fn all(&self, teams: &[Vec<u64>]) -> anyhow::Result<Vec<Compared>> {
        let choices: Vec<Choice> = (0..teams.len()).flat_map(|team| self.choices(team)).collect();
        let turn = |choice: &Choice| turns(teams[choice.team].len(), self.survey.length).is_some();
        let mut jobs: Vec<(Choice, What, Done)> = Vec::new();
        for choice in &choices {
            jobs.push((*choice, What::Nothing, Mutex::default()));
            if turn(choice) {
                jobs.push((*choice, What::EachInTurn, Mutex::default()));
            }
        }
        let bar = replay::progress(self.survey.frames * jobs.len());
        each(&jobs, |(choice, what, done)| {
            let arguments = self.replay(*choice, *what, &teams[choice.team]);
            let report = replay::simulate(&arguments, None, self.capture, self.survey, &bar);
            if let Ok(mut done) = done.lock() {
                *done = Some(report);
            }
        });
        bar.finish_and_clear();
        let mut rows: Vec<Vec<Row>> = teams.iter().map(|_| Vec::new()).collect();
        let mut ended = jobs.into_iter().map(|(choice, what, done)| {
            let report = done.into_inner().ok().flatten().context("a run did not end")?;
            anyhow::Ok((choice, what, report?))
        });
        let mut next = ended.next().transpose()?;
        while let Some((choice, _, plain)) = next.take() {
            next = ended.next().transpose()?;
            let in_turn = match next.take() {
                Some((_, What::EachInTurn, report)) => {
                    next = ended.next().transpose()?;
                    Some(report)
                }
                other => {
                    next = other;
                    None
                }
            };
            rows[choice.team].push(self.row(choice, &plain, in_turn.as_ref()));
        }
        let name = self.capture.to_string();
        let compared = teams.iter().zip(rows).map(|(speeds, rows)| {
            let recommendation = judge::recommend(self.arguments, &name, speeds, &rows);
            Compared { members_bits_per_second: speeds.clone(), rows, recommendation }
        });
        Ok(compared.collect())
    }

    fn choices(&self, team: usize) -> Vec<Choice> {
        let mut choices = Vec::new();
        for mode in self.modes {
            for policy in POLICIES.into_iter().filter(|policy| mode.takes(*policy)) {
                let seeds = self.arguments.hash_seeds.iter();
                choices.extend(seeds.map(|&hash_seed| Choice { team, mode: *mode, policy, hash_seed }));
            }
        }
        choices
    }

    /// The replay that plays this.
    fn replay(&self, choice: Choice, what: What, speeds: &[u64]) -> Replay {
        let inner = choice.policy.wants_innermost_headers();
        let turns = turns(speeds.len(), self.survey.length).filter(|_| what == What::EachInTurn);
        let at =
            |(member, time): (u16, &Duration)| When::At { member, time: Time::Seconds(time.as_secs_f64()) };
        let (fail, restore) = match turns {
            Some(turns) => {
                let (down, up): (Vec<Duration>, Vec<Duration>) = turns.into_iter().unzip();
                ((1..).zip(&down).map(at).collect(), (1..).zip(&up).map(at).collect())
            }
            None => (vec![When::Never], Vec::new()),
        };
        Replay {
            capture: None,
            members: None,
            speeds: speeds.iter().map(|bits| Speed(*bits)).collect(),
            mode: choice.mode,
            policy: Some(PolicyName(choice.policy)),
            tunnels: if inner { self.arguments.tunnels } else { Tunnels::default() },
            fail,
            restore,
            gap_us: self.arguments.gap_us,
            up_delay_ms: 0,
            hash_seed: choice.hash_seed,
            seed: self.arguments.seed,
            // The machines were found already.
            which: Which::default(),
            queues: false,
            placement: None,
            queue_limits: Vec::new(),
            image: None,
            top: Some(0),
            report: None,
            save: None,
            save_host: None,
            json: false,
        }
    }

    fn row(&self, choice: Choice, plain: &Report, in_turn: Option<&Report>) -> Row {
        let split = self.split.iter().find(|(policy, _)| *policy == choice.policy);
        let load = |member: &crate::report::Member| Load {
            frames: member.frames,
            bytes: member.bytes,
            flows: member.flows,
            share: member.share,
        };
        Row {
            mode: choice.mode,
            policy: choice.policy,
            hash_seed: choice.hash_seed,
            fine: plain.is_fine() && in_turn.is_none_or(Report::is_fine),
            imbalance: plain.imbalance,
            imbalance_floor: plain.imbalance_floor,
            imbalance_floor_exact: plain.imbalance_floor_exact,
            peak: peak(plain, self.survey.length),
            members: plain.members.iter().map(load).collect(),
            failures: in_turn.map(failures),
            reordered_frames: plain.reordered_frames + in_turn.map_or(0, |report| report.reordered_frames),
            split_flows: split.map_or(0, |(_, flows)| *flows),
        }
    }
}

/// When each member fails and returns: within an equal part of the time each, after a quarter of it and after three.
fn turns(members: usize, length: Duration) -> Option<Vec<(Duration, Duration)>> {
    let part = length / u32::try_from(members).ok()?;
    if members < 2 || part / 2 < 2 * INDICATED_AFTER {
        return None;
    }
    let turn = |number| (part * number + part / 4, part * number + part * 3 / 4);
    Some((0..u32::try_from(members).ok()?).map(turn).collect())
}

fn peak(report: &Report, length: Duration) -> Option<Peak> {
    let seconds = length.as_secs_f64() / COLUMNS as f64;
    let rates = report.members.iter().enumerate().flat_map(|(number, member)| {
        let columns = member.bytes_over_time.iter().enumerate();
        columns.map(move |(column, bytes)| {
            (*bytes as f64 * 8.0 / seconds, number, column, member.bits_per_second)
        })
    });
    let share = |(rate, _, _, speed): &(f64, usize, usize, u64)| rate / (*speed).max(1) as f64;
    let highest = rates.filter(|_| seconds > 0.0).max_by(|one, other| share(one).total_cmp(&share(other)))?;
    let (bits_per_second, number, column, _) = highest;
    Some(Peak {
        member: number + 1,
        bits_per_second,
        share_of_link: share(&highest),
        at_seconds: column as f64 * seconds,
    })
}

fn failures(report: &Report) -> Vec<Failure> {
    let pairs = report.events.iter().filter(|event| event.kind == "down").filter_map(|down| {
        let up = report.events.iter().find(|event| event.kind == "up" && event.member == down.member)?;
        Some(Failure {
            member: down.member,
            down_at_seconds: down.at_seconds,
            up_at_seconds: up.at_seconds,
            flows_moved_down: down.flows_moved,
            flows_moved_up: up.flows_moved,
            frames_lost_before_indication: down.frames_lost_before_indication,
        })
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_fail_one_after_another_and_each_is_back_before_the_next_one_fails() {
        for members in 2..=32 {
            let all = turns(members, Duration::from_secs(10)).expect("long enough");
            assert_eq!(all.len(), members);
            assert!(
                all.iter().all(|(down, up)| *up > *down + INDICATED_AFTER && *up < Duration::from_secs(10))
            );
            assert!(all.windows(2).all(|pair| pair[0].1 < pair[1].0));
        }
        assert_eq!(turns(1, Duration::from_secs(10)), None);
        assert_eq!(turns(4, Duration::from_millis(79)), None);
        assert!(turns(4, Duration::from_millis(80)).is_some());
        assert_eq!(turns(2, Duration::ZERO), None);
    }
}
