//! Real containers, made by a real root process, of one layer with busybox in it.
//!
//! The root process has to be single-threaded, which a test never is: it is the example
//! `root_process`, which cargo builds beside the tests.

mod house;

mod life;
mod rules;
