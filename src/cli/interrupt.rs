//! Ctrl-C asks the work to stop, so that it can clean up after itself; a second one does not wait.
//! The signals that schedulers and `timeout` send (SIGTERM, SIGHUP) are taken the same way.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use super::INTERRUPTED;
use crate::evaluate::end_commands;
use crate::files::remove_temporary;

/// Whether the first Ctrl-C ends the process.
static ENDS_AT_ONCE: AtomicBool = AtomicBool::new(false);

/// Takes over the signal for the whole process: the first Ctrl-C calls `stop`, on a thread of its own,
/// the second ends the process.
pub(super) fn on_ctrl_c(stop: impl Fn() + Send + 'static) {
    let asked = AtomicBool::new(false);
    let handler = move || match asked.swap(true, Ordering::SeqCst) {
        false if !ENDS_AT_ONCE.load(Ordering::SeqCst) => stop(),
        _ => {
            end_commands();
            remove_temporary();
            std::process::exit(INTERRUPTED.into())
        }
    };
    // Where the signal cannot be taken over, Ctrl-C ends the process at once, as it always did.
    let _ = ctrlc::set_handler(handler);
}

/// From now on the first Ctrl-C ends the process, as it does for programs that have nothing to clean up.
pub(super) fn end_on_ctrl_c() {
    ENDS_AT_ONCE.store(true, Ordering::SeqCst);
}

/// A switch that Ctrl-C turns on. The first call takes over the signal for the whole process.
pub fn cancelled_by_ctrl_c() -> Arc<AtomicBool> {
    static CANCELLED: OnceLock<Arc<AtomicBool>> = OnceLock::new();
    let cancelled = CANCELLED.get_or_init(|| {
        let cancelled = Arc::new(AtomicBool::new(false));
        let switch = Arc::clone(&cancelled);
        on_ctrl_c(move || switch.store(true, Ordering::Relaxed));
        cancelled
    });
    Arc::clone(cancelled)
}
