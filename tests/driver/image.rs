//! The shipped image, built for Windows, runs every scenario in the simulated switch, and its complete log equals that
//! of the native driver.

use std::path::{Path, PathBuf};
use vswitch::image::Image;
use vswitch::scenario::Scenario;
use vswitch::scenario::outcome::Outcome;
use vswitch::scenario::suite::CASES;

/// Seeds for each scenario.
const SEEDS: u64 = 12;

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(::image::IMAGE)
}

fn load() -> Image {
    Image::load(&path()).unwrap_or_else(|error| panic!("{error}"))
}

/// Keeps the whole log, so that it can be compared line by line.
fn logged(plan: Scenario) -> Scenario {
    plan.config(|config| config.keep_log = true)
}

/// The first line in which two logs differ, with the lines around it.
fn difference(native: &Outcome, image: &Outcome) -> Option<String> {
    let first =
        (0..native.log.len().max(image.log.len())).find(|&at| native.log.get(at) != image.log.get(at))?;
    let around = |outcome: &Outcome| {
        let from = first.saturating_sub(3);
        outcome.log.iter().skip(from).take(6).cloned().collect::<Vec<_>>().join("\n    ")
    };
    Some(format!("line {first}\n  native:\n    {}\n  image:\n    {}", around(native), around(image)))
}

#[test]
#[cfg_attr(not(image_present), ignore = "build the image first: cargo image")]
fn every_scenario_runs_alike_natively_and_on_the_image() {
    let (mut runs, mut lines, mut different) = (0, 0, 0);
    for case in CASES {
        for seed in 0..SEEDS {
            let native = case.run(logged((case.plan)(seed)));
            let image = load();
            let on_image = case.run(logged((case.plan)(seed)).driver(image.entry()));
            case.assert(&on_image);
            if let Some(difference) = difference(&native, &on_image) {
                let again = on_image.again.as_deref().unwrap_or_default();
                eprintln!(
                    "{} with seed {seed}: {difference}\nagain: {again} --log, and without --image",
                    case.name
                );
                different += 1;
            }
            assert!(
                native.log.len() > 100,
                "{}: a log of {} lines proves nothing",
                case.name,
                native.log.len()
            );
            assert_eq!(native.log_hash, on_image.log_hash);
            runs += 1;
            lines += native.log.len();
        }
    }
    println!(
        "{runs} scenarios natively, {runs} on the image, {different} logs differ, {lines} lines compared"
    );
    assert_eq!(different, 0);
}

#[test]
#[cfg_attr(not(image_present), ignore = "build the image first: cargo image")]
fn two_images_run_side_by_side_in_two_worlds() {
    let run = |seed: u64| {
        let case = &CASES[0];
        let image = load();
        let outcome = case.run(logged((case.plan)(seed)).driver(image.entry()));
        outcome.assert_clean();
        outcome.log_hash
    };
    let alone = [run(1), run(2)];
    let together = std::thread::scope(|scope| {
        [1, 2].map(|seed| scope.spawn(move || run(seed))).map(|world| world.join().expect("a world ends"))
    });
    assert_eq!(alone, together);
    assert_ne!(alone[0], alone[1]);
}

/// Stack, in bytes, that a handler and its callees may use of the thread's 24 KiB, which all drivers in the call chain
/// share.
const DEEPEST: usize = 13 * 256;

#[test]
#[cfg_attr(not(image_present), ignore = "build the image first: cargo image")]
fn nested_handlers_take_little_of_the_kernel_stack() {
    let (mut deepest, mut painted) = ((0, ""), (0, ""));
    for case in CASES {
        for seed in 0..SEEDS {
            let image = load();
            // Every completion and indication happens inside the call that causes it, for the deepest stack.
            let plan = (case.plan)(seed).style(|style| {
                style.nested = 100;
                style.pending = 0;
            });
            let plan = plan.config(|config| config.paint_stack = true);
            let outcome = case.run(plan.driver(image.entry()));
            deepest = deepest.max((outcome.deepest_stack, case.name));
            painted = painted.max((outcome.deepest_painted, case.name));
        }
    }
    println!(
        "deepest import: {} bytes in {}; deepest write: {} in {}",
        deepest.0, deepest.1, painted.0, painted.1
    );
    assert!(deepest.0 >= 500 && painted.0 >= deepest.0, "{deepest:?} {painted:?}");
    assert!(painted.0 <= DEEPEST, "{painted:?}");
}

#[test]
#[cfg_attr(not(image_present), ignore = "build the image first: cargo image")]
fn the_image_binds_only_what_the_simulation_checks() {
    let image = load();
    assert!(image.imports.len() > 40, "{:?}", image.imports);
    let modules = ["ndis.sys!", "NETIO.SYS!", "cng.sys!", "ntoskrnl.exe!"];
    assert!(image.imports.iter().all(|name| modules.iter().any(|module| name.starts_with(module))));
}
