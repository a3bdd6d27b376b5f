//! The law through its public door: blocks in, states and receipts out.
#![allow(
    clippy::unwrap_used,
    reason = "a helper that fails is a test that fails"
)]

mod absences;
mod app;
mod asked;
mod audit;
mod budget;
mod certificate;
mod city;
mod credit;
mod dice;
mod envelope;
mod evidence;
mod exclusive;
mod golden;
mod holdings;
mod hostile;
mod invite;
mod means;
mod others;
mod plans;
mod pool;
mod property;
mod readers;
mod restored;
mod return_of;
mod rollout;
mod room;
mod samples;
mod signature;
mod total;
mod uptime;
mod validators;
mod whereabouts;
mod witnesses;
mod world;
