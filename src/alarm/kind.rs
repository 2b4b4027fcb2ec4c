//! What there can be an alarm of: names, severity, and for how long something must last.

use std::time::Duration;

/// How much an alarm matters. The order is that of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing; nobody needs to do anything now.
    Notice,
    /// Somebody should look at it today.
    Warning,
    /// Somebody should look at it now.
    Critical,
}

impl Severity {
    /// All, the mildest first.
    pub const ALL: [Self; 3] = [Self::Notice, Self::Warning, Self::Critical];

    /// As written in metrics, configurations and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Notice => "notice",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }

    /// The severity of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|severity| severity.name() == name)
    }
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A meter does not answer, or its value is too old.
    MeterLost,
    /// A meter answers and cannot be right, or redundant meters disagree.
    MeterImplausible,
    /// A source of orders is silent and its fail-safe value holds.
    SignalLost,
    /// A source of orders is heard, and something is wrong with it.
    SignalDegraded,
    /// A circuit draws more than a limit of it allows.
    OverLimit,
    /// Miners cannot help drawing more than their budget.
    Shortfall,
    /// Servers have less than what they keep by contract.
    ContractBroken,
    /// A source of orders is told that more is drawn than it allows.
    Breach,
    /// A miner does not do what it was told.
    MinerStraggler,
    /// A miner has stopped by a fault of its own, or a server works on with one.
    MinerFault,
    /// A miner does not answer.
    MinerSilent,
    /// Many miners of a circuit are in trouble at once: one alarm stands for all of them.
    ManyMiners,
    /// Surplus is there, nothing forbids to take it, and the fleet does not take it.
    SurplusUnused,
    /// The wall clock is not to be trusted.
    Clock,
    /// The database or the record cannot be written.
    Disk,
    /// The interlock of a circuit does not permit its miners to run.
    Interlock,
    /// The emergency stop of a circuit has stopped its miners.
    EmergencyStop,
    /// The breaker of a circuit is told to open, is open, or does not answer.
    Breaker,
    /// A PLC is not given its sign of life.
    Heartbeat,
    /// Another program holds miners of this daemon.
    Stranger,
    /// The other machine of a pair is not heard, or it is not clear which of the two leads.
    StandBy,
}

impl Kind {
    /// All, in the order of the documentation.
    pub const ALL: [Self; 21] = [
        Self::MeterLost,
        Self::MeterImplausible,
        Self::SignalLost,
        Self::SignalDegraded,
        Self::OverLimit,
        Self::Shortfall,
        Self::ContractBroken,
        Self::Breach,
        Self::MinerStraggler,
        Self::MinerFault,
        Self::MinerSilent,
        Self::ManyMiners,
        Self::SurplusUnused,
        Self::Clock,
        Self::Disk,
        Self::Interlock,
        Self::EmergencyStop,
        Self::Breaker,
        Self::Heartbeat,
        Self::Stranger,
        Self::StandBy,
    ];

    /// As written in metrics, configurations and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MeterLost => "meter-lost",
            Self::MeterImplausible => "meter-implausible",
            Self::SignalLost => "signal-lost",
            Self::SignalDegraded => "signal-degraded",
            Self::OverLimit => "over-limit",
            Self::Shortfall => "shortfall",
            Self::ContractBroken => "contract-broken",
            Self::Breach => "breach",
            Self::MinerStraggler => "miner-straggler",
            Self::MinerFault => "miner-fault",
            Self::MinerSilent => "miner-silent",
            Self::ManyMiners => "many-miners",
            Self::SurplusUnused => "surplus-unused",
            Self::Clock => "clock",
            Self::Disk => "disk",
            Self::Interlock => "interlock",
            Self::EmergencyStop => "emergency-stop",
            Self::Breaker => "breaker",
            Self::Heartbeat => "heartbeat",
            Self::Stranger => "stranger",
            Self::StandBy => "stand-by",
        }
    }

    /// The kind of a name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it may be about people, plant or the grid, so that a window mutes it only when it is told to by name.
    pub const fn is_of_safety(self) -> bool {
        !matches!(
            self,
            Self::SignalDegraded
                | Self::MinerStraggler
                | Self::MinerFault
                | Self::MinerSilent
                | Self::SurplusUnused
                | Self::Clock
                | Self::Disk
        )
    }

    /// For how long it must last before it is an alarm. What reports it has waited already where it had to (a meter is
    /// stale after its own time, a miner is late after its own grace); this keeps out what comes and goes.
    pub const fn after(self) -> Duration {
        Duration::from_secs(match self {
            // A breach has waited for as long as the source allows.
            Self::Breaker | Self::Interlock | Self::EmergencyStop | Self::Stranger | Self::Breach => 0,
            Self::Heartbeat => 5,
            Self::MeterLost
            | Self::MeterImplausible
            | Self::OverLimit
            | Self::ContractBroken
            | Self::StandBy => 10,
            Self::SignalLost | Self::Disk => 15,
            Self::Shortfall | Self::ManyMiners => 30,
            Self::MinerFault | Self::MinerSilent | Self::SignalDegraded => 60,
            Self::MinerStraggler => 120,
            // Starts and clouds are over by then.
            Self::SurplusUnused => 180,
            // A machine that has just started asks for the time for a while.
            Self::Clock => 300,
        })
    }

    /// For how long it must be well before the alarm is over: what comes back sooner is the same episode.
    pub const fn calm(self) -> Duration {
        Duration::from_secs(match self {
            Self::Breaker | Self::Interlock | Self::EmergencyStop | Self::Stranger => 5,
            Self::MinerStraggler | Self::MinerFault | Self::MinerSilent | Self::ManyMiners => 120,
            _ => 60,
        })
    }

    /// What was wrong with a subject, in the past tense: for one that is well again.
    pub fn was(self, subject: &str) -> String {
        let (of, what) = match self {
            Self::MeterLost => ("the meter", "gave no fresh value"),
            Self::MeterImplausible => ("the meter", "told what could not be"),
            Self::SignalLost => ("", "was not heard"),
            Self::SignalDegraded => ("", "was in doubt"),
            Self::OverLimit => ("", "took more than a limit allowed"),
            Self::Shortfall => ("the miners of", "drew more than allowed"),
            Self::ContractBroken => ("servers of", "were held below their contract"),
            Self::Breach => ("more was drawn than", "allowed"),
            Self::MinerStraggler => ("", "did not follow"),
            Self::MinerFault => ("", "reported a fault of its own"),
            Self::MinerSilent => ("", "did not answer"),
            Self::ManyMiners => ("many miners of", "were in trouble"),
            Self::SurplusUnused => ("the miners of", "left surplus unused"),
            Self::Clock => ("the", "was not synchronised"),
            Self::Disk => ("the", "could not be written"),
            Self::Interlock => ("the interlock of", "did not permit its miners to run"),
            Self::EmergencyStop => ("the emergency stop of", "kept its miners stopped"),
            Self::Breaker => ("the breaker of", "was not seen closed"),
            Self::Heartbeat => ("the heartbeat", "was not given"),
            Self::Stranger => ("other", "held what this daemon holds"),
            Self::StandBy => ("the", "was in trouble"),
        };
        [of, subject, what].into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }

    /// What to do about it, for whoever is called at night.
    pub const fn help(self) -> &'static str {
        match self {
            Self::MeterLost => {
                "check the meter's power, cable and gateway; `ballast meter read NAME` tells what answers"
            }
            Self::MeterImplausible => {
                "check its current transformers, its wiring and `invert`; `ballast meter verify` finds what is wrong"
            }
            Self::SignalLost => {
                "check the connection to the source; its fail-safe value holds until it is heard again"
            }
            Self::SignalDegraded => "look at what it says; the orders that are understood are obeyed",
            Self::OverLimit => {
                "find the load that draws it; if it is miners, `ballast limit set --emergency` stops all of them"
            }
            Self::Shortfall => {
                "find out why what is named does not obey, or switch it off by hand; where all obey, only switching off by hand is less"
            }
            Self::ContractBroken => {
                "tell the tenant, and find what takes the room below the limit that is named: other loads, or what does not obey"
            }
            Self::Breach => {
                "find out who draws it: what is named as not following, loads that are no miners, or contracts that leave no less"
            }
            Self::MinerStraggler => {
                "look at the miner's own page: is its power limit set by somebody else, is it tuning?"
            }
            Self::MinerFault => {
                "look at its own page: fans, hash boards, power supply, pool; of a server, its BMC's log and its GPUs"
            }
            Self::MinerSilent => {
                "check its power, its network cable and whether its address has changed; of one that answers and has not answered an order, look at its own page"
            }
            Self::ManyMiners => {
                "look for what they share: a switch, a breaker, a password, a firmware update"
            }
            Self::SurplusUnused => {
                "look at why on the page; miners that are asleep or in trouble are named there"
            }
            Self::Clock => "see that chrony or systemd-timesyncd runs and reaches its servers",
            Self::Disk => {
                "check the disk: space, rights, health; orders are obeyed, and a restart would forget the new ones"
            }
            Self::Interlock => {
                "its miners sleep until it permits them to run; is what must run beside them running?"
            }
            Self::EmergencyStop => {
                "find out who has pressed it and why; when all is well, turn it back and `ballast stops release CIRCUIT --by NAME`"
            }
            Self::Breaker => {
                "a breaker that was opened stays open until somebody closes it by hand; find out why first"
            }
            Self::Heartbeat => {
                "check the PLC's power, its cable and its registers; it opens its contactor when it does not hear"
            }
            Self::Stranger => "stop the other program: two masters of one miner move it to and fro",
            Self::StandBy => {
                "look at both machines: does exactly one have the address that moves, and do they reach each other?"
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_lead_back() {
        let names: BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        assert_eq!(names.len(), Kind::ALL.len());
        assert!(Kind::ALL.iter().all(|kind| Kind::named(kind.name()) == Some(*kind)));
        assert!(Severity::ALL.iter().all(|severity| Severity::named(severity.name()) == Some(*severity)));
        assert!(Kind::ALL.iter().all(|kind| kind.was("pcc").contains("pcc")));
        assert!(Kind::named("").is_none() && Severity::named("fatal").is_none());
    }
}
