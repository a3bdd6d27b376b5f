//! Real containers, made by a real root process, of one layer with busybox in it.
//!
//! The root process has to be single-threaded, which a test never is: it is the example
//! `root_process`, which cargo builds beside the tests.

#![allow(
    clippy::unwrap_used,
    reason = "the helpers of tests are tests, too, which clippy cannot see"
)]

mod escape;
mod fence;
mod house;
mod world;

mod adoption;
mod end;
mod interruption;
mod kill_points;
mod layer;
mod life;
mod restart;
mod rules;
mod storage;
mod supervise;
mod tend;
mod tether;
mod turn;
mod volume;
