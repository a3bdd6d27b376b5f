//! What bills look like, and their proofs, field by field.

use super::{Field, Shape, View, field};

// What a header is shown to be the network's by.
pub(super) const GENESIS: Field = field(
    "genesis",
    Shape::Text,
    "The genesis document: its hash is the network's id.",
);
pub(super) const HEADER: Field = field("header", Shape::Text, "A header.");
pub(super) const CERTIFICATE: Field = field(
    "certificate",
    Shape::Text,
    "The quorum's certificate for it.",
);
pub(super) const HANDOVERS: Field = field(
    "handovers",
    Shape::List(&Shape::Text),
    "How the network's validators came to be those who certified it: each handover, oldest first.",
);

/// A bill.
pub static BILL: View = View {
    name: "Bill",
    summary: "A bill.",
    fields: &[
        field("payer", Shape::Id("acct"), "Who pays."),
        field("month", Shape::Count, "The month, as `yyyymm` in UTC."),
        field("lines", Shape::List(&Shape::View(&BILL_LINE)), "Its lines."),
        field("total", Shape::Amount, "Their sum."),
        field(
            "to_oneself",
            Shape::Amount,
            "What of it one owes oneself, for leases on one's own nodes: it nets to zero.",
        ),
    ],
};

/// One lease on a bill.
static BILL_LINE: View = View {
    name: "BillLine",
    summary: "One lease on a bill.",
    fields: &[
        field("lease", Shape::Id("lease"), "The lease."),
        field(
            "app",
            Shape::Text,
            "The app's name, where this node can read it.",
        ),
        field(
            "service",
            Shape::Text,
            "The service's name, where this node can read it.",
        ),
        field(
            "payee",
            Shape::Maybe(&Shape::Id("acct")),
            "Who is paid, where the lease is still in the state.",
        ),
        field(
            "price_per_hour",
            Shape::Maybe(&Shape::Amount),
            "The price reserved for an hour, where the lease is still in the state.",
        ),
        field("ready_ms", Shape::Count, "Ready time in milliseconds."),
        field("amount", Shape::Amount, "What it cost."),
        field(
            "usage",
            Shape::View(&USAGE),
            "What was used, for information: the bill is ready time.",
        ),
    ],
};

/// What was used.
static USAGE: View = View {
    name: "Usage",
    summary: "What was used.",
    fields: &[
        field("cpu_ms", Shape::Count, "CPU time in milliseconds."),
        field(
            "memory_mib_seconds",
            Shape::Count,
            "Memory in use, summed over time.",
        ),
        field(
            "storage_mib_seconds",
            Shape::Count,
            "Disk in use, summed over time.",
        ),
        field("network_received_bytes", Shape::Count, "Bytes received."),
        field("network_sent_bytes", Shape::Count, "Bytes sent."),
    ],
};

/// Everything needed to recompute a bill; bytes are canonical encodings in hexadecimal.
pub static BILL_PROOF: View = View {
    name: "BillProof",
    summary: "Everything needed to recompute a bill; bytes are canonical encodings in hexadecimal.",
    fields: &[
        GENESIS,
        HEADER,
        CERTIFICATE,
        HANDOVERS,
        field(
            "lines",
            Shape::List(&Shape::View(&LINE_PROOF)),
            "The lines with their proofs.",
        ),
    ],
};

/// One line of a bill with what makes it up.
static LINE_PROOF: View = View {
    name: "LineProof",
    summary: "One line of a bill with what makes it up.",
    fields: &[
        field("lease", Shape::Id("lease"), "The lease."),
        field(
            "line",
            Shape::View(&PROVED),
            "The stored line and its proof.",
        ),
        field(
            "row",
            Shape::View(&PROVED),
            "The stored lease and its proof.",
        ),
        field(
            "items",
            Shape::List(&Shape::View(&ITEM)),
            "The raw evidence, in order.",
        ),
    ],
};

/// A stored value and the proof that it is in the state.
pub(super) static PROVED: View = View {
    name: "Proved",
    summary: "A stored value and the proof that it is in the state.",
    fields: &[
        field(
            "value",
            Shape::Text,
            "The value's canonical bytes, in hexadecimal; empty where there is none.",
        ),
        field(
            "proof",
            Shape::Text,
            "The proof's canonical bytes, in hexadecimal.",
        ),
    ],
};

/// One stretch of one lease's life.
static ITEM: View = View {
    name: "Item",
    summary: "One stretch of one lease's life.",
    fields: &[
        field("lease", Shape::Id("lease"), "The lease."),
        field("epoch", Shape::Count, "Its epoch."),
        field("from_ms", Shape::Count, "Where the stretch begins."),
        field("until_ms", Shape::Count, "Where it ends."),
        field(
            "ready_ms",
            Shape::Count,
            "For how long of it the replica was ready.",
        ),
        field("usage", Shape::View(&USAGE), "What was used in it."),
    ],
};
