//! The reference for people, written from the same tables.

use std::fmt::Write;

use super::access;
use crate::ops::{Answer, Input, OPERATIONS, Operation};
use crate::shape::{PROBLEM, Shape, View};

const HEAD: &str = "\
# The HTTP API

This page is written from the table of operations. `GET /v1/openapi.json` says the same to machines.

Changes are transactions, signed by their author and submitted with `POST /v1/transactions`. Everything else that is
private is asked for with a request signed after RFC 9421 (tag `allod-v1`, Ed25519; covered: `@method`, `@authority`,
`@path`, `@query`, and `content-digest` where there is a body). What a row does not allow is refused. Every answer
carries `allod-height`, the newest block that the node knew. A refusal is a `Problem` (RFC 9457) with a stable `code`
and the next step. Credits are decimal texts.
";

/// The reference, in Markdown.
#[must_use]
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    text.push_str("\n| operation | request | who may ask |\n|---|---|---|\n");
    for operation in OPERATIONS {
        let (name, method) = (operation.name, operation.method.name());
        let who = access(operation.access);
        line(
            &mut text,
            &format!("| `{name}` | `{method} {}` | {who} |", operation.path),
        );
    }
    let mut views = Vec::new();
    for operation in OPERATIONS {
        section(&mut text, operation, &mut views);
    }
    collect(&Shape::View(&PROBLEM), &mut views);
    views.sort_by_key(|view| view.name);
    text.push_str("\n# What is sent\n");
    for view in views {
        object(&mut text, view);
    }
    text
}

fn section(text: &mut String, operation: &Operation, views: &mut Vec<&'static View>) {
    let (name, summary) = (operation.name, operation.summary);
    line(
        text,
        &format!(
            "\n## {name}\n\n`{} {}`",
            operation.method.name(),
            operation.path
        ),
    );
    line(
        text,
        &format!("\n{summary} Asked by {}.", access(operation.access)),
    );
    if !operation.query.is_empty() {
        text.push('\n');
    }
    for parameter in operation.query {
        let must = if parameter.is_required {
            ", required"
        } else {
            ""
        };
        let kind = word(&parameter.shape);
        line(
            text,
            &format!(
                "- `{}` ({kind}{must}): {}",
                parameter.name, parameter.summary
            ),
        );
    }
    match operation.input {
        Input::Nothing => {}
        Input::Json(shape) => {
            collect(&shape, views);
            line(text, &format!("\nBody: {} as JSON.", word(&shape)));
        }
        Input::Bytes { what, bytes_max } | Input::File { what, bytes_max } => {
            line(text, &format!("\nBody: {what}, at most {bytes_max} bytes."));
        }
    }
    let answer = match operation.answer {
        Answer::Nothing => "nothing (204)".to_owned(),
        Answer::Bytes(what) => format!("bytes: {what}"),
        Answer::Socket => "a WebSocket".to_owned(),
        Answer::Json(shape) => {
            collect(&shape, views);
            word(&shape)
        }
        Answer::JsonOrEvents(shape, event) => {
            collect(&shape, views);
            let (shape, event) = (word(&shape), word(&event));
            format!(
                "{shape}; with `accept: text/event-stream`, events of {event}, resumed with `last-event-id`"
            )
        }
        Answer::LinesOrEvents(shape) => {
            collect(&shape, views);
            let shape = word(&shape);
            format!("one {shape} a line; with `follow=true`, server-sent events of {shape}")
        }
    };
    line(text, &format!("\nAnswer: {answer}."));
}

fn object(text: &mut String, view: &View) {
    line(text, &format!("\n## {}\n\n{}\n", view.name, view.summary));
    for field in view.fields {
        let may = if field.is_optional {
            ", not always there"
        } else {
            ""
        };
        line(
            text,
            &format!(
                "- `{}` ({}{may}): {}",
                field.name,
                word(&field.shape),
                field.summary
            ),
        );
    }
}

fn collect(shape: &Shape, views: &mut Vec<&'static View>) {
    match shape {
        Shape::Maybe(inner) | Shape::List(inner) | Shape::Map(inner) => collect(inner, views),
        Shape::View(view) if !views.iter().any(|known| known.name == view.name) => {
            views.push(view);
            for field in view.fields {
                collect(&field.shape, views);
            }
        }
        _ => {}
    }
}

fn word(shape: &Shape) -> String {
    match shape {
        Shape::Any => "any JSON".to_owned(),
        Shape::Text => "text".to_owned(),
        Shape::Id(prefix) => format!("`{prefix}_…`"),
        Shape::Amount => "credits".to_owned(),
        Shape::Count => "number".to_owned(),
        Shape::Flag => "true or false".to_owned(),
        Shape::OneOf(texts) => texts.join(" or "),
        Shape::Maybe(inner) => format!("{} or null", word(inner)),
        Shape::List(inner) => format!("list of {}", word(inner)),
        Shape::Map(inner) => format!("object of {}", word(inner)),
        Shape::View(view) => format!("`{}`", view.name),
    }
}

fn line(text: &mut String, line: &str) {
    // Writing to memory cannot fail.
    let _ = writeln!(text, "{line}");
}
