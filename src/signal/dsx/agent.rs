//! The agent: hears the partner, hands over what they may order, and tells them what comes of it.

use std::collections::VecDeque;
use std::sync::Arc;

use rumqttc::{QoS, SubscribeFilter};
use tracing::{info, warn};

use super::admit::{Admitted, Gate};
use super::breach::{Breach, Watch, alert, hints};
use super::message::{Sent, Target, Trace, target_topic, uuid};
use super::plan::{Surroundings, Told, binding, orders, told};
use super::post::{self, Look, Make, Post, Role, standing};
use super::settings::Settings;
use super::tell::{Event, Feed, Metadata, limit, look, status};
use crate::clock::Moment;
use crate::control::frame::Frame;
use crate::control::signal::Doubt;
use crate::control::site::CircuitId;
use crate::signal::link::{Came, Exceeded};
use crate::signal::{Context, List};

/// Lists whose answers may wait for the broker.
const MOST_UNANSWERED: usize = 32;

/// Runs until it is dropped.
pub async fn run(settings: Settings, context: Context) {
    let link = settings.link.clone();
    let agent = Agent::new(settings, &context);
    post::run(link, context, agent).await;
}

struct Agent {
    settings: Settings,
    feeds: Vec<Feed>,
    watches: Vec<Watch>,
    /// Lists that are in force and were not answered yet: by what the partner knows each, and its trace.
    unanswered: VecDeque<(String, Option<Trace>)>,
    next_status: Moment,
}

impl Role for Agent {
    type Said = Vec<Target>;

    const BROKER_SPEAKS: bool = true;
    const GATE: Make = Gate::new;
    const LOOK: Look<Self::Said> = Gate::look;

    fn topics(&self, partner: &str) -> Vec<SubscribeFilter> {
        vec![SubscribeFilter::new(target_topic(partner), QoS::AtLeastOnce)]
    }

    async fn obey(&mut self, post: &mut Post, list: Admitted<Self::Said>) {
        let (desk, source) = (post.context.desk.clone(), post.context.source);
        let now = desk.wall();
        let Some(standing) = standing(&desk, source) else { return };
        let planned = {
            let scope = post.context.place.scope;
            let believed = |circuit: CircuitId| desk.believed(circuit, scope);
            let around = Surroundings {
                feeds: &self.settings.feeds,
                scope,
                believed: &believed,
                now,
                standing: &standing.orders,
            };
            orders(&list, &around)
        };
        let orders = match planned {
            Ok(orders) => orders,
            Err(error) => {
                post.count(Came::Unplanned);
                return post.miss(&error.to_string()).await;
            }
        };
        if !standing.has_room_for(&orders) {
            post.count(Came::Unplanned);
            return post
                .miss("a list of targets is refused: too much of the lists before it has not ended yet")
                .await;
        }
        let mut concerned: Vec<CircuitId> = targets(post).iter().map(|told| told.circuit).collect();
        let ahead = list.sent.since(now);
        desk.doubt(source, if ahead.is_zero() { Doubt::None } else { Doubt::Off(ahead) });
        let caps = orders.len();
        match desk.list(source, List { orders, remember: post.gate.news(), ..List::default() }).await {
            Ok(answers) => {
                if let Some(refusal) = answers.iter().find_map(|answer| answer.outcome.as_ref().err()) {
                    desk.miss(source);
                    warn!(source = &*post.context.name, "a target is not obeyed: {refusal}");
                }
            }
            // The configuration was read again without this source; the task is about to end.
            Err(_) => return,
        }
        post.taken();
        info!(source = &*post.context.name, event = %list.id, caps, "a list of load targets is in force");
        post.warn_unless_saved(&list.id);
        let targets = targets(post);
        concerned.extend(targets.iter().map(|told| told.circuit));
        // A list that lifts what was never set is answered for the whole site.
        concerned.push(self.settings.feeds.whole);
        for feed in self.feeds.iter_mut().filter(|feed| concerned.contains(&feed.circuit)) {
            feed.push(Event::TargetSet);
        }
        if self.unanswered.len() >= MOST_UNANSWERED {
            self.unanswered.pop_front();
        }
        self.unanswered.push_back((list.correlation, list.trace));
        self.statuses(post, &targets);
    }

    fn connected(&mut self, post: &Post) {
        self.next_status = post.context.clock.now();
        self.statuses(post, &targets(post));
    }

    fn cycle(&mut self, post: &mut Post, frame: &Frame) {
        let (now, wall) = (post.context.clock.now(), post.context.desk.wall());
        let scope = post.context.place.scope;
        let targets = targets(post);
        let mut alerts = Vec::new();
        for (feed, watch) in self.feeds.iter_mut().zip(&mut self.watches) {
            let source = post.context.source.position();
            let Some(view) = look(frame, source, feed.circuit, scope, now) else { continue };
            feed.follow(view, now, wall);
            let target = binding(&targets, feed.circuit, false);
            let id = || uuid(rand::random());
            if let Some(breach) = watch.follow(view.measured, target, (now, wall), id) {
                let excess = breach.measured - limit(breach.cap, 0.0);
                let hints = hints(frame, feed.circuit, excess);
                warn!(
                    source = &*post.context.name, feed = feed.tag, breach = breach.id, measured = %breach.measured,
                    cap = %breach.cap, "a load target is exceeded, or no more: {:?}", breach.status
                );
                alerts.push(alert(&feed.tag, &breach, &hints));
            }
        }
        let open = |watch: &Watch| {
            let exceeded =
                |it: &Breach| Exceeded { cap: it.cap, measured: it.measured, critical: it.critical };
            watch.open().map(exceeded)
        };
        let circuit = |feed: &Feed| -> Option<Arc<str>> {
            Some(frame.site.circuits.get(feed.circuit.0)?.name.as_str().into())
        };
        let each = self.feeds.iter().zip(&self.watches);
        let watched: Vec<_> = each.filter_map(|(feed, watch)| Some((circuit(feed)?, open(watch)))).collect();
        post.note(|link| link.watched = watched);
        for alert in alerts {
            post.tell(Sent::Breach, alert, None);
        }
        self.statuses(post, &targets);
    }

    fn tick(&mut self, post: &mut Post) {
        self.statuses(post, &targets(post));
    }
}

/// The targets of the partner that are known, as what is on disk has them.
fn targets(post: &Post) -> Vec<Told> {
    post.context.desk.glance(post.context.source).map_or_else(Vec::new, |glance| told(&glance))
}

impl Agent {
    fn new(settings: Settings, context: &Context) -> Self {
        let site = context.desk.site();
        let feed = |(tag, circuit): (&String, &CircuitId)| {
            let maximum = context.desk.nameplate(*circuit, context.place.scope);
            Feed::new(tag, *circuit, Metadata::of(&site, *circuit, context.place.scope, maximum))
        };
        let feeds: Vec<Feed> = settings.feeds.tags.iter().map(feed).collect();
        let watch = |_: &Feed| Watch::new(settings.breach_over, settings.breach_after);
        let watches = feeds.iter().map(watch).collect();
        Self { next_status: context.clock.now(), feeds, watches, unanswered: VecDeque::new(), settings }
    }

    /// Tells how the feeds stand, when one of them has news, a list waits to be answered, or it is time. What the broker does
    /// not take waits.
    fn statuses(&mut self, post: &Post, targets: &[Told]) {
        let now = post.context.clock.now();
        let mut due = now >= self.next_status;
        while post.up && (due || !self.unanswered.is_empty() || self.feeds.iter().any(Feed::has_news)) {
            let data = status(&self.feeds, targets, self.settings.breach_over, post.context.desk.wall());
            let answered = self.unanswered.front();
            let trace = answered.and_then(|(_, trace)| trace.as_ref());
            let correlation = answered.map(|(correlation, _)| correlation.as_str());
            if !post.send(Sent::Status, &data, correlation, trace) {
                return;
            }
            self.unanswered.pop_front();
            self.feeds.iter_mut().for_each(Feed::was_told);
            due = false;
            self.next_status = now + self.settings.status_every;
        }
    }
}
