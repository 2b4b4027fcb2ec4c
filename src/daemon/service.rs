//! `ballast run`: the daemon as a service, from the first line of the log to the last.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use crate::clock::Clock;
use crate::config::{self, Config, ConfigErrors, Diagnostic};
use crate::daemon::call::Taken;
use crate::daemon::name::Trusted;
use crate::daemon::single::{Alone, NotAlone};
use crate::daemon::terminal::{self, HangUp, Terminal};
use crate::daemon::{Daemon, DaemonError, notify};
use crate::proof::authority::Authority;
use crate::record;
use crate::signal::wall::Trust;
use crate::standby;
use crate::web::{self, Pages, WebError};

/// Why the service ended badly.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// The configuration cannot be used.
    #[error("{0}")]
    Config(ConfigErrors),
    /// The daemon cannot start or has failed.
    #[error(transparent)]
    Daemon(#[from] DaemonError),
    /// Another daemon is there already.
    #[error(transparent)]
    NotAlone(#[from] NotAlone),
    /// Signals cannot be received.
    #[error("cannot receive signals: {0}")]
    Signals(#[source] std::io::Error),
}

/// Why a reload was refused. The running configuration stays.
#[derive(Debug, thiserror::Error)]
enum Refused {
    /// The new configuration cannot be used.
    #[error("{0}")]
    Config(ConfigErrors),
    /// Another daemon commands its miners.
    #[error(transparent)]
    NotAlone(#[from] NotAlone),
    /// What was stopped in an emergency would start, or what is paused stay so for ever.
    #[error(transparent)]
    Held(DaemonError),
}

/// Runs a configuration file until SIGTERM or SIGINT, or until the terminal is gone in which it was started. Any other
/// SIGHUP and `ballast reload` read the file again: a good one takes over, a bad one is told and changes nothing.
///
/// # Errors
/// The configuration is wrong, another daemon is there already, the address of the pages is taken, or a part of the daemon
/// has failed.
pub async fn run(path: &Path) -> Result<(), ServiceError> {
    let config = at_home(config::load(path).map_err(ServiceError::Config)?);
    let (caller, mut calls) = mpsc::channel(1);
    let mut alone = Alone::hold(path, config.store.path.as_deref(), Some(caller)).await?;
    alone.command(&config).await?;
    announce(&config);
    if config.store.path.is_none() && config.signals.len() > 1 {
        warn!(
            "orders are kept in memory alone, and a restart forgets them: write path in [store], or let systemd set \
             STATE_DIRECTORY"
        );
    }
    if config.store.path.is_none()
        && config.site.circuits.iter().any(|circuit| circuit.emergency_stop.is_some())
    {
        warn!(
            "what an emergency stop has stopped is kept in memory alone, and a restart forgets it: write path in [store], or let \
             systemd set STATE_DIRECTORY"
        );
    }
    notify::enable();
    let mut terminal = Terminal::look();
    let mut hang_up = listen(SignalKind::hangup())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut interrupt = listen(SignalKind::interrupt())?;

    let fixed = Fixed::of(&config);
    let orders = config.signals.len() > 1;
    let pages = pages(config.web.listen, path).map_err(DaemonError::Web)?;
    let waits = matches!(pages, Pages::Taken(_));
    let mut daemon = Daemon::start_with(config, Clock::start(), pages).await?;
    daemon.exporter().watch_strangers(alone.strangers());
    if orders && !daemon.desk().status().clock_synchronised {
        warn!(
            "nobody is known to keep this machine's clock right, so orders begin early and end late: let \
             systemd-timesyncd synchronise it, or write clock = \"trusted\" in [site] when something else does"
        );
    }
    if !waits {
        info!("metrics and status on http://{}/", daemon.address());
    }
    let mut looks = tokio::time::interval(terminal::OFTEN);
    loop {
        tokio::select! {
            _ = looks.tick(), if terminal.is_there() => terminal.look_again(),
            _ = hang_up.recv() => match terminal.hang_up().await {
                HangUp::Reload => {
                    // What is wrong has been logged.
                    let _ = reload(&daemon, path, &fixed, &mut alone).await?;
                }
                HangUp::Outlive => info!("the terminal is gone; going on without it"),
                HangUp::End => {
                    warn!("the terminal in which it was started is gone: run it as a service, or with `nohup`");
                    break;
                }
            },
            Some(call) = calls.recv() => {
                let outcome = reload(&daemon, path, &fixed, &mut alone).await?;
                call.answer(outcome.as_ref()).await;
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            failed = daemon.failed() => {
                // As after a panic: the miners stay as they are until it has been started anew.
                error!("{failed}");
                return Err(failed.into());
            }
        }
    }
    info!("stopping");
    notify::stopping();
    daemon.stop().await;
    info!("stopped");
    Ok(())
}

/// Opens the address of the pages. Where strangers have it, they are not to keep the daemon from its work: it goes on without
/// pages until they are gone.
///
/// # Errors
/// It cannot be had for another reason, or a program that is believed has it.
fn pages(listen: SocketAddr, config: &Path) -> Result<Pages, WebError> {
    let error = match web::bind(listen) {
        Ok(listener) => return Ok(Pages::Open(listener)),
        Err(error) => error,
    };
    let WebError::Bind { reason, .. } = &error;
    let holders = web::holders(listen).unwrap_or_default();
    let trusted = Trusted::beside(config);
    if reason.kind() != ErrorKind::AddrInUse
        || holders.is_empty()
        || holders.iter().any(|holder| trusted.has(*holder))
    {
        return Err(error);
    }
    warn!(
        "a program of another account has {listen}: no metrics and no pages there until it is gone; `ss -tlp` shows it"
    );
    Ok(Pages::Taken(listen))
}

fn listen(kind: SignalKind) -> Result<Signal, ServiceError> {
    signal(kind).map_err(ServiceError::Signals)
}

fn announce(config: &Config) {
    let site = &config.site;
    info!(
        version = env!("CARGO_PKG_VERSION"),
        site = site.name.as_str(),
        circuits = site.circuits.len(),
        meters = site.meters.len(),
        miners = site.miners.len(),
        "{}",
        if site.settings.observe { "observing: no command is sent" } else { "in control" }
    );
    for warning in &config.warnings {
        warn!("{warning}");
    }
}

/// The folder that systemd has made for the service. Several are separated by colons (systemd.exec(5), `StateDirectory=`); the
/// first is ours.
fn folder_of(variable: &str) -> Option<PathBuf> {
    let all = std::env::var(variable).ok()?;
    all.split(':').next().filter(|first| !first.is_empty()).map(PathBuf::from)
}

/// Where a service keeps its orders and is called from this machine, and that it looks for somebody who keeps the clock right, unless the configuration
/// says otherwise.
fn at_home(mut config: Config) -> Config {
    if let (None, Some(folder)) = (&config.store.path, folder_of("STATE_DIRECTORY")) {
        config.store.path = Some(folder.join("ballast.db"));
        config.web.keep_tokens_beside(config.store.path.as_deref());
    }
    if let (None, Some(folder)) = (&config.web.socket, folder_of("RUNTIME_DIRECTORY")) {
        config.web.socket = Some(web::socket_in(&folder, config.web.listen));
    }
    config.clock.get_or_insert(Trust::Checked);
    config
}

/// What a reload does not change.
#[derive(Debug, PartialEq)]
struct Fixed {
    listen: SocketAddr,
    socket: Option<PathBuf>,
    store: Option<PathBuf>,
    record: record::Settings,
    clock: Option<Trust>,
    standby: Option<standby::Settings>,
    time_stamps: Option<Authority>,
}

impl Fixed {
    fn of(config: &Config) -> Self {
        Self {
            listen: config.web.listen,
            socket: config.web.socket.clone(),
            store: config.store.path.clone(),
            record: config.record.clone(),
            clock: config.clock,
            standby: config.standby.clone(),
            time_stamps: config.proof.time_stamps.clone(),
        }
    }

    /// What another configuration would have otherwise, by its keys.
    fn changes(&self, other: &Self) -> Vec<String> {
        let Self { listen, socket, store, record, clock, standby, time_stamps } = other;
        let changed = [
            (*listen != self.listen, format!("listen in [web] (the pages stay on {})", self.listen)),
            // It is named after the address, unless it is written.
            (*listen == self.listen && *socket != self.socket, "socket in [web]".into()),
            (*store != self.store, "path in [store]".into()),
            (*record != self.record, "[record]".into()),
            (*clock != self.clock, "clock in [site]".into()),
            (*standby != self.standby, "[standby]".into()),
            (*time_stamps != self.time_stamps, "[proof.time_stamps]".into()),
        ];
        changed.into_iter().filter_map(|(changed, keys)| changed.then_some(keys)).collect()
    }
}

/// Reads the file again. Returns its warnings and what waits for a restart, or what is wrong with it; the running configuration then stays.
async fn reload(
    daemon: &Daemon,
    path: &Path,
    fixed: &Fixed,
    alone: &mut Alone,
) -> Result<Result<Taken<Vec<Diagnostic>>, Refused>, DaemonError> {
    notify::reloading();
    let loaded = config::load(path).map(at_home).map_err(Refused::Config);
    let allowed = match loaded {
        Ok(config) => alone.command(&config).await.map(|()| config).map_err(Refused::NotAlone),
        Err(errors) => Err(errors),
    };
    let taken = match allowed {
        Ok(config) => match daemon.reload(config.clone()).await {
            Ok(()) => Ok(config),
            Err(held @ (DaemonError::Latched(_) | DaemonError::LeftPaused(_))) => Err(Refused::Held(held)),
            Err(failed) => return Err(failed),
        },
        Err(refused) => Err(refused),
    };
    let outcome = match taken {
        Ok(config) => {
            announce(&config);
            let restart = fixed.changes(&Fixed::of(&config));
            for keys in &restart {
                warn!("{keys} changes with a restart only");
            }
            daemon.exporter().watch_strangers(alone.strangers());
            info!("the new configuration is in force");
            Ok(Taken { warnings: config.warnings, restart })
        }
        Err(refused) => {
            error!("the new configuration is not used, the running one stays in force:\n{refused}");
            Err(refused)
        }
    };
    notify::reloaded();
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::name::testing::Program;

    #[tokio::test]
    async fn a_stranger_at_the_address_of_the_pages_keeps_no_daemon_from_its_work() {
        let config = Path::new("there-is-none.toml");
        let own = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(pages(own.local_addr().unwrap(), config).is_err(), "that is for the operator to mend");
        let Some((program, address)) = Program::listens(54_321) else { return };
        let taken = pages(address, config).unwrap();
        assert!(matches!(taken, Pages::Taken(at) if at == address), "{taken:?}");
        // It works without pages.
        let mut site = config::demo(config::DEMO_NETWORK).unwrap();
        site.web.listen = address;
        let daemon = Daemon::start_with(site, Clock::start(), taken).await.unwrap();
        let mut frames = daemon.frames();
        assert!(frames.wait_for(Option::is_some).await.is_ok());
        daemon.stop().await;
        drop(program);
        assert!(matches!(pages(address, config), Ok(Pages::Open(_))));
    }
}
