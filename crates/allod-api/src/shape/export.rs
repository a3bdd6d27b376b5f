//! What an account takes along when it leaves, field by field.

use super::bill::{CERTIFICATE, GENESIS, HANDOVERS, HEADER, PROVED};
use super::{Shape, View, field};

/// Everything that the ledger holds of an account, with proofs.
pub static BELONGINGS: View = View {
    name: "Belongings",
    summary: "Everything that the ledger holds of an account, with proofs; bytes are canonical encodings in hexadecimal.",
    fields: &[
        field("network", Shape::Id("net"), "The network."),
        field("account", Shape::Id("acct"), "Whose they are."),
        GENESIS,
        HEADER,
        CERTIFICATE,
        HANDOVERS,
        field(
            "holdings",
            Shape::View(&PROVED),
            "How many rows of each kind the account has, as the state counts them: so that none is left out.",
        ),
        field(
            "rows",
            Shape::List(&Shape::View(&ROW)),
            "The rows, in the order of their keys.",
        ),
    ],
};

static ROW: View = View {
    name: "OwnedRow",
    summary: "A row of the state and the proof that it is there.",
    fields: &[
        field(
            "key",
            Shape::Text,
            "The key under which it is stored: the number of its table, and its canonical bytes.",
        ),
        field("value", Shape::Text, "The row."),
        field("proof", Shape::Text, "The proof that it is there."),
    ],
};

/// A sealed manifest.
pub static SEALED: View = View {
    name: "Sealed",
    summary: "A sealed manifest.",
    fields: &[
        field(
            "digest",
            Shape::Text,
            "The hash of its ciphertext, by which revisions name it.",
        ),
        field("ciphertext", Shape::Text, "The ciphertext in hexadecimal."),
    ],
};
