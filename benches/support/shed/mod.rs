//! What the benchmark of a shed needs: the far side, and the floor.

pub mod floor;
pub mod miners;
