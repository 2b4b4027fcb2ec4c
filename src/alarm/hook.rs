//! Alarms for somebody else: each change as JSON to one address.
//!
//! The body has what a program needs and, as `text`, what a chat shows (Slack, Mattermost and Rocket.Chat take it as it is).
//! What cannot be delivered is tried again for half an hour, the oldest first; nothing of it holds anything up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use reqwest::{StatusCode, Url};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tracing::{info, warn};

use super::Alarms;
use super::book::{Alarm, Change, What};
use super::kind::Severity;
use crate::secret::Secret;

/// Changes that may wait to be delivered.
pub(super) const QUEUE: usize = 256;
/// How long an answer may take.
const LIMIT: Duration = Duration::from_secs(10);
/// For how long one change is tried, pauses added up.
const PATIENCE: Duration = Duration::from_secs(1_800);
/// The pause after the first failure; it doubles up to [`LONGEST_PAUSE`].
const PAUSE: Duration = Duration::from_secs(1);
/// See [`PAUSE`].
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where changes are sent.
#[derive(Clone, PartialEq)]
pub struct Webhook {
    /// The address. That of a chat is as good as a password, and is never shown.
    pub url: Url,
    /// Sent as a bearer token.
    pub token: Option<Secret>,
    /// The mildest severity that is told.
    pub severity: Severity,
}

impl std::fmt::Debug for Webhook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Webhook").field("severity", &self.severity).finish_non_exhaustive()
    }
}

impl Webhook {
    /// Whether a change is to be told.
    pub(super) fn wants(&self, change: &Change) -> bool {
        let Alarm { severity, quiet, muted, told, .. } = &change.alarm;
        let now = match change.what {
            What::Raised | What::Worse => !muted,
            // Whoever was called hears that it is over, whatever the time; nobody else does.
            What::Cleared | What::Acknowledged => *told,
        };
        *severity >= self.severity && !quiet && now
    }
}

/// What became of the deliveries.
#[derive(Debug, Default)]
pub(super) struct Tally {
    failures: AtomicU64,
    failing: AtomicBool,
}

impl Tally {
    /// One could not be delivered, for good.
    pub(super) fn failed(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}

/// How an attempt ended.
enum Sent {
    Done,
    /// Trying again may help.
    Later(String),
    /// It is refused, and will be again.
    Refused(String),
}

/// Delivers until the queue is closed.
pub(super) async fn run(alarms: Alarms, site: Arc<str>, mut posts: mpsc::Receiver<Change>) {
    let mut client = None;
    while let Some(change) = posts.recv().await {
        let body = body(&site, &change);
        let (mut waited, mut pause) = (Duration::ZERO, PAUSE);
        // The configuration may be another one by now.
        while let Some(hook) = alarms.webhook() {
            let sent = send(&mut client, &hook, &body).await;
            let tally = &alarms.0.told;
            match sent {
                Sent::Done => {
                    if tally.failing.swap(false, Ordering::Relaxed) {
                        info!("the webhook of the alarms is reached again");
                    }
                    break;
                }
                Sent::Refused(why) => {
                    warn!("the webhook of the alarms refuses an alarm: {why}; check its address and token");
                    tally.failed();
                    break;
                }
                Sent::Later(why) => {
                    if !tally.failing.swap(true, Ordering::Relaxed) {
                        warn!("cannot reach the webhook of the alarms: {why}; trying on");
                    }
                    if waited >= PATIENCE {
                        tally.failed();
                        break;
                    }
                    sleep(pause).await;
                    waited = waited.saturating_add(pause);
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

async fn send(client: &mut Option<(bool, reqwest::Client)>, hook: &Webhook, body: &Value) -> Sent {
    let tls = hook.url.scheme() == "https";
    let ready = match client {
        Some((for_tls, ready)) if *for_tls == tls => ready.clone(),
        _ => match crate::fetch::client(tls, None, LIMIT) {
            Ok(ready) => {
                *client = Some((tls, ready.clone()));
                ready
            }
            Err(error) => return Sent::Later(crate::tls::innermost(&error)),
        },
    };
    let mut request = ready.post(hook.url.clone()).json(body);
    if let Some(token) = &hook.token {
        request = request.bearer_auth(token.expose());
    }
    match request.send().await {
        Ok(answer) if answer.status().is_success() => Sent::Done,
        Ok(answer) => {
            let status = answer.status();
            let why = format!("it answers HTTP {}", status.as_u16());
            let passing = status.is_server_error()
                || status == StatusCode::REQUEST_TIMEOUT
                || status == StatusCode::TOO_MANY_REQUESTS;
            if passing { Sent::Later(why) } else { Sent::Refused(why) }
        }
        // The words of the library name the address; those at their root do not.
        Err(error) if error.is_timeout() => Sent::Later(format!("no answer within {LIMIT:?}")),
        Err(error) => Sent::Later(crate::tls::innermost(&error.without_url())),
    }
}

/// What is sent of a change.
fn body(site: &str, change: &Change) -> Value {
    let Alarm { id, kind, subject, severity, words, raised, cleared, acknowledged, .. } = &change.alarm;
    let head = match change.what {
        What::Raised | What::Worse => severity.name().to_uppercase(),
        What::Cleared => "OVER".to_owned(),
        What::Acknowledged => {
            format!("KNOWN to {}", acknowledged.as_ref().map_or("somebody", |known| &*known.by))
        }
    };
    json!({
        "text": format!("[{site}] {head}: {words}"),
        "site": site,
        "event": change.what.name(),
        "alarm": {
            "id": id,
            "kind": kind.name(),
            "severity": severity.name(),
            "subject": &**subject,
            "words": &**words,
            "help": kind.help(),
            "raised": raised,
            "cleared": cleared,
            "acknowledged": acknowledged.as_ref().map(|known| {
                json!({ "by": &*known.by, "at": known.at, "note": &*known.note })
            }),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alarm::kind::Kind;

    fn change(severity: Severity, quiet: bool) -> Change {
        Change {
            what: What::Raised,
            alarm: Alarm {
                id: 3,
                kind: Kind::MeterLost,
                subject: "grid".into(),
                severity,
                words: "grid does not answer; its latest value is 14 s old".into(),
                raised: 1_790_000_000_000,
                cleared: None,
                acknowledged: None,
                quiet,
                muted: false,
                told: !quiet,
            },
        }
    }

    #[test]
    fn the_body_has_a_text_for_people_and_the_rest_for_programs() {
        let body = body("mill", &change(Severity::Critical, false));
        assert_eq!(body["text"], "[mill] CRITICAL: grid does not answer; its latest value is 14 s old");
        assert_eq!(body["event"], "raised");
        assert_eq!(body["alarm"]["kind"], "meter-lost");
        assert_eq!(body["alarm"]["cleared"], Value::Null);
    }

    #[test]
    fn what_is_mild_or_quiet_calls_nobody_and_the_address_is_never_shown() {
        let hook = Webhook {
            url: "https://chat.example/hooks/s3cret".parse().unwrap(),
            token: None,
            severity: Severity::Warning,
        };
        assert!(hook.wants(&change(Severity::Critical, false)));
        assert!(
            !hook.wants(&change(Severity::Notice, false)) && !hook.wants(&change(Severity::Critical, true))
        );
        let with = |what: What, muted: bool, told: bool| {
            let Change { alarm, .. } = change(Severity::Critical, false);
            hook.wants(&Change { what, alarm: Alarm { muted, told, ..alarm } })
        };
        assert!(!with(What::Raised, true, false) && !with(What::Worse, true, true));
        assert!(with(What::Cleared, true, true), "who was called hears that it is over");
        assert!(!with(What::Cleared, false, false), "and who was not does not");
        assert!(!format!("{hook:?}").contains("s3cret"));
    }
}
