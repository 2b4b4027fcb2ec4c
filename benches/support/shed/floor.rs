//! The floor: the same bytes over the same connections, all at once, with nothing around them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ballast::clock::Clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::miners::Exchange;

/// What each miner is told, connection by connection.
pub struct Script {
    exchanges: Vec<Exchange>,
    /// The connection that was open before, if one was.
    kept: Option<u64>,
}

impl Script {
    /// `before`: what was said before the command.
    pub fn new(before: &[Exchange], exchanges: Vec<Exchange>) -> Self {
        let kept = exchanges
            .first()
            .map(|first| first.connection)
            .filter(|first| before.iter().any(|earlier| earlier.connection == *first));
        Self { exchanges, kept }
    }

    /// In words.
    pub fn describe(&self) -> String {
        let opened =
            self.exchanges.iter().map(|exchange| exchange.connection).filter(|id| Some(*id) != self.kept);
        let mut opened: Vec<u64> = opened.collect();
        opened.dedup();
        let bytes: usize =
            self.exchanges.iter().map(|exchange| exchange.request.len() + exchange.answer.len()).sum();
        let kept = if self.kept.is_some() { "kept" } else { "no kept" };
        format!(
            "{} exchanges on {kept} and {} new connections, {bytes} bytes",
            self.exchanges.len(),
            opened.len()
        )
    }

    async fn play(
        &self,
        address: SocketAddr,
        mut open: Option<(u64, TcpStream)>,
    ) -> std::io::Result<Option<(u64, TcpStream)>> {
        for exchange in &self.exchanges {
            let mut stream = match open.take().filter(|(id, _)| *id == exchange.connection) {
                Some((_, stream)) => stream,
                None => connect(address).await?,
            };
            stream.write_all(&exchange.request).await?;
            let mut answer = vec![0; exchange.answer.len()];
            stream.read_exact(&mut answer).await?;
            open = Some((exchange.connection, stream));
        }
        Ok(open.filter(|(id, _)| Some(*id) == self.kept))
    }
}

async fn connect(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Says the script to every miner at once, so many times; the time of each round, to the last answer.
pub async fn rounds(script: Script, addresses: &[SocketAddr], count: u64, pause: Duration) -> Vec<Duration> {
    let script = Arc::new(script);
    let (go, _) = watch::channel(0_u64);
    let (ready, done, lost) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for address in addresses.iter().copied() {
        let (script, mut going) = (Arc::clone(&script), go.subscribe());
        let (ready, done, lost) = (Arc::clone(&ready), Arc::clone(&done), Arc::clone(&lost));
        tokio::spawn(async move {
            let mut open = match script.kept {
                Some(id) => connect(address).await.ok().map(|stream| (id, stream)),
                None => None,
            };
            ready.fetch_add(1, Ordering::Relaxed);
            while going.changed().await.is_ok() {
                match script.play(address, open.take()).await {
                    Ok(kept) => open = kept,
                    Err(_) => {
                        lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    until(&ready, addresses.len()).await;
    let clock = Clock::start();
    let mut times = Vec::new();
    for round in 1..=count {
        tokio::time::sleep(pause).await;
        done.store(0, Ordering::Relaxed);
        let begun = clock.now();
        go.send_replace(round);
        until(&done, addresses.len()).await;
        times.push(clock.now() - begun);
    }
    let lost = lost.load(Ordering::Relaxed);
    if lost > 0 {
        println!("  {lost} exchanges of the floor failed");
    }
    times
}

async fn until(counter: &AtomicUsize, number: usize) {
    while counter.load(Ordering::Relaxed) < number {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}
