//! Decides, from a state and a block, the next state and the receipts.
//!
//! It never reads a clock, a file, a socket, the environment or a random number; it knows no floats, no hash maps and no async runtime.
