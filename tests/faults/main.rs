#![cfg(test)]
//! What goes wrong around a daemon: it is killed, its disk is full or slow or takes nothing, its clock is set, its
//! callers are too many, too slow or strangers.
//!
//! All of it is done to the real binary, over loopback. Each module's head says what it plays and how to play it for
//! long: plain `cargo test` runs the short ones, a few seconds each; the long ones are ignored and run by name. Seeds
//! are printed. What a machine cannot do is told as `NOT CHECKED`, and only then.
//!
//! Never here: an assertion about how fast somebody was served, a signal to a process that was not started here.

#[path = "../harness/mod.rs"]
mod harness;

mod changes;
mod clock;
mod crowds;
mod disk;
mod floods;
mod full_disk;
mod kills;
mod migration;
mod operator;
mod read_only;
mod shim;
mod stops;
