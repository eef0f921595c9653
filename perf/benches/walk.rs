//! Times of each step by criterion, with confidence intervals: `cargo bench -p perf --bench walk`. The name of each
//! benchmark states its working set. The measured code allocates nothing and makes no system call.

mod null_switch;
mod steps;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};

fn steps_of_the_walk(c: &mut Criterion) {
    for step in steps::STEPS {
        let mut repeat = (step.make)();
        let mut group = c.benchmark_group(step.working_set);
        group.throughput(Throughput::Elements(step.packets));
        group.bench_function(step.name, |b| b.iter(&mut repeat));
        group.finish();
    }
}

fn failover(c: &mut Criterion) {
    for members in [2, 4, 8, 32] {
        let switch = steps::switch(members, 1);
        c.bench_function(&format!("link down of one of {members}, 4096 buckets, no readers"), |b| {
            b.iter_batched(|| switch.link(1, true), |()| switch.link(1, false), BatchSize::PerIteration);
        });
    }
}

criterion_group!(benches, steps_of_the_walk, failover);
criterion_main!(benches);
