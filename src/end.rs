//! Work that ends when it is told to, and does nothing more then.

use tokio_util::sync::CancellationToken;

/// Works until `cancel`. Unlike [`CancellationToken::run_until_cancelled`] it looks at that first: what comes with the end begins no
/// further write.
pub async fn at(cancel: CancellationToken, work: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = cancel.cancelled() => {}
        () = work => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn what_comes_with_the_end_is_not_begun() {
        let (cancel, begun) = (CancellationToken::new(), Cell::new(false));
        cancel.cancel();
        at(cancel, async { begun.set(true) }).await;
        assert!(!begun.get());
    }
}
