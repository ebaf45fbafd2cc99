//! The shipped profiles held against what their pages say, written out here once more.
//!
//! Never here: a rule of reading (each lies beside its reader).

mod refusals;
mod spoken;
mod tables;
