//! Tests of the control law as a whole: properties of a single step, and closed loops against a small plant.

mod battery;
mod classes;
mod closed_loop;
mod combining;
mod evidence;
mod example;
mod lagging_meters;
mod lead;
mod losses;
mod maintenance;
mod orders;
mod pausing;
mod plant;
mod points;
mod properties;
mod protection;
mod quality;
mod responses;
mod slow_meters;
mod standing_meters;
mod start;
mod stops;
mod switching_loads;
