//! Every place where the compiler's promises about memory are ours to keep: `docs/unsafe.md` lists
//! them all, with what each calls and why that is sound. `UPDATE_INVENTORY=1` writes it anew.

use std::path::Path;

use crate::tidy::{crates, read, sources};

/// One block.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    file: String,
    function: String,
    calls: String,
    argument: String,
}

const HEAD: &str = "# Unsafe code

Every `unsafe` block of the workspace, tests included, in the order of the files. `unsafe_code` is denied everywhere and
forbidden in every crate but `allod-runtime` and `allod-net`; each exception is one function. This page is what
`crates/allod/tests/it/inventory.rs` finds in the sources; the test fails when a block has no argument, and when this
page is not current.

| file | function | calls | why it is sound |
|---|---|---|---|
";

/// What a file holds; an error names the line that has no argument.
fn blocks(file: &str, text: &str) -> Result<Vec<Block>, String> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (number, line) in lines.iter().enumerate() {
        let Some(at) = unsafe_at(line) else { continue };
        let argument = argument(&lines[..number])
            .ok_or_else(|| format!("{file}:{}: no `// SAFETY:` above it", number + 1))?;
        let rest = [&line[at..], &lines[number + 1..].join("\n")].join("\n");
        found.push(Block {
            file: file.to_owned(),
            function: function(&lines[..=number]),
            calls: calls(&rest),
            argument,
        });
    }
    Ok(found)
}

/// Where the keyword stands in a line, outside comments, texts and attributes.
fn unsafe_at(line: &str) -> Option<usize> {
    let code = line.split("//").next().unwrap_or_default();
    let mut from = 0;
    while let Some(found) = code[from..].find("unsafe") {
        let at = from + found;
        from = at + "unsafe".len();
        let is_in_text = code[..at].matches('"').count() % 2 == 1;
        let before = code[..at].chars().next_back();
        let after = &code[from..];
        let is_word = !before.is_some_and(|c| c.is_alphanumeric() || c == '_');
        let opens = [" {", " fn", " impl", " extern", " trait", "(", " static"];
        if is_word && !is_in_text && opens.iter().any(|open| after.starts_with(open)) {
            return Some(at);
        }
    }
    None
}

/// The comment directly above, from `SAFETY:` on.
fn argument(above: &[&str]) -> Option<String> {
    let comments = above
        .iter()
        .rev()
        .map_while(|line| line.trim().strip_prefix("//"));
    let mut comments: Vec<&str> = comments.map(str::trim).collect();
    comments.reverse();
    let text = comments.join(" ");
    let (_, argument) = text.split_once("SAFETY:")?;
    let argument = argument.trim();
    // An argument is a sentence, and not a word.
    (argument.len() >= 15).then(|| argument.to_owned())
}

/// The function that a line is in.
fn function(lines: &[&str]) -> String {
    let name = |line: &&str| {
        let code = line.split("//").next()?;
        let rest = code.split_once("fn ")?.1;
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_')?;
        (end > 0).then(|| rest[..end].to_owned())
    };
    lines.iter().rev().find_map(name).unwrap_or_default()
}

/// What a block calls, and which system calls it names.
fn calls(from: &str) -> String {
    let block = within_braces(from);
    let mut found: Vec<&str> = Vec::new();
    let is_part = |c: char| c.is_alphanumeric() || "_:.".contains(c);
    for (at, _) in block.match_indices('(') {
        let start = block[..at]
            .rfind(|c: char| !is_part(c))
            .map_or(0, |start| start + 1);
        let name = block[start..at].trim_matches('.');
        let is_path = name.contains("::") || name.contains('.');
        if is_path && !name.ends_with("as_raw_fd") && !name.ends_with("as_ptr") {
            found.push(name);
        }
    }
    let numbers = block.split(|c: char| !is_part(c));
    found.extend(numbers.filter(|word| word.starts_with("libc::SYS_")));
    found.dedup();
    let quoted: Vec<String> = found.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}

/// From the first brace to the one that closes it.
fn within_braces(text: &str) -> &str {
    let mut depth = 0_i32;
    let start = text.find('{').unwrap_or(0);
    for (at, c) in text[start..].char_indices() {
        depth += match c {
            '{' => 1,
            '}' => -1,
            _ => 0,
        };
        if depth == 0 {
            return &text[start..=start + at];
        }
    }
    &text[start..]
}

fn page() -> String {
    let root = crates().join("..");
    let root = root.canonicalize().unwrap();
    let mut page = HEAD.to_owned();
    for path in sources(&root.join("crates")) {
        let name = path.strip_prefix(&root).unwrap().display().to_string();
        let found = blocks(&name, &read(&path)).unwrap_or_else(|error| panic!("{error}"));
        for block in found {
            assert!(!block.calls.is_empty(), "{name}: {}", block.function);
            page.push_str(&format!(
                "| {} | `{}` | {} | {} |\n",
                block.file, block.function, block.calls, block.argument
            ));
        }
    }
    page
}

#[test]
fn the_inventory_of_unsafe_code_is_current() {
    let place = crates().join("../docs/unsafe.md");
    let page = page();
    if std::env::var_os("UPDATE_INVENTORY").is_some() {
        std::fs::write(&place, &page).unwrap();
    }
    assert!(
        page.lines().count() > 20,
        "no unsafe code was found: {page}"
    );
    let written = if Path::new(&place).exists() {
        read(&place)
    } else {
        String::new()
    };
    assert!(
        written == page,
        "docs/unsafe.md is not current: UPDATE_INVENTORY=1 cargo nextest run -p allod inventory"
    );
}

#[test]
fn a_block_without_argument_is_seen() {
    let good =
        "fn f() {\n    // SAFETY: takes numbers only.\n    let a = unsafe { libc::getpid() };\n}\n";
    let expected = Block {
        file: "x.rs".to_owned(),
        function: "f".to_owned(),
        calls: "`libc::getpid`".to_owned(),
        argument: "takes numbers only.".to_owned(),
    };
    assert_eq!(blocks("x.rs", good), Ok(vec![expected]));
    for bad in [
        "fn f() {\n    let a = unsafe { libc::getpid() };\n}\n",
        "fn f() {\n    // SAFETY: yes.\n    let a = unsafe { libc::getpid() };\n}\n",
        "fn f() {\n    // SAFETY: takes numbers only.\n    let b = 1;\n    unsafe { libc::getpid() };\n}\n",
        "unsafe impl Send for A {}\n",
        "unsafe fn f() {}\n",
        "#[unsafe(no_mangle)]\nfn f() {}\n",
    ] {
        assert!(blocks("x.rs", bad).is_err(), "{bad}");
    }
    let none =
        "// unsafe { }\n#[expect(unsafe_code, reason = \"unsafe { }\")]\nlet unsafety = 1;\n";
    assert_eq!(blocks("x.rs", none), Ok(vec![]));
}

#[test]
fn what_a_block_calls_is_found() {
    let long = " unsafe {\n        libc::syscall(\n            libc::SYS_setns,\n            fd.as_raw_fd(),\n        )\n    };\n other::call()";
    assert_eq!(calls(long), "`libc::syscall`, `libc::SYS_setns`");
}
