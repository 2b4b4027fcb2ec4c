//! To be written.

use super::Context;

/// The settings of this kind of source.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {}

/// Runs until it is dropped.
pub async fn run(settings: Settings, context: Context) {
    let _ = (settings, context);
    std::future::pending::<()>().await;
}
