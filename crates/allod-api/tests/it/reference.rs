//! The reference is what the table says. `UPDATE_REFERENCE=1` writes it anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use allod_api::openapi;

fn check(page: &str, written: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference");
    let path = path.join(page);
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, written).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == written,
        "docs/reference/{page} is not current: UPDATE_REFERENCE=1 cargo nextest run -p allod-api reference"
    );
}

#[test]
fn the_reference_is_current() {
    check("api.md", &openapi::reference());
}

#[test]
fn the_reference_of_refusals_is_current() {
    check("refusals.md", &openapi::refusals::reference());
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension() == Some("rs".as_ref()) {
            found.push(path);
        }
    }
}

/// Whatever the server may answer stands in the table, with a next step and the status it is answered with.
#[test]
fn every_refusal_in_the_source_is_in_the_reference() {
    let (all, mut files) = (openapi::refusals::all(), Vec::new());
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for folder in ["ops", "server"] {
        sources(&src.join(folder), &mut files);
    }
    let mut seen = BTreeSet::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let lines: Vec<&str> = text.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            let name = pair[1]
                .strip_prefix('"')
                .and_then(|rest| rest.strip_suffix("\","));
            let (true, Some(name)) = (pair[0].starts_with("StatusCode::"), name) else {
                continue;
            };
            let is_listed = all.contains_key(name);
            assert!(is_listed, "{}: `{name}` is in no table", file.display());
            seen.insert(name.to_owned());
        }
    }
    assert!(seen.len() >= 12, "the source is read wrongly: {seen:?}");
    for (name, refusal) in &all {
        assert!(!refusal.next_step.is_empty(), "{name}");
        assert!(refusal.status >= 400, "{name}");
    }
}
