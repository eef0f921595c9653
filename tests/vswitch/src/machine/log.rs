//! The event log: a hash of everything that happened, and if it is kept, a line for each, with its arguments.
//!
//! The hash is over times, threads, names and what the switch says; it is the same whether the log is kept or not, and
//! does not cost the words. Arguments and results of calls stand in the kept lines only. No line contains an address:
//! the logs of two drivers are compared line by line.

use crate::machine::thread::{self, Thread};
use crate::machine::world::{Mode, World};
use parking_lot::Mutex;
use std::any::Any;

#[derive(Default)]
pub(crate) struct EventLog(Mutex<Log>);

#[derive(Default)]
struct Log {
    hash: u64,
    lines: Vec<String>,
}

impl Log {
    /// FNV-1a with a separator, so that two lines never hash as one.
    fn mix(&mut self, bytes: &[u8]) {
        let mut hash = self.hash ^ 0xCBF2_9CE4_8422_2325;
        for byte in bytes.iter().chain(b"\n") {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
        }
        self.hash = hash;
    }
}

impl World {
    /// Appends a line to the event log. Lines never contain addresses: name objects by `ids::name`.
    pub fn log(&self, line: impl FnOnce() -> String) {
        if !self.logs() {
            return;
        }
        let (now, line) = (self.now(), line());
        let label = thread::current_label();
        let hashed = format!("{now} {label} {line}");
        let mut log = self.log.0.lock();
        log.mix(hashed.as_bytes());
        if self.config().keep_log {
            log.lines.push(format!("{now} {label}{} {line}", processor()));
        }
    }

    /// Appends a call across the driver's border, or its return.
    pub(crate) fn log_call(
        &self,
        thread: &Thread,
        direction: &'static str,
        name: &'static str,
        details: impl FnOnce() -> String,
    ) {
        if !self.logs() {
            return;
        }
        let (now, id) = (self.now(), thread.shared.id);
        let line = self.config().keep_log.then(|| {
            let details = details();
            let gap = if details.is_empty() { "" } else { " " };
            format!("{now} T{id}{} {direction} {name}{gap}{details}", processor())
        });
        let mut log = self.log.0.lock();
        log.mix(&(now ^ (u64::from(id) << 56)).to_le_bytes());
        log.mix(direction.as_bytes());
        log.mix(name.as_bytes());
        log.lines.extend(line);
    }

    /// Appends how a call of the driver's ended, if that is worth a line; the hash does without it.
    pub(crate) fn log_result(&self, thread: &Thread, name: &'static str, result: &dyn Any) {
        if !self.config().keep_log {
            return;
        }
        if let Some(result) = crate::shown::result(result) {
            let line = format!("{} T{}{} = {name} {result}", self.now(), thread.shared.id, processor());
            self.log.0.lock().lines.push(line);
        }
    }

    /// Somebody will want the log, or its hash. On free threads its order is the host's and the hash means nothing.
    fn logs(&self) -> bool {
        let config = self.config();
        config.mode == Mode::Baton && !config.no_hash || config.keep_log
    }

    /// The kept lines of the event log: virtual time in 100 ns units, thread, processor if it runs at DISPATCH, and
    /// what happened. `+` is a call by the driver and `=` its result, `>` a call of a handler of the driver and `<` its
    /// return, `!` a broken rule; the rest are the switch's own words.
    pub fn log_lines(&self) -> Vec<String> {
        self.log.0.lock().lines.clone()
    }

    /// Hash of the whole event log: equal for equal runs of one configuration in baton mode.
    pub fn log_hash(&self) -> u64 {
        self.log.0.lock().hash
    }
}

/// The processor that the calling thread owns.
fn processor() -> String {
    let owned = thread::try_current().filter(|thread| thread.irql.get() >= crate::machine::cpu::DISPATCH);
    owned.map_or_else(String::new, |thread| format!("@{}", thread.cpu.get()))
}

#[cfg(test)]
mod tests {
    use crate::scenario::outcome::Outcome;
    use crate::scenario::suite;

    fn run(keep: bool) -> Outcome {
        let case = suite::find("failover").expect("it is there");
        case.run((case.plan)(3).config(|config| config.keep_log = keep))
    }

    #[test]
    fn a_run_has_the_same_hash_whether_its_log_is_kept_or_not() {
        let (kept, not) = (run(true), run(false));
        assert!(kept.log.len() > 1_000 && not.log.is_empty());
        assert_eq!(kept.log_hash, not.log_hash);
    }

    #[test]
    fn a_kept_line_has_a_time_a_thread_a_call_and_its_arguments() {
        let log = run(true).log;
        let sends: Vec<_> = log.iter().filter(|line| line.contains(" + NdisFSendNetBufferLists ")).collect();
        assert!(!sends.is_empty());
        for line in sends {
            let (head, arguments) = line.split_once(" + NdisFSendNetBufferLists ").expect("a send");
            let (time, thread) = head.split_once(' ').expect("time and thread");
            assert!(time.parse::<u64>().is_ok() && thread.starts_with('T'), "{line}");
            assert!(arguments.starts_with("packet") && arguments.contains(", flags 0x"), "{line}");
        }
    }
}
