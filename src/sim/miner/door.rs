//! The way to a miner over the network: open while its control board is up, shut while it is not, with a bound on
//! the connections that are inside at once.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::clock::{Clock, Moment};

use super::SimMiner;

/// Pause after a failed `accept` or a failed attempt to listen again.
const RETRY: Duration = Duration::from_millis(100);

/// The listening side of a simulated miner.
pub(super) struct Door {
    miner: Arc<SimMiner>,
    address: SocketAddr,
    clock: Clock,
    cancel: CancellationToken,
    changes: watch::Receiver<()>,
    places: Arc<Semaphore>,
    listener: Option<TcpListener>,
    /// Cancelled when the control board goes down: it takes its connections along.
    session: CancellationToken,
}

/// A connection that ends when its miner goes down.
pub(super) struct Guest {
    stream: TcpStream,
    session: CancellationToken,
    gone: Pin<Box<WaitForCancellationFutureOwned>>,
    _place: OwnedSemaphorePermit,
}

impl Door {
    pub(super) async fn open(
        miner: Arc<SimMiner>,
        address: SocketAddr,
        clock: Clock,
        cancel: CancellationToken,
        places: usize,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let changes = miner.changes.subscribe();
        Ok(Self {
            miner,
            address,
            clock,
            session: cancel.child_token(),
            cancel,
            changes,
            places: Arc::new(Semaphore::new(places)),
            listener: Some(listener),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn miner(&self) -> &Arc<SimMiner> {
        &self.miner
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn cancel(&self) -> &CancellationToken {
        &self.cancel
    }

    /// The next connection; `None` once cancelled. A connection beyond the bound is closed unheard.
    pub(super) async fn next(&mut self) -> Option<(Guest, SocketAddr)> {
        loop {
            if self.cancel.is_cancelled() {
                return None;
            }
            let reach = self.miner.reach(self.clock.now());
            if !reach.up {
                self.listener = None;
                self.session.cancel();
                self.pause(reach.until).await;
                continue;
            }
            let Some(listener) = &self.listener else {
                // Another process may have taken the port meanwhile: try on.
                match TcpListener::bind(self.address).await {
                    Ok(listener) => {
                        self.session = self.cancel.child_token();
                        self.listener = Some(listener);
                    }
                    Err(_) => tokio::time::sleep(RETRY).await,
                }
                continue;
            };
            let clock = self.clock;
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = self.cancel.cancelled() => return None,
                _ = self.changes.changed() => continue,
                () = sleep_until(clock, reach.until) => continue,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
                        continue;
                    };
                    // Answers are small and awaited: do not hold them back.
                    let _ = stream.set_nodelay(true);
                    let guest = Guest {
                        stream,
                        gone: Box::pin(self.session.clone().cancelled_owned()),
                        session: self.session.clone(),
                        _place: place,
                    };
                    return Some((guest, peer));
                }
                // Out of file descriptors, or a client that left already.
                Err(_) => tokio::time::sleep(RETRY).await,
            }
        }
    }

    async fn pause(&mut self, until: Option<Moment>) {
        let clock = self.clock;
        tokio::select! {
            () = self.cancel.cancelled() => {}
            _ = self.changes.changed() => {}
            () = sleep_until(clock, until) => {}
        }
    }
}

/// Sleeps until a moment, or for ever without one.
async fn sleep_until(clock: Clock, until: Option<Moment>) {
    match until {
        Some(moment) => tokio::time::sleep_until(clock.instant(moment)).await,
        None => std::future::pending().await,
    }
}

impl axum::serve::Listener for Door {
    type Io = Guest;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.next().await {
            Some(accepted) => accepted,
            // Cancelled: the server itself is dropped at the same time.
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        Ok(self.address)
    }
}

impl Guest {
    /// Ends when the miner goes down or the server is cancelled.
    pub(super) fn session(&self) -> &CancellationToken {
        &self.session
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        match self.gone.as_mut().poll(context) {
            Poll::Ready(()) => Err(io::ErrorKind::ConnectionReset.into()),
            Poll::Pending => Ok(()),
        }
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
