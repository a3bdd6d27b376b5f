//! What apps look like, field by field.

use super::{Shape, View, field, optional};

/// An app.
pub static APP: View = View {
    name: "App",
    summary: "An app.",
    fields: &[
        field("app", Shape::Id("app"), "The app."),
        field(
            "name",
            Shape::Text,
            "Its name, where this node can read it.",
        ),
        field("revision", Shape::Count, "Its newest revision."),
        field(
            "revisions",
            Shape::List(&Shape::Count),
            "The revisions that can be gone back to.",
        ),
        field(
            "services",
            Shape::List(&Shape::View(&SERVICE)),
            "Its services.",
        ),
        field(
            "price_per_hour",
            Shape::Amount,
            "What its active leases cost in an hour.",
        ),
    ],
};

/// A service of an app.
static SERVICE: View = View {
    name: "Service",
    summary: "A service of an app.",
    fields: &[
        field(
            "name",
            Shape::Text,
            "Its name, where this node can read it.",
        ),
        field("image", Shape::Text, "The image as its owner wrote it."),
        field("wanted", Shape::Count, "How many replicas are wanted."),
        field("ready", Shape::Count, "How many are ready."),
        field(
            "is_exclusive",
            Shape::Flag,
            "Whether two of it never run at once.",
        ),
        field(
            "is_halted",
            Shape::Flag,
            "Whether a new revision failed so often that the old one keeps serving.",
        ),
        field(
            "urls",
            Shape::List(&Shape::Text),
            "Where the ingress serves it.",
        ),
        field(
            "published",
            Shape::List(&Shape::Text),
            "Ports of this machine that lead to it.",
        ),
        field(
            "replicas",
            Shape::List(&Shape::View(&REPLICA)),
            "Its replicas.",
        ),
    ],
};

/// A replica of a service.
static REPLICA: View = View {
    name: "Replica",
    summary: "A replica of a service.",
    fields: &[
        field("replica", Shape::Count, "Its index."),
        field(
            "lease",
            Shape::Maybe(&Shape::Id("lease")),
            "Its lease, where it has one.",
        ),
        field("epoch", Shape::Count, "The lease's epoch."),
        field(
            "revision",
            Shape::Maybe(&Shape::Count),
            "The revision it runs.",
        ),
        field(
            "node",
            Shape::Maybe(&Shape::Id("node")),
            "The node that runs it.",
        ),
        field(
            "phase",
            Shape::Maybe(&Shape::View(&PHASE)),
            "Where the lease is in its life.",
        ),
        field("stage", Shape::Text, "How far it is, in words."),
        field(
            "detail",
            Shape::Maybe(&Shape::Text),
            "What went wrong last, in words.",
        ),
        field(
            "address",
            Shape::Maybe(&Shape::Text),
            "Its address inside the app's network.",
        ),
        field(
            "failures",
            Shape::Count,
            "How many times in a row it failed.",
        ),
    ],
};

/// Where a lease is in its life.
static PHASE: View = View {
    name: "Phase",
    summary: "Where a lease is in its life.",
    fields: &[
        field(
            "phase",
            Shape::OneOf(&["placed", "ready", "ended"]),
            "The phase.",
        ),
        optional(
            "since_ms",
            Shape::Count,
            "Block time since when it is ready.",
        ),
        optional("cause", Shape::Any, "Why it ended."),
        optional("at_ms", Shape::Count, "Block time at which it ended."),
    ],
};
