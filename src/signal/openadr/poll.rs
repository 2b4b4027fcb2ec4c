//! One poll: the programmes and the whole list of events.

use std::collections::BTreeSet;
use std::time::Duration;

use reqwest::Url;
use serde_json::Value;

use super::client::{Answer, Client, VenError};
use super::event::id_of;
use super::lane::Programmes;
use super::settings::{Programme, Settings};

/// Entries that are asked for at once: the most that OpenADR 3 allows.
const PAGE: usize = 50;
/// Largest list, in bytes.
const LARGEST: usize = 16 * 1024 * 1024;
/// Most entries of a list.
const MOST_ENTRIES: usize = 2_000;
/// Most requests for one list: a server may have pages of its own, smaller size.
const MOST_PAGES: usize = 250;
/// How often a list is begun anew that changes while it is read.
const ATTEMPTS: usize = 3;

/// A whole list.
#[derive(Debug)]
pub struct Entries {
    /// Each entry once.
    pub entries: Vec<Value>,
    /// How far the top node's clock is from ours by its latest answer.
    pub off: Option<Duration>,
}

/// Asks for the programmes. With a programme configured, it must be among them.
///
/// # Errors
/// [`VenError`].
pub async fn programmes(client: &Client, settings: &Settings) -> Result<Programmes, VenError> {
    let mut programmes = Programmes::default();
    // An account that may see events and no programmes: the units of events must come from elsewhere, that is all.
    let hidden = |error: &VenError| matches!(error, VenError::Status { status: 403 | 501, .. });
    if let Programme::Id(id) = &settings.programme {
        programmes.chosen = Some(id.clone());
        let answer = client.get(client.address(&["programs", id])).await;
        let missing = VenError::NoProgramme(id.clone());
        let programme = match answer {
            Ok(answer) => answer.body,
            Err(VenError::Status { status: 404, .. }) => return Err(missing),
            Err(error) if hidden(&error) => return Ok(programmes),
            Err(other) => return Err(other),
        };
        if id_of(&programme) != Some(id) {
            return Err(missing);
        }
        programmes.add(&programme);
        return Ok(programmes);
    }
    let url = client.address(&["programs"]);
    let entries = match all(client, &url).await {
        Err(error) if hidden(&error) && settings.programme == Programme::Any => return Ok(programmes),
        other => other?.entries,
    };
    for programme in entries {
        let name = programme.get("programName").and_then(Value::as_str);
        if let Programme::Name(chosen) = &settings.programme {
            if name != Some(chosen) {
                continue;
            }
            programmes.chosen = id_of(&programme).map(str::to_owned);
        }
        programmes.add(&programme);
    }
    match &settings.programme {
        Programme::Name(name) if programmes.chosen.is_none() => Err(VenError::NoProgramme(name.clone())),
        _ => Ok(programmes),
    }
}

/// Asks for the events.
///
/// # Errors
/// [`VenError`]; a list that is not whole is none.
pub async fn events(
    client: &Client,
    settings: &Settings,
    programmes: &Programmes,
) -> Result<Entries, VenError> {
    let mut url = client.address(&["events"]);
    {
        let mut query = url.query_pairs_mut();
        if let Some(programme) = &programmes.chosen {
            query.append_pair("programID", programme);
        }
        for target in &settings.names.targets {
            query.append_pair("targets", target);
        }
    }
    all(client, &url).await
}

/// Reads a list page by page, as a whole or not at all. An entry that vanishes between two requests moves the others up,
/// and one of them would be skipped; so each page begins with the last entry of the one before.
async fn all(client: &Client, url: &Url) -> Result<Entries, VenError> {
    let mut size = PAGE;
    for _ in 0..ATTEMPTS {
        match pages(client, url, size).await? {
            Pages::Whole(entries) => return Ok(entries),
            Pages::Moved => {}
            Pages::Smaller(own) => size = own,
        }
    }
    Err(VenError::Moving { place: shown(url) })
}

enum Pages {
    Whole(Entries),
    Moved,
    /// The server has pages of its own size.
    Smaller(usize),
}

async fn pages(client: &Client, url: &Url, size: usize) -> Result<Pages, VenError> {
    let mut entries: Vec<Value> = Vec::new();
    let mut seen: BTreeSet<String> = BTreeSet::new();
    let mut size_of_all = 0_usize;
    // Whether the page before was full, so that more must be expected and the next one overlaps.
    let mut overlap = false;
    for _ in 0..MOST_PAGES {
        let skip = entries.len().saturating_sub(usize::from(overlap));
        let Answer { body, size: bytes, off } = page(client, url, skip, size).await?;
        size_of_all = size_of_all.saturating_add(bytes);
        if size_of_all > LARGEST {
            return Err(VenError::TooLong { place: shown(url), most: format!("{LARGEST} bytes") });
        }
        let Value::Array(page) = body else {
            return Err(VenError::Malformed { place: shown(url), expected: "a list" });
        };
        let known = |entry: &Value| seen.contains(&name(entry));
        let news = page.iter().filter(|entry| !known(entry)).count();
        // Nothing new: the end, or a server that does not know `skip`.
        if page.is_empty() || (news == 0 && !entries.is_empty()) {
            return Ok(Pages::Whole(Entries { entries, off }));
        }
        if overlap && page.first().map(name) != entries.last().map(name) {
            return Ok(Pages::Moved);
        }
        // More after a page that was not full: its pages are smaller than what was asked for.
        if !entries.is_empty() && !overlap && size > 1 {
            return Ok(Pages::Smaller(entries.len().min(size)));
        }
        overlap = page.len() >= size && size > 1;
        for entry in page {
            if seen.insert(name(&entry)) {
                entries.push(entry);
            }
        }
        if entries.len() > MOST_ENTRIES {
            break;
        }
    }
    Err(VenError::TooLong { place: shown(url), most: format!("{MOST_ENTRIES} entries") })
}

async fn page(client: &Client, url: &Url, skip: usize, limit: usize) -> Result<Answer, VenError> {
    let mut url = url.clone();
    url.query_pairs_mut().append_pair("skip", &skip.to_string()).append_pair("limit", &limit.to_string());
    client.get(url).await
}

/// By what an entry is known again: its id, or all of it where it has none.
fn name(entry: &Value) -> String {
    id_of(entry).map_or_else(|| entry.to_string(), str::to_owned)
}

fn shown(url: &Url) -> String {
    format!("{}{}", url.host_str().unwrap_or("?"), url.path())
}
