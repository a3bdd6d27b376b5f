//! What machines look like, field by field.

use super::{Shape, View, field};

/// A machine.
pub static NODE: View = View {
    name: "Node",
    summary: "A machine.",
    fields: &[
        field("node", Shape::Id("node"), "The node."),
        field("name", Shape::Text, "What its operator calls it."),
        field("operator", Shape::Id("acct"), "Who operates it."),
        field(
            "sealing_key",
            Shape::Text,
            "The key that manifests are sealed to for it, in hexadecimal.",
        ),
        field(
            "region",
            Shape::Maybe(&Shape::Text),
            "Where it is, as its operator says.",
        ),
        field("capacity", Shape::View(&RESOURCES), "All it gives."),
        field("used", Shape::View(&RESOURCES), "What leases take of it."),
        field(
            "prices",
            Shape::Maybe(&Shape::View(&PRICES)),
            "What it asks.",
        ),
        field(
            "isolation",
            Shape::List(&Shape::OneOf(&["container", "vm", "wasm"])),
            "The isolation classes it runs.",
        ),
        field(
            "tags",
            Shape::List(&Shape::Text),
            "What its operator says of it.",
        ),
        field(
            "is_cordoned",
            Shape::Flag,
            "Whether it takes no new replicas.",
        ),
        field(
            "is_draining",
            Shape::Flag,
            "Whether those that it has are to go elsewhere.",
        ),
        field(
            "is_unreachable",
            Shape::Flag,
            "Whether witnesses have given it up, and it has not come back.",
        ),
        field(
            "reputation_ppm",
            Shape::Count,
            "The share of the time in which others saw it there, in parts of a million; half of them for a newcomer.",
        ),
        field(
            "days",
            Shape::List(&Shape::View(&DAY)),
            "What that comes from, day by day.",
        ),
    ],
};

/// What others saw of a machine in a day.
static DAY: View = View {
    name: "Day",
    summary: "What others saw of a machine in a day.",
    fields: &[
        field("day", Shape::Count, "Days since 1970, in block time."),
        field(
            "watched_ms",
            Shape::Count,
            "Milliseconds in which others watched it, or it was given up.",
        ),
        field(
            "up_ms",
            Shape::Count,
            "Of these, the milliseconds in which it was there.",
        ),
    ],
};

/// Another machine, as the one that answers reaches it.
pub static PEER: View = View {
    name: "Peer",
    summary: "Another machine, as the one that answers reaches it.",
    fields: &[
        field("node", Shape::Id("node"), "The node."),
        field(
            "name",
            Shape::Maybe(&Shape::Text),
            "What its operator calls it, where it is listed.",
        ),
        field(
            "by",
            Shape::Maybe(&Shape::Text),
            "The address or relay by which it is reached now.",
        ),
        field(
            "is_direct",
            Shape::Flag,
            "Whether that leads there without a relay.",
        ),
        field(
            "round_trip_us",
            Shape::Count,
            "The time for there and back, in microseconds.",
        ),
        field(
            "problem",
            Shape::Maybe(&Shape::Text),
            "Why it was not reached the last time that it was not.",
        ),
        field(
            "relay",
            Shape::Maybe(&Shape::Id("node")),
            "The member whose relay it is reached by now.",
        ),
        field(
            "addresses",
            Shape::List(&Shape::Text),
            "Where it says that it is.",
        ),
        field(
            "relayed_by",
            Shape::List(&Shape::Id("node")),
            "The members on whose relays it says that it listens.",
        ),
    ],
};

/// A machine's part in deciding blocks.
pub static VALIDATOR: View = View {
    name: "Validator",
    summary: "A machine that validates, is elected to, or stands for it.",
    fields: &[
        field("node", Shape::Id("node"), "The node."),
        field(
            "name",
            Shape::Maybe(&Shape::Text),
            "What its operator calls it, where it is listed.",
        ),
        field(
            "operator",
            Shape::Maybe(&Shape::Id("acct")),
            "Who operates it, where it is listed.",
        ),
        field(
            "standing",
            Shape::OneOf(&["validates", "waits", "stands", "barred"]),
            "Whether it decides, is elected and waits until enough are, stands for election, or has signed two things that conflict and never is elected again.",
        ),
        field("power", Shape::Count, "Its votes among all."),
        field(
            "votes",
            Shape::List(&Shape::Id("node")),
            "The validators that want its standing changed.",
        ),
    ],
};

/// Amounts of what a machine has.
static RESOURCES: View = View {
    name: "Resources",
    summary: "Amounts of what a machine has.",
    fields: &[
        field("cpu_milli", Shape::Count, "Thousandths of a CPU core."),
        field("memory_bytes", Shape::Count, "Bytes of memory."),
        field(
            "storage_bytes",
            Shape::Count,
            "Bytes of disk, volumes included.",
        ),
    ],
};

/// What a node asks for one hour of each resource.
static PRICES: View = View {
    name: "Prices",
    summary: "What a node asks for one hour of each resource.",
    fields: &[
        field("cpu_core_hour", Shape::Amount, "For one CPU core."),
        field("memory_gib_hour", Shape::Amount, "For one GiB of memory."),
        field("storage_gib_hour", Shape::Amount, "For one GiB of disk."),
    ],
};
