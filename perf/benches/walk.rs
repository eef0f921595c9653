//! Each step of the packet walk by itself, then the whole chain against the null switch. Medians of criterion; the
//! working set stands in the name. Nothing is allocated and no system call made in what is measured.

mod null_switch;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use null_switch::{Lists, NullSwitch, Station};
use std::hint::black_box;
use teaming::flow::{self, Policy};
use teaming::frame;
use teaming::hash::{DEFAULT_SEED, Seed};
use teaming::ids::{NicId, NicIndex, PortId};

const VM: NicId = NicId { port: PortId::new(5), index: NicIndex::new(0) };

/// TCP over IPv4 with one VLAN tag to an address that is outside, a new flow each.
fn frames(count: usize) -> Vec<Vec<u8>> {
    (0..count as u32)
        .map(|number| {
            let mut frame = vec![0x02, 0, 0, 0, 9, 9, 0x02, 0, 0, 0, 0, 5, 0x81, 0, 0, 7, 0x08, 0x00];
            frame.extend([0x45, 0, 0, 200, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 5]);
            frame.extend((0xC000_0200 + number / 1000).to_be_bytes());
            frame.extend(u16::try_from(1024 + number % 40_000).unwrap().to_be_bytes());
            frame.extend([1, 187]);
            frame.resize(218, 0);
            frame
        })
        .collect()
}

fn steps(c: &mut Criterion) {
    let frames = frames(256);
    let headers: Vec<_> = frames.iter().map(|frame| frame::parse(frame)).collect();
    let keys: Vec<_> = headers.iter().map(|headers| flow::key(headers, Policy::TransportPorts, VM)).collect();
    let seed = Seed::new(DEFAULT_SEED);
    let mut group = c.benchmark_group("step of 256 packets");
    group.throughput(Throughput::Elements(256));
    group.bench_function("parse", |b| {
        b.iter(|| frames.iter().for_each(|frame| drop(black_box(frame::parse(black_box(frame))))));
    });
    group.bench_function("key", |b| {
        b.iter(|| {
            headers.iter().for_each(|h| drop(black_box(flow::key(black_box(h), Policy::TransportPorts, VM))));
        });
    });
    group.bench_function("hash", |b| {
        b.iter(|| keys.iter().for_each(|key| drop(black_box(seed.hash(black_box(key))))));
    });
    group.finish();
}

fn chains(c: &mut Criterion) {
    let stations: Vec<_> =
        (0..8u8).map(|n| Station { port: 5 + u32::from(n), mac: [2, 0, 0, 0, 0, 5 + n] }).collect();
    let switch = NullSwitch::start(4, &stations);
    for working_set in [256, 8192] {
        let mut lists = Lists::new(&frames(working_set), 5);
        let mut group = c.benchmark_group(format!("chain of 32, {working_set} packets"));
        group.throughput(Throughput::Elements(32));
        let mut from = 0;
        group.bench_function("driver", |b| {
            b.iter(|| {
                let chain = lists.chain(from, 32);
                switch.send(black_box(chain), 0x20);
                from = (from + 32) % lists.len();
            });
        });
        group.bench_function("null driver", |b| {
            b.iter(|| {
                black_box(lists.chain(from, 32));
                from = (from + 32) % lists.len();
            });
        });
        group.finish();
    }
}

fn failover(c: &mut Criterion) {
    for members in [2, 4, 8, 32] {
        let switch = NullSwitch::start(members, &[Station { port: 5, mac: [2, 0, 0, 0, 0, 5] }]);
        c.bench_function(&format!("link down of one of {members}, 4096 buckets, no readers"), |b| {
            b.iter_batched(|| switch.link(1, true), |()| switch.link(1, false), BatchSize::PerIteration);
        });
    }
}

criterion_group!(benches, steps, chains, failover);
criterion_main!(benches);
