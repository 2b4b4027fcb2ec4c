//! What `ballast top` knows, and what keys do.

use std::cmp::Ordering;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use serde_json::Value;

use crate::cli::live::{Frame, News, Roster};
use crate::clock;

/// The longest text that is looked for.
const LONGEST: usize = 64;

/// By what the miners are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    /// As in the configuration.
    Order,
    Name,
    State,
    Draw,
    Told,
}

impl Sort {
    const ALL: [Self; 5] = [Self::Order, Self::Name, Self::State, Self::Draw, Self::Told];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Order => "configuration",
            Self::Name => "name",
            Self::State => "state",
            Self::Draw => "draw",
            Self::Told => "told",
        }
    }

    fn next(self) -> Self {
        let at = Self::ALL.iter().position(|sort| *sort == self).unwrap_or(0);
        Self::ALL.get(at + 1).copied().unwrap_or(Self::Order)
    }
}

/// A miner as it was told last.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Row {
    /// Position in the roster.
    pub(super) at: usize,
    /// Position in its states.
    pub(super) state: usize,
    /// In watts.
    pub(super) draw: f64,
    /// In watts; -1 is sleep.
    pub(super) told: Option<f64>,
    /// It has a fault, or is the next to be woken.
    pub(super) marked: bool,
}

/// All that is shown.
#[derive(Debug)]
pub(super) struct Model {
    /// Where the daemon is called.
    pub(super) at: String,
    pub(super) colours: bool,
    /// Why it is not connected; `None` while it is.
    pub(super) lost: Option<String>,
    pub(super) roster: Roster,
    pub(super) frame: Option<Box<Frame>>,
    /// By position in the roster.
    pub(super) miners: Vec<Row>,
    /// Those that are raised.
    pub(super) alarms: Vec<Value>,
    /// What is worked on, a sentence each.
    pub(super) works: Vec<String>,
    pub(super) curves: Value,
    pub(super) sort: Sort,
    pub(super) turned: bool,
    pub(super) filter: String,
    /// Whether keys go into the filter.
    pub(super) typing: bool,
    /// Miners above the first one that is shown.
    pub(super) above: usize,
    /// Miners that were shown at once, as the view says.
    pub(super) page: usize,
}

impl Model {
    pub(super) fn new(at: &str, colours: bool) -> Self {
        Self {
            at: at.to_owned(),
            colours,
            lost: None,
            roster: Roster::default(),
            frame: None,
            miners: Vec::new(),
            alarms: Vec::new(),
            works: Vec::new(),
            curves: Value::Null,
            sort: Sort::Order,
            turned: false,
            filter: String::new(),
            typing: false,
            above: 0,
            page: 1,
        }
    }

    /// Something is new.
    pub(super) fn take(&mut self, news: News) {
        match news {
            News::Connected => self.lost = None,
            News::Lost(why) => self.lost = Some(why),
            News::Roster(mut roster) => {
                self.miners.clear();
                // The class of a server stands behind its driver, and is found as that is.
                for (at, class) in std::mem::take(&mut roster.servers) {
                    if let Some((_, _, driver, _)) = roster.miners.get_mut(at) {
                        driver.push_str(", ");
                        driver.push_str(&class);
                    }
                }
                self.roster = roster;
            }
            News::Frame(frame) => {
                self.lost = None;
                if frame.miners.whole {
                    self.miners.clear();
                }
                for (at, state, draw, told, mark) in &frame.miners.rows {
                    let row = Row { at: *at, state: *state, draw: *draw, told: *told, marked: *mark != 0 };
                    match self.miners.get_mut(*at) {
                        Some(known) => *known = row,
                        // They come in their order.
                        None => self.miners.push(row),
                    }
                }
                self.frame = Some(frame);
            }
            News::Alarms(mut all) => {
                self.alarms = match all.get_mut("alarms").map(Value::take) {
                    Some(Value::Array(alarms)) => alarms,
                    _ => Vec::new(),
                };
                self.alarms.retain(|alarm| alarm["cleared"].is_null());
            }
            News::Works(works) => self.works = crate::cli::maintenance::sentences(&works),
            News::Curves(curves) => self.curves = curves,
        }
    }

    /// How old what is shown is, in milliseconds.
    pub(super) fn age(&self) -> i64 {
        self.frame.as_ref().map_or(0, |frame| clock::unix_millis().saturating_sub(frame.at))
    }

    /// A key. Whether it is the last one.
    pub(super) fn key(&mut self, key: KeyEvent) -> bool {
        if key.kind == KeyEventKind::Release {
            return false;
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return matches!(key.code, KeyCode::Char('c'));
        }
        if self.typing {
            match key.code {
                KeyCode::Enter => self.typing = false,
                KeyCode::Esc => (self.typing, self.filter) = (false, String::new()),
                KeyCode::Backspace => drop(self.filter.pop()),
                KeyCode::Char(sign) if self.filter.len() < LONGEST => self.filter.push(sign),
                _ => {}
            }
            self.above = 0;
            return false;
        }
        match key.code {
            KeyCode::Char('q') => return true,
            KeyCode::Char('/') => self.typing = true,
            KeyCode::Esc => self.filter.clear(),
            KeyCode::Char('s') => (self.sort, self.above) = (self.sort.next(), 0),
            KeyCode::Char('r') => self.turned = !self.turned,
            KeyCode::Up | KeyCode::Char('k') => self.above = self.above.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => self.above = self.above.saturating_add(1),
            KeyCode::PageUp => self.above = self.above.saturating_sub(self.page),
            KeyCode::PageDown | KeyCode::Char(' ') => self.above = self.above.saturating_add(self.page),
            KeyCode::Home => self.above = 0,
            KeyCode::End => self.above = usize::MAX,
            _ => {}
        }
        false
    }

    /// The word for a state.
    pub(super) fn state(&self, row: &Row) -> &str {
        self.roster.states.get(row.state).map_or("–", String::as_str)
    }

    /// Name, circuit and driver.
    pub(super) fn named(&self, row: &Row) -> (&str, &str, &str) {
        let Some((name, circuit, driver, _)) = self.roster.miners.get(row.at) else {
            return ("–", "–", "–");
        };
        let circuit = self.roster.circuits.get(*circuit).map_or("–", |circuit| circuit.name.as_str());
        (name, circuit, driver)
    }

    /// The miners that fit the filter, sorted.
    pub(super) fn shown(&self) -> Vec<Row> {
        let wanted = self.filter.to_lowercase();
        let fits = |row: &Row| {
            let (name, circuit, driver) = self.named(row);
            [name, circuit, driver, self.state(row)].iter().any(|part| part.to_lowercase().contains(&wanted))
        };
        let mut rows: Vec<Row> =
            self.miners.iter().filter(|row| wanted.is_empty() || fits(row)).copied().collect();
        let by = |one: &Row, other: &Row| -> Ordering {
            match self.sort {
                Sort::Order => one.at.cmp(&other.at),
                Sort::Name => self.named(one).0.cmp(self.named(other).0),
                Sort::State => one.state.cmp(&other.state),
                // The largest first.
                Sort::Draw => other.draw.total_cmp(&one.draw),
                Sort::Told => other.told.unwrap_or(-2.0).total_cmp(&one.told.unwrap_or(-2.0)),
            }
        };
        rows.sort_by(by);
        if self.turned {
            rows.reverse();
        }
        rows
    }
}
