//! A way in for the fuzz targets: whatever a client may send, through the frames and the registers.

use std::net::{IpAddr, Ipv4Addr};

use super::map::{self, Commands, Telemetry};
use super::wire::{HEADER, Head, Request, words};
use crate::clock::Moment;
use crate::control::signal::SourceState;
use crate::units::Watts;

/// Plays a client that sends these bytes; every write that is well formed is accepted.
///
/// # Panics
/// When a register holds what it cannot, which is a mistake in the program.
pub fn session(mut bytes: &[u8]) {
    let mut commands = Commands::new();
    let telemetry = Telemetry {
        cap: Some(Watts::kilowatts(300.0)),
        power: None,
        to_shed: Some(Watts::ZERO),
        state: SourceState::Limited,
        accepted: 0,
        refused: 0,
        age: None,
        unit: Watts::whole(1),
    };
    let mut now = Moment::START;
    while let Some((head, rest)) = bytes.split_first_chunk::<HEADER>() {
        let Some(head) = Head::read(*head) else { return };
        let Some((body, after)) = rest.split_at_checked(head.length) else { return };
        bytes = after;
        now = now + std::time::Duration::from_secs(1);
        let Some((function, body)) = body.split_first() else { return };
        let answer = match Request::read(*function, body) {
            Ok(Request::Read { start, count }) => {
                map::read(&commands, &telemetry, start, count).map(|read| words(&read))
            }
            Ok(Request::Write { start, words, echo }) => {
                let plan = commands.plan(IpAddr::V4(Ipv4Addr::LOCALHOST), now, start, &words);
                plan.map(|plan| {
                    commands = plan.next;
                    echo.to_vec()
                })
            }
            Err(exception) => Err(exception),
        };
        assert!(commands.limit != Some(map::NONE), "the reserved limit is never taken");
        assert!(map::read(&commands, &telemetry, 0, 5).is_ok(), "what was written can be read");
        let frame = head.answer(*function, &answer);
        assert!(frame.len() >= HEADER + 2 && frame.len() <= 260, "an answer fits into a frame");
    }
}
