//! Answers that do not end as they should.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::Frame;

/// Some bytes, and then a broken connection.
struct Broken(VecDeque<Bytes>);

/// The same bytes over and over.
struct Endless(Bytes);

/// The first half of an answer; then the connection breaks.
pub(super) fn half(whole: &[u8]) -> Body {
    let half = whole.get(..whole.len() / 2).unwrap_or_default();
    Body::new(Broken(VecDeque::from([Bytes::copy_from_slice(half)])))
}

/// An answer that begins like a list and never ends.
pub(super) fn endless() -> Body {
    Body::new(Endless(Bytes::from(vec![b' '; 64 * 1024])))
}

impl HttpBody for Broken {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(Some(match self.0.pop_front() {
            Some(bytes) => Ok(Frame::data(bytes)),
            None => Err(io::ErrorKind::ConnectionReset.into()),
        }))
    }
}

impl HttpBody for Endless {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(Some(Ok(Frame::data(self.0.clone()))))
    }
}
