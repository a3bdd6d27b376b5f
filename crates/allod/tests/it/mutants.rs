//! The bugs that `make mutants` plants into the source (`tests/mutants/`): each patch still applies, and names tests that
//! there are. That each is caught is what `make mutants` shows; it builds a crate once for each and takes long.

use std::path::{Path, PathBuf};
use std::process::Command;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn applies(patch: &Path) -> Result<(), String> {
    let mut git = Command::new("git");
    git.args(["apply", "--check"]).arg(patch);
    let done = git.current_dir(repository()).output().expect("git runs");
    if done.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&done.stderr).into_owned())
}

fn patches() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(repository().join("tests/mutants")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut patches: Vec<PathBuf> = paths
        .filter(|path| path.extension().is_some_and(|end| end == "patch"))
        .collect();
    patches.sort();
    patches
}

#[test]
fn every_planted_bug_fits_the_source_as_it_is() {
    let patches = patches();
    assert!(patches.len() >= 120, "{}", patches.len());
    for patch in patches {
        let fits = applies(&patch);
        assert_eq!(fits, Ok(()), "{}", patch.display());
    }
}

/// The file that a test is in, by the crate and the tests of it that a patch names.
fn file_of(place: &str, test: &str) -> PathBuf {
    let mut modules: Vec<&str> = test.split("::").collect();
    modules.pop();
    let file = match *place.split(' ').collect::<Vec<_>>() {
        [krate, "--lib"] => format!("{krate}/src/{}.rs", modules.join("/")),
        [krate, "--test", tests] => format!("{krate}/tests/{tests}/{}.rs", modules[0]),
        _ => panic!("{place} is no place"),
    };
    repository().join("crates").join(file)
}

#[test]
fn every_planted_bug_names_tests_that_exist() {
    for patch in patches() {
        let text = std::fs::read_to_string(&patch).unwrap();
        let header = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
        let named = header("Caught by: ");
        let named = named.unwrap_or_else(|| panic!("{} names no test", patch.display()));
        let place = header("Crate: ").unwrap_or("allod-state --test it");
        for test in named.split(' ') {
            let source = std::fs::read_to_string(file_of(place, test)).unwrap();
            let declaration = format!("fn {}(", test.rsplit("::").next().unwrap());
            assert!(source.contains(&declaration), "{test}: {}", patch.display());
        }
    }
}

#[test]
fn a_patch_that_does_not_fit_is_seen() {
    let patches = patches();
    let text = std::fs::read_to_string(&patches[0]).unwrap();
    let folder = std::env::temp_dir().join(format!("allod-mutants-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let stale = folder.join("stale.patch");
    let removed = text.find("\n-    ").expect("it removes a line");
    let text = format!("{}\n-    else{}", &text[..removed], &text[removed + 6..]);
    std::fs::write(&stale, text).unwrap();
    let seen = applies(&stale);
    std::fs::remove_dir_all(&folder).unwrap();
    assert!(seen.is_err());
}
