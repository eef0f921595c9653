//! Tests of how simulated threads run: the baton, blocking, time, work items, DPCs, and the ways a run ends.

use crate::machine::clock;
use crate::machine::cpu;
use crate::machine::world::{Aborted, Body, Config, Mode, World, current};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn world(seed: u64, mode: Mode) -> Arc<World> {
    World::new(Config { seed, mode, keep_log: true, ..Config::default() })
}

/// Three threads that write their steps to the log.
fn steps(seed: u64) -> Arc<World> {
    let world = world(seed, Mode::Baton);
    let thread = |name: &'static str| -> (&'static str, u32, Body) {
        let body = move || {
            for step in 0..30 {
                current().log(|| format!("{name} {step} draws {}", current().random(1000)));
                cpu::yield_point("step");
            }
        };
        (name, 0, Box::new(body))
    };
    world.run(vec![thread("a"), thread("b"), thread("c")]).expect("the threads end");
    world
}

#[test]
fn the_same_seed_gives_the_same_log() {
    for seed in 0..10 {
        let (first, second) = (steps(seed), steps(seed));
        assert_eq!(first.log_lines(), second.log_lines());
        assert_eq!(first.log_hash(), second.log_hash());
    }
}

#[test]
fn different_seeds_give_different_logs() {
    let hashes: std::collections::BTreeSet<u64> = (0..20).map(|seed| steps(seed).log_hash()).collect();
    assert_eq!(hashes.len(), 20);
}

#[test]
fn the_hash_does_not_depend_on_keeping_the_log() {
    let hash = |keep_log| {
        let world = World::new(Config { keep_log, ..Config::default() });
        world
            .enter(|| {
                cpu::call_driver("Handler", || current().log(|| "inside".to_owned()));
            })
            .expect("it ends");
        world.log_hash()
    };
    assert_eq!(hash(true), hash(false));
}

#[test]
fn worlds_on_other_host_threads_share_nothing() {
    let alone = steps(7).log_hash();
    let hosts: Vec<_> = (0..8).map(|_| std::thread::spawn(|| steps(7).log_hash())).collect();
    for host in hosts {
        assert_eq!(host.join().expect("the host thread ends"), alone);
    }
}

#[test]
fn a_driver_that_polls_without_end_is_reported() {
    for mode in [Mode::Baton, Mode::Free] {
        let world = world(1, mode);
        let polls: Body = Box::new(|| {
            cpu::call_driver("FilterPause", || {
                loop {
                    // Completions in between are calls into the driver too.
                    cpu::call_driver("FilterOidRequestComplete", || cpu::yield_point("NdisFOidRequest"));
                }
            })
        });
        let waits: Body = Box::new(|| clock::advance(clock::SECOND));
        assert_eq!(world.run(vec![("polling", 0, polls), ("waiting", 1, waits)]), Err(Aborted));
        let violations = world.violations();
        assert_eq!(violations.len(), 1, "{mode:?}");
        assert_eq!(violations[0].rule, "LOCK-04");
        assert!(violations[0].text.contains("polling polls without end in FilterPause"), "{}", violations[0]);
    }
}

#[test]
fn a_driver_that_does_much_and_waits_in_between_is_not_taken_for_one_that_polls() {
    let world = World::new(Config { seed: 1, ..Config::default() });
    let works: Body = Box::new(|| {
        cpu::call_driver("FilterRestart", || {
            for _ in 0..3 {
                (0..1_000_000).for_each(|_| cpu::yield_point("step"));
                let until = clock::now() + clock::MILLISECOND;
                clock::block_until_deadline("an answer", until, || None::<()>);
            }
        });
        (0..3).for_each(|_| {
            cpu::call_driver("FilterSend", || (0..1_000_000).for_each(|_| cpu::yield_point("step")))
        });
    });
    assert_eq!(world.run(vec![("working", 0, works)]), Ok(()));
    assert!(world.violations().is_empty());
}

#[test]
fn a_thread_that_waits_for_nothing_is_a_deadlock() {
    for mode in [Mode::Baton, Mode::Free] {
        let world = world(1, mode);
        let forever: Body = Box::new(|| cpu::block_until("the end of days", || None));
        let other: Body = Box::new(|| cpu::yield_point("step"));
        assert_eq!(world.run(vec![("stuck", 0, forever), ("fine", 1, other)]), Err(Aborted));
        let violations = world.violations();
        assert_eq!(violations.len(), 1, "{mode:?}");
        assert_eq!(violations[0].rule, "LOCK-04");
        assert!(violations[0].text.contains("stuck waits for the end of days"), "{}", violations[0]);
        assert_eq!(world.enter(|| ()), Err(Aborted), "an aborted machine runs nothing more");
    }
}

#[test]
fn a_thread_in_an_endless_loop_is_given_up() {
    let config = Config { mode: Mode::Free, watchdog: Duration::from_millis(600), ..Config::default() };
    let world = World::new(config);
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    let body: Body = Box::new(move || {
        while !seen.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    assert_eq!(world.run(vec![("looping", 0, body)]), Err(Aborted));
    stop.store(true, Ordering::Relaxed);
    assert!(world.violations()[0].text.contains("no simulated step"), "{}", world.violations()[0]);
}

#[test]
fn a_condition_without_a_wake_is_still_seen() {
    for mode in [Mode::Baton, Mode::Free] {
        let world = world(3, mode);
        let flag = Arc::new(AtomicBool::new(false));
        let set = Arc::clone(&flag);
        let waits: Body =
            Box::new(move || cpu::block_until("a flag", || flag.load(Ordering::SeqCst).then_some(())));
        let sets: Body = Box::new(move || {
            cpu::yield_point("before");
            set.store(true, Ordering::SeqCst);
        });
        assert_eq!(world.run(vec![("waits", 0, waits), ("sets", 1, sets)]), Ok(()));
        assert!(world.violations().is_empty());
    }
}

#[test]
fn time_moves_only_when_nobody_can_run() {
    for mode in [Mode::Baton, Mode::Free] {
        let world = world(1, mode);
        let start = world.now();
        let end = world.enter(|| {
            assert_eq!(clock::block_until_deadline("a second", start + clock::SECOND, || None::<()>), None);
            clock::now()
        });
        assert_eq!(end, Ok(start + clock::SECOND));
    }
}

#[test]
fn work_left_behind_is_done_before_entering_returns() {
    for mode in [Mode::Baton, Mode::Free] {
        let world = world(5, mode);
        let done = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&done);
        let body = move || {
            crate::machine::work::queue("late", move || {
                (0..20).for_each(|_| cpu::yield_point("late"));
                flag.store(true, Ordering::SeqCst);
            });
        };
        world.enter(body).expect("it ends");
        assert!(done.load(Ordering::SeqCst));
        assert_eq!(world.outstanding_work(), 0);
    }
}

#[test]
fn a_failed_assertion_on_a_simulated_thread_reaches_the_test() {
    let world = world(1, Mode::Baton);
    let entering = std::panic::AssertUnwindSafe(|| world.enter(|| panic!("as the test wants")));
    let caught = std::panic::catch_unwind(entering);
    assert!(caught.is_err());
}

#[test]
fn a_bug_check_stops_the_machine() {
    let world = world(1, Mode::Baton);
    let ended = world.enter(|| {
        // SAFETY: called on a simulated thread.
        unsafe { crate::machine::kernel::KeBugCheckEx(0xE2, 1, 2, 3, 4) };
    });
    assert_eq!(ended, Err(Aborted));
    assert!(world.violations()[0].text.contains("bug check 0xe2"));
    assert_eq!(world.violations()[0].stack, ["KeBugCheckEx"]);
}

#[test]
fn a_handler_must_return_at_its_irql_and_without_locks() {
    let world = world(1, Mode::Baton);
    world
        .enter(|| {
            cpu::call_driver("Handler", || {
                cpu::raise_to_dispatch();
            });
            assert_eq!(cpu::irql(), cpu::PASSIVE);
            cpu::require_irql("PassiveOnly", cpu::PASSIVE);
            let old = cpu::raise_to_dispatch();
            cpu::require_irql("PassiveOnly", cpu::PASSIVE);
            cpu::lower(old);
        })
        .expect("it ends");
    let rules: Vec<_> = world.violations().iter().map(|v| v.rule).collect();
    assert_eq!(rules, ["IRQL-02", "IRQL-01"]);
    assert_eq!(world.exercised_counts()["IRQL-01"], 2);
}

#[test]
fn one_thread_at_a_time_is_at_dispatch_on_a_processor() {
    for mode in [Mode::Baton, Mode::Free] {
        let world = world(9, mode);
        let inside = Arc::new(AtomicBool::new(false));
        let body = || -> Body {
            let inside = Arc::clone(&inside);
            Box::new(move || {
                for _ in 0..200 {
                    let old = cpu::raise_to_dispatch();
                    assert!(!inside.swap(true, Ordering::SeqCst));
                    cpu::yield_point("inside");
                    inside.store(false, Ordering::SeqCst);
                    cpu::lower(old);
                }
            })
        };
        assert_eq!(world.run(vec![("a", 1, body()), ("b", 1, body()), ("c", 1, body())]), Ok(()));
    }
}

/// Six work items wait to the end, and main waits again and again until all of them rest; with an event that is far, or none.
/// Gives how the run ended and how much time has passed.
fn settle_often(event: bool) -> (Result<(), Aborted>, u64) {
    let world = world(4, Mode::Free);
    let start = world.now();
    let done = Arc::new(AtomicBool::new(false));
    let ended = world.enter(|| {
        for _ in 0..6 {
            let done = Arc::clone(&done);
            crate::machine::work::queue("rests", move || {
                cpu::block_until("the end", || done.load(Ordering::SeqCst).then_some(()));
            });
        }
        if event {
            clock::after(clock::SECOND, "later", || ());
        }
        for _ in 0..2_000 {
            // Whoever rests looks again.
            cpu::wake(crate::machine::slots::ANY);
            cpu::settle();
        }
        done.store(true, Ordering::SeqCst);
    });
    (ended, world.now() - start)
}

#[test]
fn who_waits_for_the_system_threads_to_rest_is_no_deadlock_and_moves_no_time() {
    // More worlds than processors, so that threads lose theirs between any two instructions.
    std::thread::scope(|scope| {
        let worlds: Vec<_> = (0..16).map(|n| scope.spawn(move || settle_often(n % 2 == 0))).collect();
        for world in worlds {
            assert_eq!(world.join().expect("the host thread ends"), (Ok(()), 0));
        }
    });
}

/// Every millisecond again, for ever.
fn poll() {
    clock::after(clock::MILLISECOND, "poll", poll);
}

#[test]
fn who_waits_while_something_polls_for_ever_is_found() {
    for mode in [Mode::Baton, Mode::Free] {
        let world = World::new(Config { mode, ..Config::default() });
        let ended = world.enter(|| {
            poll();
            cpu::block_until("what never comes", || None::<()>);
        });
        assert_eq!(ended, Err(Aborted), "{mode:?}");
        let found = world.violations();
        assert!(found[0].rule == "LOCK-04" && found[0].text.contains("what never comes"), "{found:?}");
    }
}

#[test]
fn dpcs_run_when_irql_falls_and_on_processors_without_threads() {
    for mode in [Mode::Baton, Mode::Free] {
        let world = world(2, mode);
        world
            .enter(|| {
                let owner = current().arc();
                let old = cpu::raise_to_dispatch();
                let ran = Arc::new(AtomicBool::new(false));
                let (here, there) = (Arc::clone(&ran), Arc::new(AtomicBool::new(false)));
                let far = Arc::clone(&there);
                cpu::queue_dpc(&owner, 0, "here", move || here.store(true, Ordering::SeqCst));
                cpu::queue_dpc(&owner, 3, "there", move || far.store(true, Ordering::SeqCst));
                cpu::lower(old);
                assert!(ran.load(Ordering::SeqCst));
                cpu::settle();
                assert!(there.load(Ordering::SeqCst));
            })
            .expect("it ends");
        assert!(world.violations().is_empty());
    }
}
