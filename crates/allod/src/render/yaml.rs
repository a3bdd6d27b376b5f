//! JSON values as YAML, block style. Texts are plain only where no reader could take them for something else.

use serde_json::Value;

/// A whole document.
pub(crate) fn document(value: &Value) -> String {
    let mut out = String::new();
    node(value, 0, &mut out);
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

fn node(value: &Value, indent: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (index, (key, value)) in map.iter().enumerate() {
                if index > 0 {
                    out.push_str(&" ".repeat(indent));
                }
                out.push_str(&scalar(key));
                out.push(':');
                child(value, indent, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push_str(&" ".repeat(indent));
                }
                out.push_str("- ");
                node(item, indent + 2, out);
                if !out.ends_with('\n') {
                    out.push('\n');
                }
            }
        }
        Value::Object(_) => out.push_str("{}"),
        Value::Array(_) => out.push_str("[]"),
        Value::String(text) => out.push_str(&scalar(text)),
        other => out.push_str(&other.to_string()),
    }
}

fn child(value: &Value, indent: usize, out: &mut String) {
    let is_block = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    if is_block {
        out.push('\n');
        out.push_str(&" ".repeat(indent + 2));
        node(value, indent + 2, out);
    } else {
        out.push(' ');
        node(value, indent, out);
    }
    if !out.ends_with('\n') {
        out.push('\n');
    }
}

/// A JSON string is a YAML string; plain ones are nicer where they begin with a letter and mean nothing else.
fn scalar(text: &str) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/');
    let means_more = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let is_plain = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(is_word)
        && !means_more.contains(&text.to_ascii_lowercase().as_str());
    if is_plain {
        text.to_owned()
    } else {
        Value::String(text.to_owned()).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::document;

    #[test]
    fn documents_nest_and_quote() {
        let value = json!({
            "name": "web", "no": "no", "count": 3, "price": "0.5", "none": null, "empty": [], "text": "a: b",
            "list": [{"a": 1, "b": [1, 2]}, "x"], "map": {"k": {"deep": true}}
        });
        let wanted = "empty: []\nlist:\n  - a: 1\n    b:\n      - 1\n      - 2\n  - x\nmap:\n  k:\n    deep: true\ncount: 3\nname: web\n\"no\": \"no\"\nnone: null\nprice: \"0.5\"\ntext: \"a: b\"\n";
        let mut sorted: Vec<&str> = wanted.lines().collect();
        let text = document(&value);
        let mut lines: Vec<&str> = text.lines().collect();
        // The order of keys is serde_json's business.
        lines.sort_unstable();
        sorted.sort_unstable();
        assert_eq!(lines, sorted);
        assert_eq!(document(&json!([])), "[]\n");
        assert_eq!(document(&json!([[1], {}])), "- - 1\n- {}\n");
    }
}
