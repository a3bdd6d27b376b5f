//! The cells, written down by hand: what the law and the gate do is compared with them, never the other way round.

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub(super) enum Role {
    /// Nobody signs.
    Anonymous,
    /// A key with all rights of another account, in that account's name.
    Stranger,
    /// The same key in the owner's name.
    Impostor,
    /// A key of the owner with all rights.
    Owner,
    /// A key whose grant is as narrow as the row allows: one verb, and the one app or node.
    Fitting,
    /// A key with every other verb.
    NoVerb,
    /// A key with the verb for another app and another node.
    Elsewhere,
    /// A key with all rights whose grant has ended.
    Expired,
    /// A key with all rights that was revoked.
    Revoked,
    /// The fitting key, with a budget that is used up.
    OverBudget,
    /// The owner, by a name that is not this node's.
    WrongHost,
    /// The owner, from a page that is not this node's.
    WrongOrigin,
}

impl Role {
    pub(super) const COUNT: usize = 12;

    pub(super) const ALL: &'static [Self; Self::COUNT] = &[
        Self::Anonymous,
        Self::Stranger,
        Self::Impostor,
        Self::Owner,
        Self::Fitting,
        Self::NoVerb,
        Self::Elsewhere,
        Self::Expired,
        Self::Revoked,
        Self::OverBudget,
        Self::WrongHost,
        Self::WrongOrigin,
    ];

    /// The head of its column.
    pub(super) const fn heading(self) -> &'static str {
        match self {
            Self::Anonymous => "nobody",
            Self::Stranger => "other account",
            Self::Impostor => "other account's key, owner's name",
            Self::Owner => "own key, all rights",
            Self::Fitting => "narrowest key",
            Self::NoVerb => "without the verb",
            Self::Elsewhere => "other app or node",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::OverBudget => "over budget",
            Self::WrongHost => "wrong `Host`",
            Self::WrongOrigin => "wrong `Origin`",
        }
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cell {
    /// Answered as the owner is.
    Yes,
    /// Answered, with nothing of the owner in it.
    Blind,
    /// Refused.
    No(u16, &'static str),
}

/// One operation or change.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// What the owner is answered: in this table's network of one some of it fails for reasons of its own, after it was
    /// allowed.
    pub(super) owner: (u16, &'static str),
    /// What an answer must not tell to others.
    pub(super) marker: Option<Marker>,
    cells: [Cell; Role::COUNT],
}

impl Row {
    pub(super) fn cell(&self, role: Role) -> Cell {
        let index = Role::ALL.iter().position(|one| *one == role).unwrap();
        self.cells[index]
    }
}

/// What shows that an answer is about the owner's things.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Marker {
    /// The owner's account.
    Account,
    /// The id of the app `shop`.
    App,
    /// The blinded name of the app `shop`.
    Label,
}

const Y: Cell = Cell::Yes;
const B: Cell = Cell::Blind;
const UNSIGNED: Cell = Cell::No(401, "signature_missing");
const UNKNOWN: Cell = Cell::No(401, "key_unknown");
const FORGED: Cell = Cell::No(401, "bad-signature");
const NO_KEY: Cell = Cell::No(403, "unknown-key");
const VERB: Cell = Cell::No(403, "verb-not-granted");
const SCOPE: Cell = Cell::No(403, "resource-not-granted");
const EXPIRED: Cell = Cell::No(403, "expired-key");
const REVOKED: Cell = Cell::No(403, "revoked-key");
const BUDGET: Cell = Cell::No(403, "budget-exceeded");
const HOST: Cell = Cell::No(421, "host_not_allowed");
const ORIGIN: Cell = Cell::No(403, "origin_not_allowed");
const NO_APP: Cell = Cell::No(404, "unknown-app");
const NO_MANIFEST: Cell = Cell::No(404, "unknown-manifest");
const NO_VOLUME: Cell = Cell::No(404, "unknown-volume");
const NOT_APP: Cell = Cell::No(403, "not-your-app");
const NO_VOTE: Cell = Cell::No(403, "not-a-validator");
const NOT_NODE: Cell = Cell::No(403, "not-your-node");

const OK: (u16, &str) = (200, "");

/// A row of what anybody may ask.
const fn public(name: &'static str, owner: (u16, &'static str)) -> Row {
    Row {
        name,
        owner,
        marker: None,
        cells: [Y, Y, Y, Y, Y, Y, Y, Y, Y, Y, HOST, ORIGIN],
    }
}

/// A row of what signed requests ask: the other account, the key without the verb, and the key for something else.
const fn read(
    name: &'static str,
    owner: (u16, &'static str),
    marker: Option<Marker>,
    [stranger, no_verb, elsewhere]: [Cell; 3],
) -> Row {
    Row {
        name,
        owner,
        marker,
        cells: [
            UNSIGNED, stranger, UNKNOWN, Y, Y, no_verb, elsewhere, EXPIRED, REVOKED, Y, HOST,
            ORIGIN,
        ],
    }
}

/// A row of the law: the other account, the key for something else, and the key whose budget is used up.
const fn change(
    name: &'static str,
    owner: (u16, &'static str),
    [stranger, elsewhere, over_budget]: [Cell; 3],
) -> Row {
    Row {
        name,
        owner,
        marker: None,
        cells: [
            FORGED,
            stranger,
            NO_KEY,
            Y,
            Y,
            VERB,
            elsewhere,
            EXPIRED,
            REVOKED,
            over_budget,
            HOST,
            ORIGIN,
        ],
    }
}

/// The operations of the API, in the order of `OPERATIONS`.
pub(super) static OPERATION_ROWS: &[Row] = &[
    read("account.history", OK, None, [SCOPE, VERB, SCOPE]),
    read("account.own", OK, Some(Marker::Account), [B, Y, Y]),
    read("account.show", OK, Some(Marker::Account), [SCOPE, Y, Y]),
    read("app.list", OK, Some(Marker::App), [B, VERB, B]),
    read("app.show", OK, Some(Marker::App), [NO_APP, VERB, SCOPE]),
    read("app.why", OK, None, [NO_APP, VERB, SCOPE]),
    read("bill.prove", OK, None, [B, VERB, SCOPE]),
    read("bill.show", OK, Some(Marker::Account), [B, VERB, SCOPE]),
    read("door.check", (204, ""), None, [Y, VERB, Y]),
    read("event.list", OK, Some(Marker::App), [B, VERB, B]),
    read(
        "event.list-of-app",
        OK,
        Some(Marker::App),
        [NO_APP, VERB, SCOPE],
    ),
    read(
        "exec.run",
        (426, "not-a-websocket"),
        None,
        [NO_APP, VERB, SCOPE],
    ),
    read("export.show", OK, Some(Marker::Account), [B, VERB, SCOPE]),
    read(
        "image.import",
        (422, "bad-archive"),
        None,
        [NOT_NODE, VERB, SCOPE],
    ),
    read(
        "image.resolve",
        (502, "registry-unreachable"),
        None,
        [Y, VERB, Y],
    ),
    read("image.show", (404, "unknown-image"), None, [Y, VERB, Y]),
    read("log.read", OK, None, [NO_APP, VERB, SCOPE]),
    read("manifest.keep", OK, None, [Y, VERB, Y]),
    read("manifest.show", OK, None, [NO_MANIFEST, VERB, SCOPE]),
    public("network.health", OK),
    public("network.openapi", OK),
    public("network.show", OK),
    read("node.list", OK, None, [Y, Y, Y]),
    read("peer.list", OK, None, [Y, Y, Y]),
    read("plan.make", OK, None, [SCOPE, VERB, SCOPE]),
    read("registry.login", (204, ""), None, [NOT_NODE, VERB, SCOPE]),
    read(
        "registry.logout",
        (404, "unknown-registry"),
        None,
        [NOT_NODE, VERB, SCOPE],
    ),
    public("transaction.submit", (400, "malformed-request")),
    read("validator.list", OK, None, [Y, Y, Y]),
    read(
        "volume.data",
        (404, "unknown-volume"),
        None,
        [Y, VERB, SCOPE],
    ),
    read(
        "volume.fill",
        (502, "runtime"),
        None,
        [NOT_NODE, VERB, SCOPE],
    ),
    read("volume.list", OK, Some(Marker::Label), [B, VERB, B]),
];

/// The changes of the law, in the order of their wire tags.
pub(super) static ACTIONS: &[Row] = &[
    change("credit.transfer", OK, [Y, Y, BUDGET]),
    change("key.add", OK, [Y, SCOPE, SCOPE]),
    change("key.revoke", OK, [NO_KEY, SCOPE, SCOPE]),
    change("key.rotate", OK, [Y, Y, Y]),
    change("node.register", OK, [Y, SCOPE, Y]),
    change("node.offer", OK, [NOT_NODE, SCOPE, Y]),
    change("node.cordon", OK, [NOT_NODE, SCOPE, Y]),
    change("app.deploy", OK, [Y, SCOPE, BUDGET]),
    change("app.scale", OK, [NOT_APP, SCOPE, BUDGET]),
    change("app.restart", OK, [NOT_APP, SCOPE, Y]),
    change("app.rollback", OK, [NOT_APP, SCOPE, BUDGET]),
    change("app.delete", OK, [NOT_APP, SCOPE, Y]),
    change("lease.report", (409, "stale-lease"), [NOT_NODE, SCOPE, Y]),
    change("evidence.submit", (422, "too-many"), [NOT_NODE, SCOPE, Y]),
    change("volume.drop", (409, "volume-in-use"), [NO_VOLUME, SCOPE, Y]),
    change(
        "volume.report",
        (409, "volume-in-use"),
        [NOT_NODE, SCOPE, Y],
    ),
    change("account.open", OK, [Y, Y, Y]),
    change("node.reach", OK, [NOT_NODE, SCOPE, Y]),
    change("validator.stand", OK, [NOT_NODE, SCOPE, Y]),
    change("validator.vote", OK, [NO_VOTE, NO_VOTE, Y]),
    change(
        "validator.leave",
        (409, "last-validator"),
        [NOT_NODE, SCOPE, Y],
    ),
    change("node.withdraw", OK, [NOT_NODE, SCOPE, Y]),
    change("node.drain", OK, [NOT_NODE, SCOPE, Y]),
    change(
        "lease.give-up",
        (422, "not-a-witness"),
        [NOT_NODE, SCOPE, Y],
    ),
    change("node.back", OK, [NOT_NODE, SCOPE, Y]),
    change("app.readers", OK, [NOT_NODE, SCOPE, Y]),
    change(
        "validator.conflict",
        (422, "bad-field"),
        [NOT_NODE, SCOPE, Y],
    ),
    change("node.give-up", (422, "not-watching"), [NOT_NODE, SCOPE, Y]),
    change("validator.loss", OK, [NOT_NODE, SCOPE, Y]),
];
