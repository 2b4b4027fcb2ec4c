//! The entries of one order, for a stranger: from the signature before it to the signature behind its end.

use serde_json::Value;

use super::entry::Entry;
use super::read::{Entries, Heading, ReadError};

/// Why an order cannot be exported.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportError {
    /// The chain cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The chain knows no such order.
    #[error("the chain has no order {0}; `ballast ledger show --kind order` shows those that it has")]
    NoOrder(String),
    /// Two sources have an order of that name.
    #[error("several sources have an order {order}: {sources}; name one with --source")]
    Several {
        /// Its name.
        order: String,
        /// The sources.
        sources: String,
    },
}

/// Where a part of a chain lies.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The first entry: signed, or the beginning of the chain.
    pub from: u64,
    /// The last entry.
    pub to: u64,
    /// The first line of the file.
    pub heading: Heading,
}

/// Finds the latest run of an order: from when it came, over its later versions, to its end.
///
/// # Errors
/// [`ExportError`].
pub fn find(
    entries: &Entries,
    order: &str,
    source: Option<&str>,
    public_key: String,
) -> Result<Part, ExportError> {
    let mut sources: Vec<String> = Vec::new();
    // Of the latest run: its entries, what the last of them says, and the latest signature before it.
    let (mut run, mut last, mut from) = (Vec::new(), Value::Null, 0_u64);
    let (mut signed, mut head) = (0_u64, 0_u64);
    let mut behind: Option<u64> = None;
    entries.each(0, u64::MAX, |entry| {
        head = entry.number;
        match entry.kind.as_str() {
            "checkpoint" => {
                signed = entry.number;
                behind.get_or_insert(entry.number);
            }
            "begin" => signed = entry.number,
            "order" => {
                let body = entry.value();
                let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("");
                if text("order") != order || source.is_some_and(|source| source != text("source")) {
                    return;
                }
                if !sources.iter().any(|known| known == text("source")) && sources.len() < 16 {
                    sources.push(text("source").to_owned());
                }
                if run.is_empty() || over(&last) {
                    run.clear();
                    from = signed;
                }
                run.push(entry.number);
                last = body;
                behind = None;
            }
            _ => {}
        }
    })?;
    if sources.len() > 1 {
        return Err(ExportError::Several { order: order.to_owned(), sources: sources.join(", ") });
    }
    if run.is_empty() {
        return Err(ExportError::NoOrder(order.to_owned()));
    }
    let heading = Heading {
        ballast_proof: 1,
        public_key,
        complete: behind.is_some() && over(&last),
        order: last,
        entries: run,
    };
    Ok(Part { from, to: behind.unwrap_or(head), heading })
}

/// Whether nothing more comes of an order that the chain says this of last.
fn over(body: &Value) -> bool {
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    match text("event") {
        Some("refused") => true,
        Some("ended") => text("reason") != Some(super::LATER_VERSION),
        _ => false,
    }
}

/// A line of the file.
pub fn line(entry: &Entry) -> String {
    serde_json::to_string(entry).map_or_else(|_| String::new(), |text| text + "\n")
}
