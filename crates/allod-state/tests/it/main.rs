//! The law through its public door: blocks in, states and receipts out.

mod app;
mod credit;
mod envelope;
mod evidence;
mod world;
