//! What the desks of two machines know of each other: the one that leads hands out a copy of its books, and the one that stands by
//! takes it in, so that it obeys the same from the moment in which it leads.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::desk::Desk;
use super::glance::Giver;
use super::heard::Word;
use super::keep;
use crate::control::signal::book::{Held, MOST_NAME, MOST_ORDERS, MOST_WITHDRAWN};
use crate::control::signal::{Active, Wall};
use crate::line::is_line;
use crate::store::Kept;

/// What one desk knows of a source.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SourceCopy {
    /// Its name.
    pub name: Arc<str>,
    /// Its orders, what was taken back, and the caps that stand because it is lost.
    pub kept: Kept,
    /// How long ago it was heard, in milliseconds; `None` when it never was.
    pub heard_ms: Option<u64>,
    /// Whether what it says counts: a source that was lost must first say what it wants.
    pub in_control: bool,
    /// Who has given its orders, and why, where somebody has said so.
    pub givers: Vec<Giver>,
}

/// What one desk knows, and its clocks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DeskCopy {
    /// What its wall clock shows.
    pub wall: Wall,
    /// Its scale on which the time of orders is counted.
    pub steady: Wall,
    /// Each of its sources.
    pub sources: Vec<SourceCopy>,
}

/// What was taken in of a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Sources, and circuits of orders, that one of the two sites does not have.
    pub strange: Vec<String>,
    /// How far the two wall clocks are apart.
    pub apart: Duration,
}

/// No more names than these are told.
const MOST_STRANGE: usize = 8;

impl Desk {
    /// A copy of everything that acts or will.
    pub fn copy(&self) -> DeskCopy {
        let now = self.moments();
        let state = self.state();
        let sources = state.sources.iter().map(|source| {
            let (heard, in_control) = source.book.heard();
            let heard_ms = heard.map(|at| u64::try_from((now.moment - at).as_millis()).unwrap_or(u64::MAX));
            SourceCopy {
                name: source.name.clone(),
                kept: keep::of_book(&source.book, &state.site),
                heard_ms,
                // Whoever leads next cannot know what was missed here.
                in_control: in_control && source.word != Word::Missed,
                givers: state.ledger.givers(&source.name),
            }
        });
        DeskCopy { wall: now.wall, steady: now.steady, sources: sources.collect() }
    }

    /// Whether nothing is known: no order, no withdrawal, no cap that stands.
    pub fn is_blank(&self) -> bool {
        let state = self.state();
        state.sources.iter().all(|source| keep::of_book(&source.book, &state.site) == Kept::default())
    }

    /// Takes the copy of another desk into the place of what is known here. It is in force from the next cycle on, and on disk
    /// with the next beat. What this site has no source or circuit for is left out, and told.
    pub fn mirror(&self, copy: DeskCopy) -> Taken {
        let now = self.moments();
        let mut taken =
            Taken { apart: now.wall.since(copy.wall).max(copy.wall.since(now.wall)), ..Taken::default() };
        let mut guard = self.state();
        let state = &mut *guard;
        let site = state.site.clone();
        let mut changed = false;
        for SourceCopy { name, mut kept, heard_ms, in_control, givers } in copy.sources {
            let Some(source) = state.sources.iter_mut().find(|source| source.name == name) else {
                strange(&mut taken, format!("source {name}"));
                continue;
            };
            let sound = kept.orders.len() <= MOST_ORDERS
                && kept.withdrawn.len() <= MOST_WITHDRAWN
                && kept.orders.iter().all(|stored| is_name(&stored.held.order.id))
                && kept.withdrawn.iter().all(|(id, _)| is_name(id));
            if !sound {
                strange(&mut taken, format!("room for what it says of source {name}"));
                continue;
            }
            // What was heard before this daemon began cannot be told by its clock: then nobody knows how fresh it is.
            let heard = heard_ms.map(Duration::from_millis).filter(|ago| *ago <= now.moment.since_start());
            let heard = heard.map(|ago| now.moment.earlier(ago));
            let in_control = in_control && heard.is_some();
            for stored in &mut kept.orders {
                // The two machines count on scales of their own.
                if let Some(begun) = &mut stored.held.begun {
                    begun.steady = begun.steady.moved(copy.steady, now.steady);
                }
            }
            let mut orders: Vec<Held> = Vec::with_capacity(kept.orders.len());
            for stored in &kept.orders {
                let Some(circuit) = keep::circuit(&site, &stored.circuit) else {
                    strange(
                        &mut taken,
                        format!("circuit {} of order {}", stored.circuit, stored.held.order.id),
                    );
                    continue;
                };
                let mut held = stored.held.clone();
                held.order.circuit = circuit;
                // A scale that is read a moment later moves nothing that is known already.
                if let Some(known) =
                    source.book.held(&held.order.id).filter(|known| known.order == held.order)
                {
                    held.begun = known.begun.or(held.begun);
                }
                orders.push(held);
            }
            let caps = kept.caps.iter().filter_map(|cap| {
                Some(Active { circuit: keep::circuit(&site, &cap.circuit)?, ..cap.active.clone() })
            });
            let before = keep::of_book(&source.book, &site);
            source.book.mirror(orders, kept.withdrawn.iter().cloned(), caps, (heard, in_control));
            // What the other one did not hear is not known to be heard here.
            source.word = match (in_control, source.word) {
                (true, _) => Word::Whole,
                (false, Word::Whole) => Word::Unheard,
                (false, known) => known,
            };
            if keep::of_book(&source.book, &site) == before {
                continue;
            }
            changed = true;
            let givers: BTreeMap<&str, &Giver> = givers.iter().map(|giver| (&*giver.id, giver)).collect();
            for stored in &kept.orders {
                let id = &stored.held.order.id;
                super::start::know(&mut state.ledger, &name, stored, now.wall);
                if let Some(Giver { by, remark, .. }) = givers.get(&**id) {
                    state.ledger.given_by(&name, id, by.as_deref(), remark.as_deref());
                }
            }
            for (of, id) in state.ledger.open() {
                let stands = |held: &Held| held.withdrawn.is_none();
                if of == name && !source.book.held(&id).is_some_and(stands) {
                    state.ledger.end(&name, &id, now.wall, None);
                }
            }
        }
        drop(guard);
        if changed {
            self.wake();
        }
        taken
    }
}

/// Whether it can be the name of an order.
fn is_name(id: &str) -> bool {
    !id.is_empty() && id.len() <= MOST_NAME && is_line(id)
}

fn strange(taken: &mut Taken, what: String) {
    if taken.strange.len() < MOST_STRANGE {
        taken.strange.push(what.chars().take(200).map(crate::line::shown).collect());
    }
}
