//! What can go wrong with a miner, by the names that scenario files use.

use std::time::Duration;

/// Longest delay of a slow answer.
const SLOW_MAX: Duration = Duration::from_secs(600);
/// Longest time that a reboot may keep a miner down.
const OFF_MAX: Duration = Duration::from_secs(86_400);

/// A fault, with what it needs to know.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// Connections are refused and open ones reset. The miner goes on as it is.
    Unreachable,
    /// Connections are accepted and never answered.
    Hang,
    /// Every answer is late.
    Slow {
        /// By how much.
        delay: Duration,
    },
    /// Commands are answered with success and not obeyed.
    IgnoreCommands,
    /// Commands are answered with an error.
    RejectCommands,
    /// The control board restarts. Happens once; there is nothing to clear.
    Reboot {
        /// Time until it answers again.
        off_for: Duration,
    },
    /// The reported power is the true one multiplied by this.
    Lies {
        /// From 0 to 10; 1 is the truth.
        factor: f64,
    },
    /// The write interface is off, as after a firmware update.
    DropsWriteApi,
    /// Answers are not what the vendor documents.
    Garbage,
    /// Hashing stopped by a fault of its own; it starts again when the fault is cleared.
    Trips,
    /// Without power: it draws nothing and nothing answers. When the fault is cleared it starts by itself and goes to its
    /// maximum, whatever it was told before.
    PowerCut {
        /// From the return of the power until it answers again.
        boot: Duration,
    },
}

/// A fault without its parameters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[expect(missing_docs, reason = "each is explained at the Fault of the same name")]
pub enum FaultKind {
    Unreachable,
    Hang,
    Slow,
    IgnoreCommands,
    RejectCommands,
    Reboot,
    Lies,
    DropsWriteApi,
    Garbage,
    Trips,
    PowerCut,
}

/// The parameters that a fault may have; a scenario file gives those that its fault needs.
#[derive(Clone, Copy, Debug, PartialEq, Default)]
pub struct FaultParams {
    /// For `slow`; at most ten minutes.
    pub delay: Option<Duration>,
    /// For `reboot`; at most a day.
    pub off_for: Option<Duration>,
    /// For `lies`, from 0 to 10.
    pub factor: Option<f64>,
    /// For `power-cut`; at most a day.
    pub boot: Option<Duration>,
}

/// Why a fault in a scenario file makes no sense.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum FaultError {
    /// No fault of this name.
    #[error("there is no fault \"{name}\"; faults are {known}")]
    Unknown {
        /// As written.
        name: String,
        /// All names.
        known: String,
    },
    /// A parameter is missing.
    #[error("the fault \"{fault}\" needs \"{parameter}\"")]
    Missing {
        /// Which fault.
        fault: &'static str,
        /// What it lacks.
        parameter: &'static str,
    },
    /// A parameter is outside of its range.
    #[error("the fault \"{fault}\" takes \"{parameter}\" {range}")]
    Range {
        /// Which fault.
        fault: &'static str,
        /// Which parameter.
        parameter: &'static str,
        /// The range in words.
        range: &'static str,
    },
    /// A parameter that this fault does not have.
    #[error("the fault \"{fault}\" has no \"{parameter}\"; remove it")]
    Superfluous {
        /// Which fault.
        fault: &'static str,
        /// What it does not have.
        parameter: &'static str,
    },
}

impl FaultKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Unreachable,
        Self::Hang,
        Self::Slow,
        Self::IgnoreCommands,
        Self::RejectCommands,
        Self::Reboot,
        Self::Lies,
        Self::DropsWriteApi,
        Self::Garbage,
        Self::Trips,
        Self::PowerCut,
    ];

    /// As written in scenario files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Hang => "hang",
            Self::Slow => "slow",
            Self::IgnoreCommands => "ignore-commands",
            Self::RejectCommands => "reject-commands",
            Self::Reboot => "reboot",
            Self::Lies => "lies",
            Self::DropsWriteApi => "drops-write-api",
            Self::Garbage => "garbage",
            Self::Trips => "trips",
            Self::PowerCut => "power-cut",
        }
    }

    /// The kind of this name; underscores count as hyphens.
    ///
    /// # Errors
    /// [`FaultError::Unknown`].
    pub fn from_name(name: &str) -> Result<Self, FaultError> {
        let wanted = name.replace('_', "-");
        Self::ALL.into_iter().find(|kind| kind.name() == wanted).ok_or_else(|| FaultError::Unknown {
            name: name.chars().take(40).collect(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

impl Fault {
    /// Its kind.
    pub const fn kind(self) -> FaultKind {
        match self {
            Self::Unreachable => FaultKind::Unreachable,
            Self::Hang => FaultKind::Hang,
            Self::Slow { .. } => FaultKind::Slow,
            Self::IgnoreCommands => FaultKind::IgnoreCommands,
            Self::RejectCommands => FaultKind::RejectCommands,
            Self::Reboot { .. } => FaultKind::Reboot,
            Self::Lies { .. } => FaultKind::Lies,
            Self::DropsWriteApi => FaultKind::DropsWriteApi,
            Self::Garbage => FaultKind::Garbage,
            Self::Trips => FaultKind::Trips,
            Self::PowerCut { .. } => FaultKind::PowerCut,
        }
    }

    /// The fault of a scenario file.
    ///
    /// # Errors
    /// [`FaultError`] for an unknown name and for a parameter that is missing, out of range or not of this fault.
    pub fn parse(name: &str, params: &FaultParams) -> Result<Self, FaultError> {
        let kind = FaultKind::from_name(name)?;
        let fault = kind.name();
        for (given, owner, parameter) in [
            (params.delay.is_some(), FaultKind::Slow, "delay"),
            (params.off_for.is_some(), FaultKind::Reboot, "off_for"),
            (params.factor.is_some(), FaultKind::Lies, "factor"),
            (params.boot.is_some(), FaultKind::PowerCut, "boot"),
        ] {
            match (given, owner == kind) {
                (true, false) => return Err(FaultError::Superfluous { fault, parameter }),
                (false, true) => return Err(FaultError::Missing { fault, parameter }),
                _ => {}
            }
        }
        let range = |parameter, range| Err(FaultError::Range { fault, parameter, range });
        Ok(match kind {
            FaultKind::Unreachable => Self::Unreachable,
            FaultKind::Hang => Self::Hang,
            FaultKind::IgnoreCommands => Self::IgnoreCommands,
            FaultKind::RejectCommands => Self::RejectCommands,
            FaultKind::DropsWriteApi => Self::DropsWriteApi,
            FaultKind::Garbage => Self::Garbage,
            FaultKind::Trips => Self::Trips,
            FaultKind::Slow => match params.delay.unwrap_or_default() {
                delay if delay <= SLOW_MAX => Self::Slow { delay },
                _ => return range("delay", "of ten minutes at most"),
            },
            FaultKind::Reboot => match params.off_for.unwrap_or_default() {
                off_for if off_for <= OFF_MAX => Self::Reboot { off_for },
                _ => return range("off_for", "of one day at most"),
            },
            FaultKind::Lies => match params.factor.unwrap_or_default() {
                factor if (0.0..=10.0).contains(&factor) => Self::Lies { factor },
                _ => return range("factor", "from 0 to 10"),
            },
            FaultKind::PowerCut => match params.boot.unwrap_or_default() {
                boot if boot <= OFF_MAX => Self::PowerCut { boot },
                _ => return range("boot", "of one day at most"),
            },
        })
    }
}

/// The faults that a miner has at present.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) unreachable: bool,
    pub(super) hang: bool,
    pub(super) slow: Option<Duration>,
    pub(super) ignores: bool,
    pub(super) rejects: bool,
    pub(super) lies: Option<f64>,
    pub(super) write_api_off: bool,
    pub(super) garbage: bool,
}

impl Faults {
    /// Notes a fault; reboots, trips and cuts of the power belong to the physics.
    pub(super) fn set(&mut self, fault: Fault) {
        match fault {
            Fault::Unreachable => self.unreachable = true,
            Fault::Hang => self.hang = true,
            Fault::Slow { delay } => self.slow = Some(delay.min(SLOW_MAX)),
            Fault::IgnoreCommands => self.ignores = true,
            Fault::RejectCommands => self.rejects = true,
            Fault::Lies { factor } => self.lies = factor.is_finite().then_some(factor.clamp(0.0, 10.0)),
            Fault::DropsWriteApi => self.write_api_off = true,
            Fault::Garbage => self.garbage = true,
            Fault::Reboot { .. } | Fault::Trips | Fault::PowerCut { .. } => {}
        }
    }

    /// Forgets a fault.
    pub(super) fn unset(&mut self, kind: FaultKind) {
        match kind {
            FaultKind::Unreachable => self.unreachable = false,
            FaultKind::Hang => self.hang = false,
            FaultKind::Slow => self.slow = None,
            FaultKind::IgnoreCommands => self.ignores = false,
            FaultKind::RejectCommands => self.rejects = false,
            FaultKind::Lies => self.lies = None,
            FaultKind::DropsWriteApi => self.write_api_off = false,
            FaultKind::Garbage => self.garbage = false,
            FaultKind::Reboot | FaultKind::Trips | FaultKind::PowerCut => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_read_back() {
        let all = FaultParams {
            delay: Some(Duration::from_secs(1)),
            off_for: Some(Duration::from_secs(2)),
            factor: Some(0.5),
            boot: Some(Duration::from_secs(3)),
        };
        for kind in FaultKind::ALL {
            let params = FaultParams {
                delay: all.delay.filter(|_| kind == FaultKind::Slow),
                off_for: all.off_for.filter(|_| kind == FaultKind::Reboot),
                factor: all.factor.filter(|_| kind == FaultKind::Lies),
                boot: all.boot.filter(|_| kind == FaultKind::PowerCut),
            };
            assert_eq!(Fault::parse(kind.name(), &params).map(Fault::kind), Ok(kind));
            let underscored = kind.name().replace('-', "_");
            assert_eq!(Fault::parse(&underscored, &params).map(Fault::kind), Ok(kind));
        }
    }

    #[test]
    fn an_unknown_fault_is_answered_with_the_known_ones() {
        let error = Fault::parse("explodes", &FaultParams::default()).unwrap_err().to_string();
        assert!(error.contains("explodes") && error.contains("drops-write-api"), "{error}");
    }

    #[test]
    fn missing_superfluous_and_wild_parameters_are_refused() {
        let none = FaultParams::default();
        assert!(matches!(Fault::parse("slow", &none), Err(FaultError::Missing { .. })));
        let factor = FaultParams { factor: Some(1.0), ..none };
        assert!(matches!(Fault::parse("hang", &factor), Err(FaultError::Superfluous { .. })));
        for wild in [f64::NAN, -1.0, 11.0] {
            let params = FaultParams { factor: Some(wild), ..none };
            assert!(matches!(Fault::parse("lies", &params), Err(FaultError::Range { .. })));
        }
    }
}
