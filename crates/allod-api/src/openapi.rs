//! The OpenAPI 3.1 document, written from the operation table.

mod reference;
pub mod refusals;

pub use reference::reference;

use serde_json::{Map, Value, json};

use crate::ops::{Access, Answer, Input, OPERATIONS, Operation};
use crate::shape::{PROBLEM, Shape, View};

/// The document.
#[must_use]
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    let mut views = Map::new();
    add(&mut views, &Shape::View(&PROBLEM));
    for operation in OPERATIONS {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        let method = operation.method.name().to_ascii_lowercase();
        path[method] = of(operation, &mut views);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Allod",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Changes are transactions signed by their author. Everything else that is private is asked \
                for with a request signed after RFC 9421 (tag `allod-v1`, Ed25519). Every answer carries \
                `allod-height`, the newest block that the node knew.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "paths": paths,
        "components": {
            "schemas": views,
            "securitySchemes": {
                "signature": {
                    "type": "http",
                    "scheme": "signature",
                    "description": "HTTP message signature (RFC 9421) with an Ed25519 key of an account, tag `allod-v1`.",
                },
            },
        },
    })
}

fn of(operation: &Operation, views: &mut Map<String, Value>) -> Value {
    let mut parameters = path_parameters(operation.path);
    for parameter in operation.query {
        parameters.push(json!({
            "name": parameter.name,
            "in": "query",
            "required": parameter.is_required,
            "description": parameter.summary,
            "schema": schema(&parameter.shape),
        }));
    }
    let mut described = json!({
        "operationId": operation.name,
        "tags": [operation.name.split('.').next().unwrap_or_default()],
        "summary": operation.summary,
        "responses": responses(operation, views),
    });
    if !parameters.is_empty() {
        described["parameters"] = Value::Array(parameters);
    }
    if let Some(body) = body(operation.input, views) {
        described["requestBody"] = json!({ "required": true, "content": body });
    }
    if operation.access != Access::Public {
        described["security"] = json!([{ "signature": [] }]);
        described["x-allod-access"] = json!(access(operation.access));
    }
    described
}

/// Who may ask, in words.
pub(crate) fn access(access: Access) -> String {
    let list = |verbs: &[allod_state::account::grant::Verb]| {
        let names: Vec<&str> = verbs.iter().map(|verb| verb.name()).collect();
        names.join(" or ")
    };
    match access {
        Access::Public => "anybody".to_owned(),
        Access::Member => "any key of an account".to_owned(),
        Access::Granted(verbs) => format!("a key with the verb {}", list(verbs)),
        Access::Operator(verbs) => {
            format!("a key of the node's operator with the verb {}", list(verbs))
        }
    }
}

/// The names of a path's parameters.
pub(crate) fn path_names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn path_parameters(path: &str) -> Vec<Value> {
    let parameter = |name| {
        json!({
            "name": name,
            "in": "path",
            "required": true,
            "schema": { "type": "string" },
        })
    };
    path_names(path).map(parameter).collect()
}

fn body(input: Input, views: &mut Map<String, Value>) -> Option<Value> {
    match input {
        Input::Nothing => None,
        Input::Json(shape) => {
            add(views, &shape);
            Some(json!({ "application/json": { "schema": schema(&shape) } }))
        }
        Input::Bytes { what, .. } => Some(json!({
            "application/octet-stream": { "schema": { "description": what } },
        })),
        Input::File { what, .. } => Some(json!({
            "application/x-tar": { "schema": { "description": what } },
        })),
    }
}

fn responses(operation: &Operation, views: &mut Map<String, Value>) -> Value {
    let mut responses = json!({
        "default": {
            "description": "It was refused; the body says why and what to do.",
            "content": { "application/problem+json": { "schema": schema(&Shape::View(&PROBLEM)) } },
        },
    });
    let (status, description, content) = match operation.answer {
        Answer::Nothing => ("204", "It is done.", None),
        Answer::Bytes(what) => {
            let content = json!({ "application/octet-stream": {} });
            ("200", what, Some(content))
        }
        Answer::Socket => ("101", "The connection is a WebSocket from here on.", None),
        Answer::Json(shape) => {
            add(views, &shape);
            let content = json!({ "application/json": { "schema": schema(&shape) } });
            ("200", "The answer.", Some(content))
        }
        Answer::JsonOrEvents(shape, event) => {
            add(views, &shape);
            let content = json!({
                "application/json": { "schema": schema(&shape) },
                "text/event-stream": { "schema": schema(&event) },
            });
            (
                "200",
                "The answer, or a stream of such events.",
                Some(content),
            )
        }
        Answer::LinesOrEvents(shape) => {
            add(views, &shape);
            let content = json!({
                "application/x-ndjson": { "schema": schema(&shape) },
                "text/event-stream": { "schema": schema(&shape) },
            });
            (
                "200",
                "One such object a line, or a stream of such events.",
                Some(content),
            )
        }
    };
    responses[status] = json!({ "description": description });
    if let Some(content) = content {
        responses[status]["content"] = content;
    }
    responses
}

/// Adds the views that a shape names, and those that they name.
fn add(views: &mut Map<String, Value>, shape: &Shape) {
    match shape {
        Shape::Maybe(inner) | Shape::List(inner) | Shape::Map(inner) => add(views, inner),
        Shape::View(view) if !views.contains_key(view.name) => {
            views.insert(view.name.to_owned(), object(view));
            for field in view.fields {
                add(views, &field.shape);
            }
        }
        _ => {}
    }
}

fn object(view: &View) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for field in view.fields {
        let mut described = schema(&field.shape);
        described["description"] = json!(field.summary);
        properties.insert(field.name.to_owned(), described);
        if !field.is_optional {
            required.push(field.name);
        }
    }
    json!({
        "type": "object",
        "description": view.summary,
        "properties": properties,
        "required": required,
    })
}

fn schema(shape: &Shape) -> Value {
    match shape {
        Shape::Any => json!({}),
        Shape::Text => json!({ "type": "string" }),
        Shape::Id(prefix) => {
            json!({ "type": "string", "pattern": format!("^{prefix}_[a-z2-7]+$") })
        }
        Shape::Amount => json!({ "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]+)?$" }),
        Shape::Count => json!({ "type": "integer", "minimum": 0 }),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::OneOf(texts) => json!({ "type": "string", "enum": texts }),
        Shape::Maybe(inner) => json!({ "anyOf": [schema(inner), { "type": "null" }] }),
        Shape::List(inner) => json!({ "type": "array", "items": schema(inner) }),
        Shape::Map(inner) => json!({ "type": "object", "additionalProperties": schema(inner) }),
        Shape::View(view) => json!({ "$ref": format!("#/components/schemas/{}", view.name) }),
    }
}

#[cfg(test)]
mod tests;
