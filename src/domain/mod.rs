//! Pure decisions: what a key is, what it may do, how limits and periods count, and the one order in
//! which a request is checked.
//!
//! Values go in, values come out. Sealed types (`Proof`, `Standing`, `Taken`, `RateReceipt`, `Admission`,
//! `MeterReceipt`, `Grant`, `OpenPass`) can be made only by the comparison or the count they stand for, so
//! code that forgets a check does not compile.
//!
//! Never here: an await, a lock (atomics are fine), a log line, a clock, randomness, I/O, serde. Time and
//! random bytes come in as arguments.

pub mod address;
pub mod assertion;
mod atomic;
pub mod audit;
pub mod believed_time;
pub mod causes;
pub mod counts;
pub mod decision;
pub mod denial;
pub mod errand;
pub mod explain;
pub mod facts;
pub mod hash;
pub mod id;
pub mod identity;
pub mod key;
pub mod legacy;
pub mod mcp;
pub mod meter;
pub mod period;
pub mod permission;
pub mod profile;
pub mod proof;
pub mod rate;
pub mod record;
pub mod replays;
pub mod rotation;
pub mod signature;
pub mod tether;
pub mod time;
pub mod usage;
