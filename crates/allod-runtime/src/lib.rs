//! Runs one workload on this machine and says truthfully how it is doing.
//!
//! It never decides what should run.
