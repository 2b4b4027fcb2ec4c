//! The role of infra: hears a foreign agent, makes limits of its hints, and tells it what became of each.

use std::collections::VecDeque;

use rumqttc::{QoS, SubscribeFilter};
use tracing::{debug, info, warn};

use super::admit::{Admitted, FromAgent, Gate};
use super::alert::{Alert, State};
use super::heed::{Ear, Heeded, Unheeded};
use super::message::{Sent, Trace};
use super::post::{self, Look, Make, Post, Role};
use super::settings::InfraSettings;
use super::shed::{Report, reverted};
use crate::control::frame::Frame;
use crate::control::signal::Wall;
use crate::rate::Words;
use crate::signal::Context;
use crate::signal::link::Came;

/// Reports that may be under way.
const MOST_REPORTS: usize = 32;

/// Alerts, and what became of them, that are told at once in the log, and for each second on and on.
const ALERTS: (u32, f64) = (20, 0.1);

/// Runs until it is dropped.
pub async fn run(settings: InfraSettings, context: Context) {
    let link = settings.link.clone();
    let alerts = Words::new(ALERTS.0, ALERTS.1);
    let infra = Infra { settings, reports: VecDeque::new(), alerts };
    post::run(link, context, infra).await;
}

struct Infra {
    settings: InfraSettings,
    /// What becomes of the hints of alerts that were obeyed.
    reports: VecDeque<Report>,
    alerts: Words,
}

impl Role for Infra {
    type Said = FromAgent;

    // The agent sends statuses: a broker that lives says nothing of it.
    const BROKER_SPEAKS: bool = false;
    const GATE: Make = Gate::of_infra;
    const LOOK: Look<Self::Said> = Gate::look_at_agent;

    fn topics(&self, partner: &str) -> Vec<SubscribeFilter> {
        vec![
            SubscribeFilter::new(Sent::Breach.topic(partner), QoS::ExactlyOnce),
            SubscribeFilter::new(Sent::Status.topic(partner), QoS::AtLeastOnce),
        ]
    }

    async fn obey(&mut self, post: &mut Post, message: Admitted<Self::Said>) {
        let Admitted { id, sent, trace, late, said, .. } = message;
        match said {
            FromAgent::State(state) => self.lives(post, state).await,
            FromAgent::Alert(alert) if alert.is_over() => self.end(post, &alert, late, trace).await,
            FromAgent::Alert(alert) => self.shed(post, &alert, (id.as_str(), sent, trace)).await,
        }
    }

    fn cycle(&mut self, post: &mut Post, frame: &Frame) {
        let (now, source) = (post.context.clock.now(), post.context.source.position());
        for report in &mut self.reports {
            report.follow(frame, source, now);
        }
        self.settle(post);
    }

    fn tick(&mut self, post: &mut Post) {
        let now = post.context.clock.now();
        for report in &mut self.reports {
            report.expire(now);
        }
        self.settle(post);
    }
}

/// What is heard goes to the desk.
fn ear(post: &mut Post) -> Ear<'_> {
    Ear { desk: &post.context.desk, source: post.context.source, gate: &mut post.gate }
}

impl Infra {
    /// The agent lives, and says how its feeds stand.
    async fn lives(&self, post: &mut Post, state: State) {
        post.count(Came::Taken);
        if ear(post).lives(state).await.is_none() {
            debug!(source = &*post.context.name, "the configuration was read again without this source");
        }
    }

    /// A breach is over: what it asked for is lifted.
    async fn end(&mut self, post: &mut Post, alert: &Alert, late: bool, trace: Option<Trace>) {
        let Some(over) = ear(post).end(alert, late).await else { return };
        post.taken();
        if let Some(quiet) = self.alerts.take(post.context.clock.now()) {
            let (breach, feed) = (&alert.breach, &alert.feed);
            info!(source = &*post.context.name, quiet, breach, feed, "a breach is over");
        }
        post.warn_unless_saved(&alert.breach);
        self.reports.retain(|report| report.feed != alert.feed || (late && report.breach != alert.breach));
        let wall = post.context.desk.wall();
        let ids = (alert.breach.as_str(), alert.feed.as_str());
        if let Some(data) = reverted(ids, &over, &self.settings.resources, wall) {
            post.tell(Sent::Enforcement, data, trace);
        }
    }

    /// A breach begins or goes on: its hints become limits.
    async fn shed(&mut self, post: &mut Post, alert: &Alert, message: (&str, Wall, Option<Trace>)) {
        let scope = post.context.place.scope;
        let heeded = ear(post).shed(alert, message, &self.settings, scope).await;
        let Heeded { caps, refused, report } = match heeded {
            Ok(heeded) => heeded,
            Err(Unheeded::NoSource) => return,
            Err(why @ Unheeded::NoRoom) => {
                post.count(Came::Unplanned);
                return post.miss(&why.to_string()).await;
            }
        };
        post.taken();
        if let Some(quiet) = self.alerts.take(post.context.clock.now()) {
            for why in refused {
                warn!(source = &*post.context.name, "a hint is not carried out: {why}");
            }
            info!(
                source = &*post.context.name,
                quiet,
                breach = alert.breach,
                feed = alert.feed,
                caps,
                hints = alert.hints.len(),
                "an alert of the agent is in force: {:?}",
                alert.status
            );
        }
        post.warn_unless_saved(&alert.breach);
        let Some(report) = report else { return };
        if self.reports.len() >= MOST_REPORTS
            && let Some(oldest) = self.reports.front_mut()
        {
            oldest.close();
        }
        self.reports.push_back(report);
        self.settle(post);
    }

    /// Tells what is settled.
    fn settle(&mut self, post: &mut Post) {
        let wall = post.context.desk.wall();
        let (settled, waiting): (VecDeque<Report>, VecDeque<Report>) =
            std::mem::take(&mut self.reports).into_iter().partition(Report::is_settled);
        self.reports = waiting;
        for report in settled {
            let failed: Vec<&str> = report.failed().collect();
            if !failed.is_empty()
                && let Some(quiet) = self.alerts.take(post.context.clock.now())
            {
                let why = failed.join("; ");
                warn!(
                    source = &*post.context.name,
                    quiet,
                    breach = report.breach,
                    "hints do not show: {why}"
                );
            }
            post.tell(Sent::Enforcement, report.write(wall), report.trace);
        }
    }
}
