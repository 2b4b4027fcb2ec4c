//! Tests of the control law as a whole: properties of a single step, and closed loops against a small plant.

mod closed_loop;
mod slow_meters;
mod plant;
mod properties;
mod quality;
mod start;
