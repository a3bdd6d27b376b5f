//! The shapes of what goes in and out, as data: the OpenAPI document and the reference are written from them, and tests
//! hold them against what is really sent.

mod app;
mod bill;
mod export;
mod node;
mod views;

pub use app::APP;
pub use bill::{BILL, BILL_PROOF};
pub use export::{BELONGINGS, SEALED};
pub use node::{NODE, PEER, VALIDATOR};
pub use views::{
    ACCOUNT, CREDENTIALS, DOORS, HAPPENING, HEALTH, IMAGE, LOG_LINE, MOVEMENT, NETWORK, PLAN,
    PROBLEM, RECEIPT, REFERENCE, RESOLVED, VERDICT, VOLUME,
};

/// What a JSON value looks like.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Anything.
    Any,
    /// A text.
    Text,
    /// An identifier: a prefix, an underscore and base32.
    Id(&'static str),
    /// Credits as a decimal text, such as `"0.25"`.
    Amount,
    /// A whole number, zero or above.
    Count,
    /// `true` or `false`.
    Flag,
    /// One of these texts.
    OneOf(&'static [&'static str]),
    /// That or nothing (`null`).
    Maybe(&'static Shape),
    /// A list.
    List(&'static Shape),
    /// An object whose names are free.
    Map(&'static Shape),
    /// An object with fixed names.
    View(&'static View),
}

/// An object with fixed names.
#[derive(Debug)]
pub struct View {
    /// What it is called.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub summary: &'static str,
    /// What it holds.
    pub fields: &'static [Field],
}

/// A part of a [`View`].
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it looks like.
    pub shape: Shape,
    /// Whether it is there only in some cases.
    pub is_optional: bool,
    /// What it means.
    pub summary: &'static str,
}

const fn field(name: &'static str, shape: Shape, summary: &'static str) -> Field {
    Field {
        name,
        shape,
        is_optional: false,
        summary,
    }
}

const fn optional(name: &'static str, shape: Shape, summary: &'static str) -> Field {
    Field {
        is_optional: true,
        ..field(name, shape, summary)
    }
}

#[cfg(test)]
mod tests;
