//! DSX Flex 1.7 over a broker of MQTT, in two roles. As the *agent* a partner of the grid sets load targets, for the whole site or for
//! feeds, and is told where each feed stands and when more is drawn than a target allows. As *infra* a foreign agent tells of breaches and
//! hints who could give something up, and is told what became of each hint.
//!
//! ```text
//!  broker ──► session ──► post, admit ──► plan or shed ──► desk
//!    ▲        (kept)      signature,      orders
//!    │                    age, once
//!    └── message ◄── tell and breach, or shed ◄── frames
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
//! | `post` | what both roles share: keys, what waits for them, what is refused and sent |
//! | `agent` | the role of the agent |
//! | `alert` | what a foreign agent says, from JSON; pure |
//! | `shed` | from hints to limits, and from cycles to what became of them; pure |
//! | `heed` | what a foreign agent says, brought to the desk |
//! | `infra` | the role of infra |
//!
//! In the role of infra the foreign agent is the *partner* of `settings`, `admit` and `keys`.
//!
//! A list of targets is a whole one of the feeds that it names: there it takes the place of those before, from its beginning on. What is
//! heard of the broker alone is a sign of life and no more, and none at all while something of what the partner said is known to be missed.

pub mod admit;
pub mod agent;
pub mod alert;
pub mod breach;
pub mod heed;
pub mod infra;
pub mod jws;
pub mod keys;
pub mod message;
pub mod park;
pub mod plan;
mod post;
pub mod session;
pub mod settings;
pub mod shed;
pub mod tell;

pub use agent::run;
pub use settings::{InfraSettings, Settings};
