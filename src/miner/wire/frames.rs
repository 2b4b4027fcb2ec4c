//! Frames of Whatsminer API 3: four bytes of length, little end first, then JSON. A length of zero is a heartbeat.
//!
//! Source: MicroBT "WhatsMiner API 3.0", "Frame format".

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt as _};

/// A heartbeat.
pub const HEARTBEAT: [u8; 4] = [0; 4];
/// More heartbeats than this in front of one answer are not a miner.
const MOST_HEARTBEATS: u32 = 64;

/// Why there is no answer.
#[derive(Debug)]
pub enum Unread {
    /// Nothing but heartbeats.
    Heartbeats,
    /// A length that no answer has.
    TooLarge,
    /// The connection ended within the answer.
    Short,
    /// The connection broke.
    Broken(io::Error),
}

/// A request as a frame.
///
/// # Errors
/// When it is longer than a frame can be.
pub fn frame(body: &str) -> Result<Vec<u8>, &'static str> {
    let length = u32::try_from(body.len()).map_err(|_| "it is too long to send")?;
    Ok([&length.to_le_bytes(), body.as_bytes()].concat())
}

/// Reads one answer of at most so many bytes. The buffer grows with what arrives, not with what is announced.
///
/// # Errors
/// [`Unread`].
pub async fn read(stream: &mut (impl AsyncRead + Unpin), most: usize) -> Result<Vec<u8>, Unread> {
    for _ in 0..MOST_HEARTBEATS {
        let mut prefix = HEARTBEAT;
        stream.read_exact(&mut prefix).await.map_err(Unread::Broken)?;
        if prefix == HEARTBEAT {
            continue;
        }
        let announced = u32::from_le_bytes(prefix);
        let length = usize::try_from(announced).ok().filter(|length| *length <= most);
        let length = length.ok_or(Unread::TooLarge)?;
        let mut answer = Vec::with_capacity(length.min(4096));
        stream.take(announced.into()).read_to_end(&mut answer).await.map_err(Unread::Broken)?;
        return if answer.len() < length { Err(Unread::Short) } else { Ok(answer) };
    }
    Err(Unread::Heartbeats)
}
