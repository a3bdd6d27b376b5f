//! What else goes in and out, field by field.

use super::{Shape, View, field, optional};

/// An account.
pub static ACCOUNT: View = View {
    name: "Account",
    summary: "An account.",
    fields: &[
        field("account", Shape::Id("acct"), "The account."),
        field(
            "balance",
            Shape::Amount,
            "What it holds; below zero it owes.",
        ),
        field("line", Shape::Amount, "How far below zero it may go."),
        field("available", Shape::Amount, "What it can spend."),
        field("keys", Shape::List(&Shape::View(&KEY)), "Its keys."),
    ],
};

/// What a key may spend.
static BUDGET: View = View {
    name: "Budget",
    summary: "What a key may spend.",
    fields: &[
        field("amount", Shape::Amount, "How much in one period."),
        field(
            "period_ms",
            Shape::Count,
            "How long a period is, in milliseconds.",
        ),
        field(
            "spent",
            Shape::Amount,
            "What was sent away in the current period; what its apps cost comes on top.",
        ),
    ],
};

/// A key of an account.
static KEY: View = View {
    name: "Key",
    summary: "A key of an account.",
    fields: &[
        field("key", Shape::Id("ed25519"), "The key."),
        field("verbs", Shape::List(&Shape::Text), "What it may do."),
        field(
            "apps",
            Shape::Maybe(&Shape::List(&Shape::Id("label"))),
            "The blinded names of the apps that it is for; nothing where it is for all.",
        ),
        field(
            "budget",
            Shape::Maybe(&Shape::View(&BUDGET)),
            "What it may spend, where that is bounded.",
        ),
        field("nonce", Shape::Count, "The nonce of its next transaction."),
        field(
            "expires_ms",
            Shape::Maybe(&Shape::Count),
            "Block time in milliseconds at which it ends, where it does.",
        ),
    ],
};

/// A name and password for a registry.
pub static CREDENTIALS: View = View {
    name: "Credentials",
    summary: "A name and password for a registry.",
    fields: &[
        field("user", Shape::Text, "The user."),
        field("password", Shape::Text, "The password or token."),
    ],
};

/// One thing that happened.
pub static HAPPENING: View = View {
    name: "Happening",
    summary: "One thing that happened.",
    fields: &[
        field("height", Shape::Count, "The block in which it happened."),
        field("index", Shape::Count, "Its place in the block."),
        field(
            "time_ms",
            Shape::Count,
            "Block time in milliseconds since 1970.",
        ),
        field(
            "app",
            Shape::Maybe(&Shape::Id("app")),
            "The app it is about, where it is about one.",
        ),
        field("kind", Shape::Text, "Its kind."),
        field("text", Shape::Text, "What happened, in words."),
    ],
};

/// Whether a node answers.
pub static HEALTH: View = View {
    name: "Health",
    summary: "Whether a node answers.",
    fields: &[
        field("status", Shape::OneOf(&["ok"]), "How it is."),
        field("height", Shape::Count, "The newest block."),
    ],
};

/// What an image says about itself.
pub static IMAGE: View = View {
    name: "Image",
    summary: "What an image says about itself.",
    fields: &[
        field(
            "entrypoint",
            Shape::List(&Shape::Text),
            "The fixed beginning of its command line.",
        ),
        field(
            "cmd",
            Shape::List(&Shape::Text),
            "The rest of its command line.",
        ),
        field(
            "exposed_ports",
            Shape::List(&Shape::Text),
            "Ports it says it listens on, such as `80/tcp`.",
        ),
        field(
            "volumes",
            Shape::List(&Shape::Text),
            "Paths it wants to outlive a container.",
        ),
        field("user", Shape::Text, "The user it runs as."),
    ],
};

/// One line of a replica's output.
pub static LOG_LINE: View = View {
    name: "LogLine",
    summary: "One line of a replica's output.",
    fields: &[
        field("service", Shape::Text, "The service's name."),
        field("replica", Shape::Count, "The replica."),
        field(
            "at_ms",
            Shape::Count,
            "When it was written, in milliseconds since 1970.",
        ),
        field(
            "is_error",
            Shape::Flag,
            "Whether it came on standard error.",
        ),
        field("text", Shape::Text, "The text."),
    ],
};

/// A movement of credits.
pub static MOVEMENT: View = View {
    name: "Movement",
    summary: "A movement of credits.",
    fields: &[
        field("height", Shape::Count, "The block."),
        field(
            "time_ms",
            Shape::Count,
            "Block time in milliseconds since 1970.",
        ),
        field("from", Shape::Id("acct"), "From."),
        field("to", Shape::Id("acct"), "To."),
        field("amount", Shape::Amount, "How much."),
        field(
            "memo",
            Shape::Text,
            "A transfer's memo, or the lease that was charged.",
        ),
    ],
};

/// The network and this node in it.
pub static NETWORK: View = View {
    name: "Network",
    summary: "The network and this node in it.",
    fields: &[
        field("network", Shape::Id("net"), "The network."),
        field("height", Shape::Count, "The newest block."),
        field(
            "time_ms",
            Shape::Count,
            "Its block time, in milliseconds since 1970.",
        ),
        field(
            "oldest",
            Shape::Maybe(&Shape::Count),
            "The oldest block that this node keeps; none where it has only the state after it.",
        ),
        field("validators", Shape::Count, "How many validators vote."),
        field("node", Shape::Id("node"), "This node."),
        field("ingress", Shape::Text, "Where its ingress listens."),
        field(
            "notice",
            Shape::Maybe(&Shape::Text),
            "What is said about the network's resilience.",
        ),
        field(
            "entrance",
            Shape::Maybe(&Shape::Text),
            "Where newcomers get in, as invites carry it; none while this node expects nobody.",
        ),
        field("disk", Shape::View(&DISK), "This node's disk."),
    ],
};

/// The disk of a node.
static DISK: View = View {
    name: "Disk",
    summary: "The disk of a node.",
    fields: &[
        field("free_bytes", Shape::Count, "What is free of it."),
        field(
            "is_full",
            Shape::Flag,
            "Whether so little is free that the node takes no transactions until there is more.",
        ),
        field(
            "images_bytes",
            Shape::Count,
            "What images take of it, fetched and unpacked.",
        ),
    ],
};

/// What actions would do.
pub static PLAN: View = View {
    name: "Plan",
    summary: "What actions would do.",
    fields: &[
        field(
            "id",
            Shape::Maybe(&Shape::Id("plan")),
            "The name of what a deployment comes to: one that names it is refused where it would come to something else.",
        ),
        field(
            "placements",
            Shape::List(&Shape::View(&PLACEMENT)),
            "Where each new replica would go.",
        ),
        field(
            "price_per_hour",
            Shape::Amount,
            "What the app would cost in an hour, with what of it runs already.",
        ),
        field(
            "readers",
            Shape::List(&Shape::View(&READER)),
            "The nodes for which the app is to be sealed: those that would run it, and those that could take over.",
        ),
        field(
            "rejection",
            Shape::Maybe(&Shape::View(&REJECTION)),
            "Why it would be refused, where it would.",
        ),
        field(
            "refusals",
            Shape::List(&Shape::View(&NODE_REFUSAL)),
            "The refusals of each node, where nothing fits.",
        ),
        field("root", Shape::Id("root"), "The state on which it was made."),
        field("height", Shape::Count, "The height of that state."),
    ],
};

/// Where a replica would go.
static PLACEMENT: View = View {
    name: "Placement",
    summary: "Where a replica would go.",
    fields: &[
        field(
            "service",
            Shape::Id("label"),
            "The service's label; the caller knows its name.",
        ),
        field("replica", Shape::Count, "The replica."),
        field("node", Shape::Id("node"), "The node."),
        field("node_name", Shape::Text, "The node's name."),
        field("price_per_hour", Shape::Amount, "What an hour of it costs."),
    ],
};

/// A node that is to be able to read an app's manifest.
static READER: View = View {
    name: "Reader",
    summary: "A node that is to be able to read an app's manifest.",
    fields: &[
        field("node", Shape::Id("node"), "The node."),
        field(
            "sealing_key",
            Shape::Text,
            "Its X25519 key, in hexadecimal.",
        ),
    ],
};

/// Why a node would not take a replica.
static NODE_REFUSAL: View = View {
    name: "NodeRefusal",
    summary: "Why a node would not take a replica.",
    fields: &[
        field("node", Shape::Id("node"), "The node."),
        field("name", Shape::Text, "Its name."),
        field(
            "rules",
            Shape::List(&Shape::Text),
            "Every rule that refuses it.",
        ),
    ],
};

/// Why the law refused.
static REJECTION: View = View {
    name: "Rejection",
    summary: "Why the law refused.",
    fields: &[
        field("code", Shape::Count, "The stable number."),
        field("name", Shape::Text, "The stable name."),
        field("text", Shape::Text, "What it says."),
        field("next_step", Shape::Text, "What to do about it."),
    ],
};

/// What a transaction did.
pub static RECEIPT: View = View {
    name: "Receipt",
    summary: "What a transaction did.",
    fields: &[
        field("transaction", Shape::Id("tx"), "The transaction."),
        field("height", Shape::Count, "The block that holds it."),
        field(
            "rejection",
            Shape::Maybe(&Shape::View(&REJECTION)),
            "Nothing, or why it changed nothing.",
        ),
        field("fee", Shape::Amount, "The fee paid."),
        field("events", Shape::List(&Shape::Text), "What happened."),
    ],
};

/// An image as people write it.
pub static REFERENCE: View = View {
    name: "Reference",
    summary: "An image as people write it.",
    fields: &[field("reference", Shape::Text, "The reference.")],
};

/// What an app would have for itself on a node.
pub static DOORS: View = View {
    name: "Doors",
    summary: "What an app would have for itself on a node.",
    fields: &[
        field("app", Shape::Text, "The app's name."),
        field(
            "ports",
            Shape::List(&Shape::View(&DOOR)),
            "Ports of the machine.",
        ),
        field(
            "hosts",
            Shape::List(&Shape::Text),
            "Host names at the ingress.",
        ),
    ],
};

/// A port of a machine.
static DOOR: View = View {
    name: "Door",
    summary: "A port of a machine.",
    fields: &[
        field(
            "protocol",
            Shape::OneOf(&["tcp", "udp"]),
            "What it carries.",
        ),
        field("address", Shape::Text, "The address to listen on."),
        field("port", Shape::Count, "The number."),
    ],
};

/// A digest.
pub static RESOLVED: View = View {
    name: "Resolved",
    summary: "A digest.",
    fields: &[field("digest", Shape::Text, "The digest.")],
};

/// What a node says to a replica.
pub static VERDICT: View = View {
    name: "Verdict",
    summary: "What a node says to a replica.",
    fields: &[
        field(
            "service",
            Shape::Text,
            "The service's name, where this node can read it.",
        ),
        field("replica", Shape::Count, "The replica."),
        field("node", Shape::Id("node"), "The node."),
        field("node_name", Shape::Text, "The node's name."),
        field("is_here", Shape::Flag, "Whether the replica is there."),
        field(
            "price_per_hour",
            Shape::Maybe(&Shape::Amount),
            "What an hour there would cost, where it offers anything.",
        ),
        field(
            "rules",
            Shape::List(&Shape::Text),
            "Every rule that refuses it there; none where it may run there.",
        ),
    ],
};

/// A volume.
pub static VOLUME: View = View {
    name: "Volume",
    summary: "A volume.",
    fields: &[
        field("app", Shape::Id("label"), "The app's label."),
        field("volume", Shape::Id("label"), "The volume's label."),
        field(
            "name",
            Shape::Text,
            "Its name, as `app/volume`, where this node can read it.",
        ),
        field("node", Shape::Id("node"), "Where its data are."),
        field("bytes", Shape::Count, "Its size in bytes."),
        field(
            "standing",
            Shape::OneOf(&["used", "kept", "dropped"]),
            "Whether it is used, kept or given up.",
        ),
    ],
};

/// A refusal (RFC 9457).
pub static PROBLEM: View = View {
    name: "Problem",
    summary: "A refusal (RFC 9457).",
    fields: &[
        field("type", Shape::Text, "A name for this kind of refusal."),
        field("title", Shape::Text, "The status in words."),
        field("status", Shape::Count, "The HTTP status."),
        field("detail", Shape::Text, "What is wrong in this case."),
        field(
            "code",
            Shape::Text,
            "The stable name of the refusal; for the law's refusals, the law's name.",
        ),
        field("next_step", Shape::Text, "What to do about it."),
        optional(
            "number",
            Shape::Count,
            "The law's stable number, where the law refused.",
        ),
        optional(
            "transaction",
            Shape::Id("tx"),
            "The transaction that a block holds although it changed nothing.",
        ),
    ],
};
