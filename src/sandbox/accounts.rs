//! The connected accounts that the sandbox pretends to have: the same few for every workspace, always.
//!
//! They are examples, and their names say so. Posts may name other accounts; nobody looks them up.
//!
//! Never here: anything that changes.

use serde::Serialize;

/// A connected social account.
#[derive(Serialize, Debug)]
pub(super) struct Account {
    pub(super) id: &'static str,
    platform: &'static str,
    handle: &'static str,
    name: &'static str,
    status: &'static str,
}

/// Every account there is.
pub(super) const ACCOUNTS: [Account; 3] = [
    Account {
        id: "acct_1",
        platform: "linkedin",
        handle: "example-company",
        name: "Example Company",
        status: "connected",
    },
    Account { id: "acct_2", platform: "x", handle: "@example", name: "Example", status: "connected" },
    Account {
        id: "acct_3",
        platform: "instagram",
        handle: "@example.studio",
        name: "Example Studio",
        status: "connected",
    },
];
