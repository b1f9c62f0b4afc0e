//! What the system says about this process. Linux; elsewhere everything is 0.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Linux counts processor time for programs in hundredths of a second, on every architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// Between two looks at the memory.
const SAMPLE_EVERY: Duration = Duration::from_millis(2);

/// Seconds that all threads of this process have run, in its own code and in the system's.
pub(crate) fn processor_seconds() -> [f64; 2] {
    let statistics = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name before it is in parentheses and may hold spaces.
    let fields = statistics.rsplit_once(')').map_or("", |(_, fields)| fields);
    let mut fields = fields.split_whitespace().skip(11).map(|field| {
        let ticks: f64 = field.parse().unwrap_or(0.0);
        ticks / TICKS_PER_SECOND
    });
    [(); 2].map(|()| fields.next().unwrap_or(0.0))
}

/// The number behind `key:` in a file of /proc that counts kilobytes, in bytes.
pub(crate) fn bytes_of(file: &str, key: &str) -> u64 {
    find_bytes(&fs::read_to_string(file).unwrap_or_default(), key)
}

fn find_bytes(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    number.unwrap_or(0) * 1024
}

/// Watches this process's memory from a thread of its own.
pub(crate) struct MemoryWatch {
    anonymous: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl MemoryWatch {
    pub(crate) fn start() -> Self {
        let anonymous = Arc::new(AtomicU64::new(0));
        let stop = Arc::new(AtomicBool::new(false));
        let (peak, stopped) = (Arc::clone(&anonymous), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                peak.fetch_max(bytes_of("/proc/self/status", "RssAnon"), Ordering::Relaxed);
                thread::sleep(SAMPLE_EVERY);
            }
        });
        Self { anonymous, stop, thread }
    }

    /// The largest anonymous memory seen, and the largest resident memory ever, in bytes.
    pub(crate) fn finish(self) -> [u64; 2] {
        self.stop.store(true, Ordering::Relaxed);
        // A panic of the watching thread would only mean that fewer looks were taken.
        let _ = self.thread.join();
        [self.anonymous.load(Ordering::Relaxed), bytes_of("/proc/self/status", "VmHWM")]
    }
}
