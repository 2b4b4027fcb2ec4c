//! Messages to systemd (sd_notify, `Type=notify`): ready, alive, reloading, stopping. Without systemd they go nowhere.

use std::sync::atomic::{AtomicBool, Ordering};

use sd_notify::NotifyState;

use crate::control::frame::Frame;
use crate::metrics::describe;

static ENABLED: AtomicBool = AtomicBool::new(false);
static READY: AtomicBool = AtomicBool::new(false);

/// Lets this process speak to systemd. Only `ballast run` does: a demo in a service's shell must not.
pub fn enable() {
    ENABLED.store(true, Ordering::Relaxed);
}

fn tell(states: &[NotifyState<'_>]) {
    if ENABLED.load(Ordering::Relaxed) {
        // There is nobody to tell when this fails, and nothing to do about it.
        let _ = sd_notify::notify(states);
    }
}

/// A cycle is complete: this and nothing else feeds the watchdog. The first one says that the daemon is ready.
pub fn cycle_done(frame: &Frame) {
    if !ENABLED.load(Ordering::Relaxed) {
        return;
    }
    if !READY.swap(true, Ordering::Relaxed) {
        tell(&[NotifyState::Ready]);
    }
    let line = describe(&frame.site, &frame.decision);
    tell(&[NotifyState::Watchdog, NotifyState::Status(&line)]);
}

/// A reload has begun.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(since) => tell(&[NotifyState::Reloading, since]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The reload is over, well or not: the service goes on.
pub fn reloaded() {
    tell(&[NotifyState::Ready]);
}

/// The end has begun.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}
