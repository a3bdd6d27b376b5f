//! Directories that are swapped for links while they are walked.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags};

use super::*;

/// A tree in which `x` is a directory at one moment, and a link to the outside at the next.
pub(crate) struct Swapped {
    pub(crate) directory: tempfile::TempDir,
}

impl Swapped {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (tree, outside) = (
            directory.path().join("tree"),
            directory.path().join("outside"),
        );
        std::fs::create_dir_all(tree.join("real/inner")).unwrap();
        std::fs::write(tree.join("real/inner/file"), "of the tree").unwrap();
        std::fs::create_dir_all(outside.join("inner")).unwrap();
        std::fs::write(outside.join("inner/file"), "of the host").unwrap();
        symlink(&outside, tree.join("link")).unwrap();
        std::fs::rename(tree.join("real"), tree.join("x")).unwrap();
        Self { directory }
    }

    pub(crate) fn tree(&self) -> std::path::PathBuf {
        self.directory.path().join("tree")
    }

    /// Runs `look` that often at least while the other side swaps without rest, and until that has been in between often
    /// enough: on a busy machine the two take turns for long.
    pub(crate) fn during(&self, times: usize, mut look: impl FnMut()) {
        let tree = self.tree();
        let (is_over, swaps) = (AtomicBool::new(false), AtomicUsize::new(0));
        let exchange = || {
            let (one, other) = (tree.join("x"), tree.join("link"));
            rustix::fs::renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    exchange();
                    swaps.fetch_add(1, Ordering::Relaxed);
                }
            });
            let _over = Over(&is_over);
            let deadline = Instant::now() + Duration::from_mins(1);
            let (mut looks, mut seen, mut turns) = (0, 0, 0);
            while looks < times || turns < TURNS_MIN {
                look();
                looks += 1;
                let now = swaps.load(Ordering::Relaxed);
                if now == seen {
                    std::thread::yield_now();
                } else {
                    (seen, turns) = (now, turns + 1);
                }
                assert!(Instant::now() < deadline, "only {turns} times in between");
            }
        });
    }
}

/// How often the other side is to be in between two looks: so often it does not always leave a directory, nor always a
/// link.
const TURNS_MIN: usize = 64;

/// Ends the other side, also where a look fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// All files below, by this module.
fn walked(top: &Path) -> Vec<String> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut todo = vec![Directory::top(
        rustix::fs::open(top, flags, Mode::empty()).unwrap(),
    )];
    let mut found = Vec::new();
    while let Some(directory) = todo.pop() {
        let Ok(opened) = directory.open() else {
            continue;
        };
        for name in opened.names().unwrap() {
            if let Ok(file) = opened.open_file(&name)
                && file.metadata().unwrap().is_file()
            {
                found.push(std::io::read_to_string(file).unwrap());
            }
            todo.push(opened.directory(&name));
        }
    }
    found
}

#[test]
fn a_directory_that_is_swapped_for_a_link_leads_nowhere() {
    let swapped = Swapped::new();
    let (mut seen, mut left) = (0, 0);
    swapped.during(4_000, || {
        for text in walked(&swapped.tree()) {
            match text.as_str() {
                "of the tree" => seen += 1,
                _ => left += 1,
            }
        }
    });
    assert_eq!(left, 0);
    assert!(seen > 0);
}

#[test]
fn the_same_walk_by_paths_is_led_out() {
    let swapped = Swapped::new();
    let mut left = 0;
    swapped.during(4_000, || {
        let file = swapped.tree().join("x/inner/file");
        left += usize::from(std::fs::read_to_string(file).is_ok_and(|text| text == "of the host"));
    });
    assert!(left > 0, "the race was never lost: it proves nothing");
}

#[test]
fn trees_deeper_than_any_path_are_walked_to_their_end() {
    let directory = tempfile::tempdir().unwrap();
    let name = "d".repeat(200);
    let open = |at: &OwnedFd| {
        rustix::fs::mkdirat(at, &name, Mode::from_raw_mode(0o755)).unwrap();
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        rustix::fs::openat(at, &name, flags, Mode::empty()).unwrap()
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut at = rustix::fs::open(directory.path(), flags, Mode::empty()).unwrap();
    for _ in 0..60 {
        at = open(&at);
    }
    let flags = OFlags::WRONLY | OFlags::CREATE;
    let file = rustix::fs::openat(&at, "file", flags, Mode::from_raw_mode(0o644)).unwrap();
    rustix::io::write(&file, b"deep").unwrap();
    assert_eq!(walked(directory.path()), ["deep"]);
}
