//! What was asked of a host and what it answered.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::miner::identity::Mac;

/// Where miners listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The cgminer API of most firmware, and ePIC's HTTP.
    pub api: u16,
    /// Whatsminer API 3.
    pub framed: u16,
    /// Web interfaces and their REST APIs.
    pub web: u16,
    /// Auradine's REST API.
    pub auradine: u16,
}

impl Default for Ports {
    fn default() -> Self {
        Self { api: 4028, framed: 4433, web: 80, auradine: 8080 }
    }
}

/// A port that is knocked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Door {
    /// [`Ports::api`].
    Api,
    /// [`Ports::framed`].
    Framed,
    /// [`Ports::web`].
    Web,
}

impl Door {
    /// All three, in the order in which they are knocked at.
    pub const ALL: [Self; 3] = [Self::Api, Self::Framed, Self::Web];
}

/// Something that can be asked without an account. Every one only reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Question {
    /// A command of the cgminer API, one per connection.
    Api(&'static str),
    /// A command of Whatsminer API 3 with its parameter.
    Framed(&'static str, Option<&'static str>),
    /// `GET` of a path on the web port.
    Web(&'static str),
    /// `GET` of a path on the API port, where ePIC speaks HTTP.
    Epic(&'static str),
    /// A GraphQL query that only reads (Braiins OS before its REST API).
    Graph(&'static str),
    /// `GET` of a path with the session of a login that succeeded.
    Private(&'static str),
}

impl Question {
    /// The port that it goes to.
    pub const fn door(self) -> Door {
        match self {
            Self::Api(_) | Self::Epic(_) => Door::Api,
            Self::Framed(..) => Door::Framed,
            Self::Web(_) | Self::Graph(_) | Self::Private(_) => Door::Web,
        }
    }
}

/// A page of HTTP.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// Status code.
    pub status: u16,
    /// The header `WWW-Authenticate`.
    pub challenge: String,
    /// The header `Location`.
    pub location: String,
    /// The beginning of the body.
    pub body: String,
    /// The body, where it is JSON.
    pub json: Option<Value>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// JSON of an API.
    Data(Value),
    /// A page of HTTP.
    Page(Page),
    /// Bytes that are no JSON; their beginning.
    Noise(String),
    /// Nothing in time, or a connection that broke. An answer that never ends counts here.
    Nothing,
}

/// How a login with an account ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoginResult {
    /// It was let in.
    Accepted,
    /// It was not.
    Refused,
    /// The device did not answer clearly.
    Unclear,
}

/// What became of the accounts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Logins {
    /// With the operator's account; `None` when there was none for this firmware.
    pub account: Option<LoginResult>,
    /// With the vendor's default password; `None` when that was not tried or cannot be tried harmlessly.
    pub default: Option<LoginResult>,
}

/// Everything that a host gave away.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Doors that opened.
    pub open: Vec<Door>,
    /// Every question that was asked, with its answer.
    pub replies: BTreeMap<Question, Reply>,
    /// The logins.
    pub logins: Logins,
    /// The hardware address that this machine's network stack knows for the host.
    pub neighbour: Option<Mac>,
    /// This machine's clock at the time of the answers, in seconds since 1970; zero when not known.
    pub unix_seconds: u64,
}

impl Evidence {
    /// Whether a door opened.
    pub fn is_open(&self, door: Door) -> bool {
        self.open.contains(&door)
    }

    /// Whether this was asked.
    pub fn asked(&self, question: Question) -> bool {
        self.replies.contains_key(&question)
    }

    /// JSON of the cgminer API.
    pub fn api(&self, command: &'static str) -> Option<&Value> {
        match self.replies.get(&Question::Api(command))? {
            Reply::Data(value) => Some(value),
            _ => None,
        }
    }

    /// The `msg` of a good answer of Whatsminer API 3.
    pub fn framed(&self, command: &'static str) -> Option<&Value> {
        self.replies.iter().find_map(|(question, reply)| match (question, reply) {
            (Question::Framed(asked, _), Reply::Data(value)) if *asked == command => {
                (value.get("code").and_then(Value::as_i64) == Some(0)).then(|| value.get("msg"))?
            }
            _ => None,
        })
    }

    /// Whether Whatsminer API 3 answered at all: every answer has a `code`, a refusal too.
    pub fn speaks_frames(&self) -> bool {
        self.replies.iter().any(|(question, reply)| match (question, reply) {
            (Question::Framed(..), Reply::Data(value)) => value.get("code").is_some_and(Value::is_number),
            _ => false,
        })
    }

    /// A page, whatever its status.
    pub fn page(&self, question: Question) -> Option<&Page> {
        match self.replies.get(&question)? {
            Reply::Page(page) => Some(page),
            _ => None,
        }
    }

    /// JSON of a page of status 200.
    pub fn json(&self, question: Question) -> Option<&Value> {
        self.page(question).filter(|page| page.status == 200)?.json.as_ref()
    }

    /// JSON of a page on the web port.
    pub fn web(&self, path: &'static str) -> Option<&Value> {
        self.json(Question::Web(path))
    }

    /// JSON of a page that needed a login.
    pub fn private(&self, path: &'static str) -> Option<&Value> {
        self.json(Question::Private(path))
    }
}
