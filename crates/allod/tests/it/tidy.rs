//! What the compiler does not check about the house: who may depend on whom, how files begin, and that the law is pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Which of our crates each crate may name. A new arrow needs an entry in `docs/adr`.
const ARROWS: &[(&str, &[&str])] = &[
    ("allod", &["allod-api", "allod-node", "allod-state"]),
    ("allod-api", &["allod-node", "allod-state"]),
    ("allod-ledger", &["allod-state"]),
    ("allod-net", &["allod-state"]),
    (
        "allod-node",
        &["allod-ledger", "allod-net", "allod-runtime", "allod-state"],
    ),
    ("allod-runtime", &["allod-state"]),
    ("allod-sim", &["allod-ledger", "allod-state"]),
    ("allod-state", &[]),
];

/// Integration binaries beside `tests/it`: each needs a process of its own.
const OTHER_BINARIES: &[&str] = &[
    "allod-api/tests/compose",
    "allod-runtime/tests/image",
    "allod-runtime/tests/network",
];

/// Names that say nothing about what is inside.
const BANNED_NAMES: &[&str] = &["common", "helpers", "manager", "misc", "types", "utils"];

/// What the law must not name, whatever the lints say.
const IMPURE: &[&str] = &[
    "std::env",
    "std::fs",
    "std::net",
    "std::process",
    "std::thread",
    "std::time",
    "HashMap",
    "HashSet",
    "f32",
    "f64",
    "thread_local",
    "static mut",
];

pub(crate) fn crates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A folder's entries, sorted.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let Ok(read) = std::fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut entries: Vec<PathBuf> = read.map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

/// Every Rust file under a folder.
pub(crate) fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in entries(folder) {
        if entry.is_dir() {
            found.extend(sources(&entry));
        } else if entry.extension().is_some_and(|end| end == "rs") {
            found.push(entry);
        }
    }
    found
}

pub(crate) fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// A line without its comment; a quick cut that is right for code as rustfmt writes it.
fn code(line: &str) -> &str {
    line.split("//").next().unwrap_or(line)
}

/// Whether a word stands in a line as a word of its own.
fn has_word(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

/// Our crates that a manifest names, in whichever section.
fn arrows(manifest: &str) -> BTreeSet<String> {
    let mut section = "";
    let mut found = BTreeSet::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        }
        let key = line.split(['.', '=', ' ']).next().unwrap_or_default();
        let is_ours = key == "allod" || key.starts_with("allod-");
        if section.contains("dependencies") && is_ours {
            found.insert(key.to_owned());
        }
    }
    found
}

#[test]
fn arrows_between_crates_point_down() {
    let allowed: BTreeMap<&str, &[&str]> = ARROWS.iter().copied().collect();
    for folder in entries(&crates()) {
        let from = name(&folder);
        let may = allowed
            .get(from.as_str())
            .unwrap_or_else(|| panic!("{from} is in no list of arrows"));
        let manifest = read(&folder.join("Cargo.toml"));
        assert!(
            manifest.contains(&format!("name = \"{from}\"")),
            "the folder {from} has another name than its crate"
        );
        for to in arrows(&manifest) {
            assert!(may.contains(&to.as_str()), "{from} must not know {to}");
        }
    }
}

#[test]
fn a_forbidden_arrow_is_seen() {
    let manifest = "[package]\nname = \"x\"\n[dev-dependencies]\nallod-net.workspace = true\n\
                    [dependencies]\nallod-state = { path = \"../allod-state\" }\nserde = \"1\"\n";
    let expected: BTreeSet<String> = ["allod-net", "allod-state"].map(String::from).into();
    assert_eq!(arrows(manifest), expected);
}

#[test]
fn every_file_says_what_it_is_for() {
    for file in sources(&crates()) {
        assert!(
            read(&file).starts_with("//! "),
            "{} does not begin with //!",
            file.display()
        );
    }
}

#[test]
fn no_file_has_a_name_that_says_nothing() {
    for file in sources(&crates()) {
        let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
        let folder = name(file.parent().unwrap());
        for banned in BANNED_NAMES {
            assert!(
                stem != *banned && folder != *banned,
                "{} needs a noun of the domain",
                file.display()
            );
        }
    }
}

#[test]
fn every_todo_names_its_issue() {
    for file in sources(&crates()) {
        for line in read(&file).lines() {
            let comment = line.split_once("//").map_or("", |(_, comment)| comment);
            let is_open = has_word(comment, "TODO") || has_word(comment, "FIXME");
            assert!(
                !is_open || comment.contains("TODO(#"),
                "{}: {line}\nwrite TODO(#issue)",
                file.display()
            );
        }
    }
}

#[test]
fn the_law_is_pure() {
    for file in sources(&crates().join("allod-state/src")) {
        for line in read(&file).lines() {
            for word in IMPURE {
                assert!(
                    !has_word(code(line), word),
                    "{} names {word}: {line}",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn an_impure_line_is_seen() {
    assert!(has_word("let map: HashMap<u8, u8>;", "HashMap"));
    assert!(has_word("use std::time::Duration;", "std::time"));
    assert!(!has_word("struct NotAHashMapAtAll;", "HashMap"));
    assert_eq!(code("let a = 1; // f64 is not used"), "let a = 1; ");
}

/// `usize` has another size on other machines, so nothing that is stored, hashed or sent may hold one.
#[test]
fn nothing_encoded_in_the_law_has_the_size_of_a_pointer() {
    for file in sources(&crates().join("allod-state/src")) {
        if let Some(line) = pointer_sized_field(&read(&file)) {
            panic!("{} encodes a usize: {line}", file.display());
        }
    }
}

/// The first field of pointer size in an item that derives an encoding.
fn pointer_sized_field(text: &str) -> Option<String> {
    let (mut is_encoded, mut depth) = (false, 0_i32);
    for line in text.lines() {
        let line = code(line);
        let trimmed = line.trim();
        let derives = trimmed.starts_with("#[derive(") && trimmed.contains("Serialize");
        if derives || trimmed == "BorshSerialize," {
            is_encoded = true;
        }
        let is_inside = is_encoded && depth > 0;
        if is_inside && (has_word(line, "usize") || has_word(line, "isize")) {
            return Some(line.to_owned());
        }
        let is_item = has_word(line, "struct") || has_word(line, "enum");
        if is_encoded && (is_item || depth > 0) {
            let open = line.matches(['{', '(']).count();
            let shut = line.matches(['}', ')']).count();
            if is_item && has_word(line, "usize") {
                return Some(line.to_owned());
            }
            depth += i32::try_from(open).unwrap() - i32::try_from(shut).unwrap();
            is_encoded = depth > 0 || !(line.contains(';') || shut > 0);
        }
    }
    None
}

#[test]
fn an_encoded_pointer_size_is_seen() {
    let bad = "#[derive(\n    BorshSerialize,\n)]\npub struct A {\n    pub b: usize,\n}\n";
    assert!(pointer_sized_field(bad).is_some());
    let good = "#[derive(BorshSerialize)]\npub struct A {\n    pub b: u64,\n}\n\
                pub enum Error {\n    Long {\n        len: usize,\n    },\n}\n";
    assert_eq!(pointer_sized_field(good), None);
    let tuple = "#[derive(BorshSerialize)]\npub struct A(usize);\n";
    assert!(pointer_sized_field(tuple).is_some());
}

/// The nearest `clippy.toml` wins and nothing merges, so what the root says must be said again.
#[test]
fn both_lint_files_agree_on_what_they_share() {
    let settings = |path: &Path| -> BTreeMap<String, String> {
        let text = read(path);
        let lines = text
            .lines()
            .filter(|line| !line.starts_with([' ', '#', ']']));
        let pairs = lines.filter_map(|line| line.split_once('='));
        let pairs = pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()));
        pairs.filter(|(_, value)| value != "[").collect()
    };
    let root = settings(&crates().join("../clippy.toml"));
    let law = settings(&crates().join("allod-state/clippy.toml"));
    assert!(root.len() >= 3, "{root:?}");
    for (key, value) in root {
        assert_eq!(law.get(&key), Some(&value), "{key}");
    }
}

/// Where names that a tenant made are walked.
const TENANT_WALKS: &[&str] = &["container/mount.rs", "image/unpack/tree.rs", "walk.rs"];

/// Calls that have the kernel walk a whole path, links and all.
const PATH_WALKS: &[&str] = &[
    "File::open",
    "File::create",
    "OpenOptions",
    "DirBuilder",
    "canonicalize",
    "exists",
    "is_dir",
    "is_file",
    "set_current_dir",
    "fs::canonicalize",
    "fs::copy",
    "fs::create_dir",
    "fs::create_dir_all",
    "fs::hard_link",
    "fs::metadata",
    "fs::read",
    "fs::read_dir",
    "fs::read_link",
    "fs::read_to_string",
    "fs::remove_dir_all",
    "fs::remove_file",
    "fs::rename",
    "fs::set_permissions",
    "fs::stat",
    "fs::lstat",
    "fs::symlink",
    "fs::symlink_metadata",
    "fs::write",
];

/// The first call in a file that walks a whole path; its tests may.
fn path_walk(text: &str) -> Option<String> {
    let lines = text.lines().take_while(|line| *line != "#[cfg(test)]");
    let walks = |line: &&str| PATH_WALKS.iter().any(|call| has_word(code(line), call));
    lines.into_iter().find(walks).map(str::to_owned)
}

#[test]
fn what_tenants_name_is_walked_from_descriptors() {
    let runtime = crates().join("allod-runtime/src");
    for name in TENANT_WALKS {
        if let Some(line) = path_walk(&read(&runtime.join(name))) {
            panic!("{name} walks a path: {line}\nopen it below a descriptor, with openat2");
        }
    }
    for file in sources(&runtime) {
        for line in read(&file).lines() {
            let goes = code(line).contains("set_current_dir(");
            assert!(
                !goes || line.contains("set_current_dir(\""),
                "{}: {line}\nopen the directory inside its root, and fchdir",
                file.display()
            );
        }
    }
}

#[test]
fn a_walked_path_is_seen() {
    assert!(path_walk("let a = std::fs::read(path)?;").is_some());
    assert!(path_walk("if path.exists() {").is_some());
    assert!(path_walk("let file = File::open(&path);").is_some());
    assert!(path_walk("fn f() -> std::fs::File {\n// File::open\n").is_none());
    assert!(path_walk("#[cfg(test)]\nstd::fs::read(path);").is_none());
}

#[test]
fn each_crate_has_one_integration_binary() {
    for folder in entries(&crates()) {
        for test in entries(&folder.join("tests")) {
            let listed = format!("{}/tests/{}", name(&folder), name(&test));
            assert!(
                name(&test) == "it" || OTHER_BINARIES.contains(&listed.as_str()),
                "{listed}: tests belong into tests/it"
            );
        }
    }
}

/// A crate's role is its first line, and it has one.
#[test]
fn every_library_states_its_role_first() {
    for folder in entries(&crates()) {
        let library = folder.join("src/lib.rs");
        if !library.exists() {
            continue;
        }
        let text = read(&library);
        let first = text.lines().next().unwrap_or_default();
        assert!(
            first.len() > 40 && first.ends_with('.'),
            "{}: {first}",
            library.display()
        );
        // The workspace denies it everywhere; these make exceptions of single functions, or may have to.
        let exempt = ["allod-net", "allod-runtime"];
        let exempt = exempt.contains(&name(&folder).as_str());
        assert!(
            exempt || text.contains("#![forbid(unsafe_code)]"),
            "{} must forbid unsafe code",
            library.display()
        );
    }
}
