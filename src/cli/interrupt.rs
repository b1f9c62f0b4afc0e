//! Ctrl-C asks the work to stop, so that it can clean up after itself.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

/// A switch that Ctrl-C turns on. The first call takes over the signal for the whole process.
pub fn cancelled_by_ctrl_c() -> Arc<AtomicBool> {
    static CANCELLED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    let cancelled = CANCELLED.get_or_init(|| {
        let cancelled = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&cancelled);
        // Where the signal cannot be taken over, Ctrl-C ends the process at once, as it always did.
        let _ = ctrlc::set_handler(move || switch.store(true, Ordering::Relaxed));
        cancelled
    });
    Arc::clone(cancelled)
}
