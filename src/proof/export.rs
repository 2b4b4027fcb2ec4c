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
    let mut run = Run::new(order, source);
    entries.each(0, u64::MAX, |entry| run.read(&entry))?;
    if run.sources.len() > 1 {
        return Err(ExportError::Several { order: order.to_owned(), sources: run.sources.join(", ") });
    }
    if run.entries.is_empty() {
        return Err(ExportError::NoOrder(order.to_owned()));
    }
    Ok(Part { from: run.from, to: run.behind.unwrap_or(run.head), heading: run.heading(public_key) })
}

/// The latest run of an order, as entries are read one by one.
#[derive(Debug)]
pub struct Run<'o> {
    order: &'o str,
    source: Option<&'o str>,
    sources: Vec<String>,
    /// Of the latest run: its entries, what the last of them says, and the latest signature before it.
    entries: Vec<u64>,
    last: Value,
    from: u64,
    signed: u64,
    head: u64,
    behind: Option<u64>,
}

impl<'o> Run<'o> {
    /// Of an order, and of one source where it is told.
    pub fn new(order: &'o str, source: Option<&'o str>) -> Self {
        let (sources, entries) = (Vec::new(), Vec::new());
        Self { order, source, sources, entries, last: Value::Null, from: 0, signed: 0, head: 0, behind: None }
    }

    /// Reads the next entry.
    pub fn read(&mut self, entry: &Entry) {
        self.head = entry.number;
        match entry.kind.as_str() {
            "checkpoint" => {
                self.signed = entry.number;
                self.behind.get_or_insert(entry.number);
            }
            "begin" => self.signed = entry.number,
            "order" => {
                let body = entry.value();
                let text = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or("");
                if text("order") != self.order || self.source.is_some_and(|source| source != text("source")) {
                    return;
                }
                if !self.sources.iter().any(|known| known == text("source")) && self.sources.len() < 16 {
                    self.sources.push(text("source").to_owned());
                }
                if self.entries.is_empty() || over(&self.last) {
                    self.entries.clear();
                    self.from = self.signed;
                }
                self.entries.push(entry.number);
                self.last = body;
                self.behind = None;
            }
            _ => {}
        }
    }

    /// The first line of a file with these entries.
    pub fn heading(self, public_key: String) -> Heading {
        Heading {
            ballast_proof: 1,
            public_key,
            complete: self.behind.is_some() && over(&self.last),
            order: self.last,
            entries: self.entries,
        }
    }
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
