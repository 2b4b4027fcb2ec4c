//! Why an event is not obeyed.

/// What is wrong with an event. Such an event is skipped, and what is known of it stays in force.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Fault {
    /// It is no JSON object.
    #[error("it is not an object")]
    NotAnObject,
    /// A field that an event cannot do without.
    #[error("it has no usable `{0}`")]
    Missing(&'static str),
    /// A field that cannot be read.
    #[error("its `{field}` cannot be read: {value}")]
    Unreadable {
        /// Which field.
        field: &'static str,
        /// What stands there, shortened.
        value: String,
    },
    /// More than is looked at.
    #[error("it has more than {most} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        most: usize,
    },
    /// A unit that is none of power.
    #[error(
        "the values of {payload} are in `{unit}`, which is no unit of power that is known here (W, KW, MW); have the \
         programme corrected, or map the payload type"
    )]
    Unit {
        /// The payload type.
        payload: String,
        /// The unit as it was written.
        unit: String,
    },
    /// A value that is no number of the expected kind.
    #[error("the value of {payload} in interval {interval} is {value}, where {expected} is expected")]
    Value {
        /// The payload type.
        payload: String,
        /// The interval, by its id.
        interval: String,
        /// What stands there, shortened.
        value: String,
        /// What should.
        expected: &'static str,
    },
    /// Several values in an interval without an end.
    #[error("interval {0} has several values and no end, so it cannot be divided between them")]
    Undivided(String),
}
