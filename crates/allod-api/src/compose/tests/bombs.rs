//! Files made to cost: each is refused, or read, soon and within a counted amount of memory.
//!
//! Each test of the runner has a process of its own, so that the kernel's highest mark of its memory
//! is that of this one file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use super::super::limits::FILE_BYTES_MAX;
use super::super::{Input, Lowered, lower};
use super::shown;

/// What a text may cost, unoptimised and beside other tests.
const SOON: Duration = Duration::from_secs(15);
const MIB: u64 = 1 << 20;

/// Bytes of memory that this process holds, or held at most.
fn memory(key: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(key)).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024
}

/// Lowers a text, and what it cost at most beyond what was held before.
fn cost(text: &str, folder: Option<&Path>) -> (Result<Lowered, String>, u64) {
    // The highest mark starts again from here.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let (before, began) = (memory("VmRSS"), Instant::now());
    let lowered = lower(&Input {
        text,
        file: "compose.yaml",
        folder,
        variables: &BTreeMap::new(),
        profiles: &BTreeSet::new(),
        name: None,
    });
    let spent = began.elapsed();
    let most = memory("VmHWM").saturating_sub(before);
    println!(
        "{} bytes took {spent:?} and {} KiB",
        text.len(),
        most / 1024
    );
    assert!(spent < SOON, "it took {spent:?}");
    (lowered.map_err(|problems| shown(&problems)), most)
}

/// The text is refused with these words, for less than so much memory.
fn refused(text: &str, folder: Option<&Path>, words: &str, bytes_max: u64) {
    let (lowered, most) = cost(text, folder);
    let told = lowered.expect_err("it lowers");
    let start: String = told.chars().take(600).collect();
    assert!(told.contains(words), "{start}");
    assert!(told.len() < 200_000, "{} bytes are told", told.len());
    assert!(most < bytes_max, "it took {most} bytes of memory");
}

#[test]
fn ten_megabytes_are_not_even_copied() {
    let line = "# a line of a long file, with nothing in it\n";
    let text = line.repeat(10 * (1 << 20) / line.len() + 1);
    refused(&text, None, "more than 1048576", 8 * MIB);
}

#[test]
fn a_billion_laughs() {
    let mut text = "a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol, lol]\n".to_string();
    for level in 1..60 {
        let below = format!("*a{}", level - 1);
        text.push_str(&format!(
            "a{level}: &a{level} [{}]\n",
            vec![below; 10].join(", ")
        ));
    }
    refused(&text, None, "grows too large", 64 * MIB);
}

#[test]
fn long_texts_through_aliases() {
    let text = format!(
        "a: &a {}\nb: [{}]",
        "x".repeat(500_000),
        vec!["*a"; 50_000].join(", ")
    );
    refused(&text, None, "grows too large", 64 * MIB);
}

#[test]
fn maps_merged_into_maps() {
    let mut text = "m0: &m0 {a: 1, b: 2, c: 3}\n".to_string();
    for level in 1..2_000 {
        let below = level - 1;
        text.push_str(&format!(
            "m{level}: &m{level} {{<<: *m{below}, k{level}: *m{below}}}\n"
        ));
    }
    let (lowered, most) = cost(&text, None);
    assert!(lowered.is_err());
    assert!(most < 64 * MIB, "{most}");
}

#[test]
fn a_million_open_brackets() {
    let length = usize::try_from(FILE_BYTES_MAX).unwrap();
    for open in ["[", "{", "- ", "? ", "a: ["] {
        let text = open.repeat(length / open.len());
        let (lowered, most) = cost(&text, None);
        assert!(lowered.is_err());
        assert!(most < 64 * MIB, "{open}: {most}");
    }
}

#[test]
fn variables_that_double() {
    let folder = tempfile::tempdir().unwrap();
    let mut lines = format!("A0={}\n", "x".repeat(500_000));
    for level in 1..50_000 {
        lines.push_str(&format!("A{level}=$A0\n"));
    }
    fs::write(folder.path().join(".env"), lines).unwrap();
    refused(
        "services: { web: { image: x } }",
        Some(folder.path()),
        "grows too large",
        64 * MIB,
    );
    let defaults: String = (0..4_000)
        .map(|n| format!("  - ${{B:-{}}}{n}\n", "y".repeat(200)))
        .collect();
    let (lowered, most) = cost(
        &format!("x-list:\n{defaults}services: {{ web: {{ image: x }} }}"),
        None,
    );
    assert!(lowered.is_ok());
    assert!(most < 64 * MIB, "{most}");
}

#[test]
fn a_quote_that_never_ends() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join(".env"),
        format!("A=\"{}", "x\n".repeat(500_000)),
    )
    .unwrap();
    refused(
        "services: { web: { image: x } }",
        Some(folder.path()),
        "a quote is not closed",
        64 * MIB,
    );
}

#[test]
fn one_file_read_very_often() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(
        folder.path().join("big"),
        "A=".to_string() + &"x".repeat(500_000),
    )
    .unwrap();
    let text = format!(
        "services: {{ web: {{ image: x, env_file: [{}] }} }}",
        vec!["big"; 40_000].join(", ")
    );
    refused(&text, Some(folder.path()), "at most 32 env files", 64 * MIB);
    let text = format!(
        "services: {{ web: {{ image: x, secrets: [{}] }} }}\nsecrets: {{ s: {{ file: big }} }}",
        vec!["s"; 40_000].join(", ")
    );
    refused(&text, Some(folder.path()), "at most 64 secrets", 64 * MIB);
}

#[test]
fn services_that_extend_the_same_large_one() {
    let folder = tempfile::tempdir().unwrap();
    let labels: String = (0..20_000)
        .map(|n| format!("      l{n}: {}\n", "v".repeat(30)))
        .collect();
    let base = format!("services:\n  base:\n    image: x\n    labels:\n{labels}");
    fs::write(folder.path().join("base.yaml"), base).unwrap();
    let services: String = (0..60)
        .map(|n| {
            format!(
                "  s{n}: {{ extends: {{ file: base.yaml, service: base }}, labels: [a{n}=b] }}\n"
            )
        })
        .collect();
    refused(
        &format!("services:\n{services}"),
        Some(folder.path()),
        "grow too large",
        256 * MIB,
    );
}

#[test]
fn lists_merged_item_by_item() {
    let folder = tempfile::tempdir().unwrap();
    let items = |name: &str| {
        (0..20_000)
            .map(|n| format!("      - {name}{n}=x\n"))
            .collect::<String>()
    };
    let base = format!(
        "services:\n  base:\n    image: x\n    environment:\n{}",
        items("A")
    );
    fs::write(folder.path().join("base.yaml"), base).unwrap();
    let text = format!(
        "services:\n  web:\n    extends: {{ file: base.yaml, service: base }}\n    environment:\n{}    expose:\n{}",
        items("B"),
        (0..10_000)
            .map(|n| format!("      - {n}\n"))
            .collect::<String>()
    );
    refused(&text, Some(folder.path()), "variables with", 128 * MIB);
}

#[test]
fn a_folder_that_is_too_much_to_bring_along() {
    let folder = tempfile::tempdir().unwrap();
    let site = folder.path().join("site");
    fs::create_dir(&site).unwrap();
    for n in 0..100 {
        fs::write(site.join(format!("{n:03}")), "x".repeat(100_000)).unwrap();
    }
    let text = "services: { web: { image: x, volumes: ['./site:/srv:ro'] } }";
    refused(
        text,
        Some(folder.path()),
        "more than 64 files or 1048576 bytes",
        16 * MIB,
    );
    fs::remove_dir_all(&site).unwrap();
    fs::create_dir(&site).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", site.join("passwd")).unwrap();
    refused(
        text,
        Some(folder.path()),
        "neither a file nor a folder",
        16 * MIB,
    );
}
