//! The role of infra: hears a foreign agent, makes limits of its hints, and tells it what became of each.

use std::collections::VecDeque;

use rumqttc::{QoS, SubscribeFilter};
use serde_json::Value;
use tracing::{debug, info, warn};

use super::admit::{Admitted, Answer, FromAgent, Gate, Refused};
use super::alert::{Alert, Life, State};
use super::jws::KeySet;
use super::message::{Sent, Trace};
use super::post::{self, Post, Role};
use super::settings::InfraSettings;
use super::shed::{Outcome, Plan, Report, Surroundings, reverted, split};
use crate::control::frame::Frame;
use crate::control::signal::{Order, Wall};
use crate::control::site::{CircuitId, Scope};
use crate::signal::link::Came;
use crate::signal::{Answer as DeskAnswer, Context, List};

/// Reports that may be under way, or wait for the broker.
const MOST_UNTOLD: usize = 32;

/// Runs until it is dropped.
pub async fn run(settings: InfraSettings, context: Context) {
    let link = settings.link.clone();
    let infra = Infra { settings, reports: VecDeque::new(), untold: VecDeque::new() };
    post::run(link, context, Gate::of_infra, infra).await;
}

struct Infra {
    settings: InfraSettings,
    /// What becomes of the hints of alerts that were obeyed.
    reports: VecDeque<Report>,
    /// What could not be handed to the broker, with the trace to which it belongs.
    untold: VecDeque<(Value, Option<Trace>)>,
}

impl Role for Infra {
    type Said = FromAgent;

    // The agent sends statuses: a broker that lives says nothing of it.
    const BROKER_SPEAKS: bool = false;

    fn topics(&self, partner: &str) -> Vec<SubscribeFilter> {
        vec![
            SubscribeFilter::new(Sent::Breach.topic(partner), QoS::ExactlyOnce),
            SubscribeFilter::new(Sent::Status.topic(partner), QoS::AtLeastOnce),
        ]
    }

    fn look(
        &self,
        gate: &mut Gate,
        payload: &[u8],
        keys: &KeySet,
        now: Wall,
    ) -> Result<Answer<Self::Said>, Refused> {
        gate.look_at_agent(payload, keys, now)
    }

    async fn obey(&mut self, post: &mut Post, message: Admitted<Self::Said>) {
        let Admitted { id, sent, trace, late, said, .. } = message;
        match said {
            FromAgent::State(state) => lives(post, state).await,
            FromAgent::Alert(alert) if alert.is_over() => self.end(post, &alert, late, trace).await,
            FromAgent::Alert(alert) => self.shed(post, &alert, (id.as_str(), sent), trace).await,
        }
    }

    fn connected(&mut self, post: &Post) {
        self.flush(post);
    }

    fn cycle(&mut self, post: &Post, frame: &Frame) {
        let (now, source) = (post.context.clock.now(), post.context.source.position());
        for report in &mut self.reports {
            report.follow(frame, source, now);
        }
        self.settle(post);
    }

    fn tick(&mut self, post: &Post) {
        let now = post.context.clock.now();
        for report in &mut self.reports {
            report.expire(now);
        }
        self.settle(post);
        self.flush(post);
    }
}

/// The agent lives, and says how its feeds stand.
async fn lives(post: &mut Post, state: State) {
    let (desk, source) = (post.context.desk.clone(), post.context.source);
    let known = desk.view(source).map(|view| view.state);
    post.count(Came::Taken);
    match state.means(desk.is_missed(source), known) {
        Life::Nothing => {}
        Life::Sign => desk.heartbeat(source),
        Life::Control => {
            let Some(standing) = post.standing() else { return };
            if hand_over(post, standing.orders).await.is_none() {
                debug!(source = &*post.context.name, "the configuration was read anew without this source");
            }
        }
    }
}

/// Hands all that is to stand to the desk; `None` without a source.
async fn hand_over(post: &mut Post, orders: Vec<Order>) -> Option<Vec<DeskAnswer>> {
    let list = List { orders, remember: post.gate.news(), ..List::default() };
    post.context.desk.clone().list(post.context.source, list).await.ok()
}

impl Infra {
    /// A breach is over: what it asked for is lifted.
    async fn end(&mut self, post: &mut Post, alert: &Alert, late: bool, trace: Option<Trace>) {
        let Some(standing) = post.standing() else { return };
        let (left, over) = split(standing.orders, alert, late, &[]);
        if hand_over(post, left).await.is_none() {
            return;
        }
        post.taken();
        info!(source = &*post.context.name, breach = alert.breach, feed = alert.feed, "a breach is over");
        post.warn_unless_saved(&alert.breach);
        self.reports.retain(|report| report.feed != alert.feed || (late && report.breach != alert.breach));
        let name = |circuit: CircuitId| {
            let mut known = self.settings.resources.iter();
            known.find(|(_, at)| **at == circuit).map(|(name, _)| name.clone())
        };
        let wall = post.context.desk.wall();
        if let Some(data) = reverted((alert.breach.as_str(), alert.feed.as_str()), &over, name, wall) {
            self.tell(post, data, trace);
        }
    }

    /// A breach begins or goes on: its hints become limits.
    async fn shed(&mut self, post: &mut Post, alert: &Alert, (id, sent): (&str, Wall), trace: Option<Trace>) {
        let desk = post.context.desk.clone();
        let Some(standing) = post.standing() else { return };
        let mut plan = {
            let believed = |circuit: CircuitId, scope: Scope| desk.believed(circuit, scope);
            let around = Surroundings {
                resources: &self.settings.resources,
                site: &standing.site,
                scope: post.context.place.scope,
                believed: &believed,
            };
            Plan::of(alert, (id, sent.min(desk.wall())), standing.orders.clone(), &around)
        };
        if !standing.has_room_for(&plan.orders) {
            post.count(Came::Unplanned);
            post.miss("an alert is refused: too much of those before it has not ended yet").await;
            return;
        }
        let orders = std::mem::take(&mut plan.orders);
        let caps = orders.len();
        let Some(answers) = hand_over(post, orders).await else { return };
        post.taken();
        for answer in answers {
            if let Err(refusal) = answer.outcome {
                warn!(source = &*post.context.name, "a hint is not carried out: {refusal}");
                plan.refuse(&answer.id, &refusal.to_string());
            }
        }
        info!(
            source = &*post.context.name,
            breach = alert.breach,
            feed = alert.feed,
            caps,
            hints = alert.hints.len(),
            "an alert of the agent is in force: {:?}",
            alert.status
        );
        post.warn_unless_saved(&alert.breach);
        let times = (post.context.clock.now(), self.settings.applied_within);
        if self.reports.len() >= MOST_UNTOLD
            && let Some(oldest) = self.reports.front_mut()
        {
            oldest.close();
        }
        self.reports.push_back(Report::new(alert, trace, plan.judged(), times));
        self.settle(post);
    }

    /// Tells what is settled.
    fn settle(&mut self, post: &Post) {
        let wall = post.context.desk.wall();
        let (settled, waiting): (VecDeque<Report>, VecDeque<Report>) =
            std::mem::take(&mut self.reports).into_iter().partition(Report::is_settled);
        self.reports = waiting;
        for report in settled {
            for why in report.outcomes().filter_map(|outcome| match outcome {
                Outcome::Failed(_, why) => Some(*why),
                Outcome::Waits(..) | Outcome::Applied(_) | Outcome::Skipped(_) => None,
            }) {
                warn!(source = &*post.context.name, breach = report.breach, "a hint does not show: {why}");
            }
            let data = report.write(wall);
            self.tell(post, data, report.trace);
        }
    }

    fn tell(&mut self, post: &Post, data: Value, trace: Option<Trace>) {
        if self.untold.len() >= MOST_UNTOLD {
            self.untold.pop_front();
        }
        self.untold.push_back((data, trace));
        self.flush(post);
    }

    /// Sends what waits, while the broker takes it.
    fn flush(&mut self, post: &Post) {
        while post.up
            && let Some((data, trace)) = self.untold.pop_front()
        {
            let span = rand::random();
            let own = match &trace {
                Some(trace) => trace.next(span),
                None => Trace::new(rand::random(), span),
            };
            if !post.send(Sent::Enforcement, &data, None, &own) {
                self.untold.push_front((data, trace));
                return;
            }
        }
    }
}
