//! DSX Flex 1.7 in the role of the agent: a partner of the grid sets load targets over a broker of MQTT, for the whole site or for
//! feeds, and is told where each feed stands and when more is drawn than a target allows.
//!
//! ```text
//!  broker ──► session ──► admit ──► plan ──► desk
//!    ▲        (kept)    signature,  orders
//!    │                  age, once
//!    └── message ◄── tell, breach ◄── frames
//!        jws
//! ```
//!
//! | File | What it does |
//! |---|---|
//! | `settings` | what is configured |
//! | `message` | CloudEvents, topics and load targets, from JSON and to it; pure |
//! | `jws` | signatures and key sets; pure |
//! | `admit` | which messages are obeyed; pure |
//! | `park` | messages that wait for a key, and when keys are asked for; pure |
//! | `plan` | from load targets to orders, and back; pure |
//! | `tell` | the state of the feeds, and its transitions; pure |
//! | `breach` | breaches, from their beginning to their end, and who could give something up; pure |
//! | `keys` | where key sets and tokens come from |
//! | `session` | the connection to the broker |
//! | `agent` | all of it together |
//!
//! A list of targets is a whole one of the feeds that it names: there it takes the place of those before, from its beginning on. What is
//! heard of the broker alone is a sign of life and no more, and none at all while something of what the partner said is known to be missed.

pub mod admit;
pub mod agent;
pub mod breach;
pub mod jws;
pub mod keys;
pub mod message;
pub mod park;
pub mod plan;
pub mod session;
pub mod settings;
pub mod tell;

pub use agent::run;
pub use settings::Settings;
