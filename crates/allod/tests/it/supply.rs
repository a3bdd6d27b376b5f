//! What the build is made of: `deny.toml` holds for all of it, and `docs/dependencies.txt` lists it.
//!
//! `make supply` has cargo-deny check the same file, with the texts of the licences; this needs nothing but cargo.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const CRATES_IO: &str = "registry+https://github.com/rust-lang/crates.io-index";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// One crate of somebody else's in the build.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Package {
    name: String,
    version: Version,
    licence: String,
    source: String,
}

/// The numbers of a version; what comes after a hyphen or a plus sign is left out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Version(Vec<u64>);

impl Version {
    fn read(text: &str) -> Self {
        let numbers = text.split(['-', '+']).next().unwrap_or_default();
        Self(
            numbers
                .split('.')
                .map(|part| part.parse().unwrap())
                .collect(),
        )
    }
}

/// Everything that is built, for the machines that Allod runs on.
fn packages() -> Vec<Package> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .args(["--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(repository())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap();
    let built: BTreeSet<String> = nodes.iter().map(|node| text(&node["id"])).collect();
    let all = metadata["packages"].as_array().unwrap();
    let others = all.iter().filter(|package| {
        built.contains(&text(&package["id"])) && !text(&package["name"]).starts_with("allod")
    });
    let mut packages: Vec<Package> = others
        .map(|package| Package {
            name: text(&package["name"]),
            version: Version::read(&text(&package["version"])),
            licence: text(&package["license"]),
            source: text(&package["source"]),
        })
        .collect();
    packages.sort();
    assert!(
        packages.len() > 100,
        "cargo metadata says less than it should"
    );
    packages
}

/// The lists of `deny.toml`, of which each entry has a line of its own.
#[derive(Debug, Default)]
struct Rules {
    licences: BTreeSet<String>,
    /// Licences that single crates may have beside those.
    exceptions: BTreeMap<String, BTreeSet<String>>,
    /// What a crate's licence is where its manifest does not say.
    clarified: BTreeMap<String, String>,
    /// Crates and the version below which they are refused; none where they are refused altogether.
    denied: Vec<(String, Option<Version>)>,
}

impl Rules {
    fn read(text: &str) -> Self {
        let mut rules = Self::default();
        let (mut list, mut clarifying) = ("", String::new());
        for line in text.lines().map(str::trim) {
            let quoted: Vec<&str> = line.split('"').skip(1).step_by(2).collect();
            let value = |key: &str| {
                let after = line.split_once(&format!("{key} = "))?.1;
                after.split('"').nth(1).map(str::to_owned)
            };
            match (list, line) {
                (_, "]") => list = "",
                ("", line) if line.ends_with("= [") => list = line.split(' ').next().unwrap(),
                ("allow", _) => rules
                    .licences
                    .extend(quoted.iter().map(|one| (*one).to_owned())),
                ("exceptions", line) if line.starts_with('{') => {
                    let (name, licences) = quoted.split_first().unwrap();
                    let licences = licences.iter().map(|one| (*one).to_owned()).collect();
                    rules.exceptions.insert((*name).to_owned(), licences);
                }
                ("deny", line) if line.starts_with('{') => {
                    assert!(value("reason").is_some(), "an entry says no reason: {line}");
                    let below = value("version").map(|version| {
                        Version::read(version.strip_prefix('<').expect("written as \"<1.2.3\""))
                    });
                    rules.denied.push((value("name").unwrap(), below));
                }
                ("", line) if line.starts_with("crate = ") => clarifying = quoted[0].to_owned(),
                ("", line) if line.starts_with("expression = ") => {
                    rules
                        .clarified
                        .insert(clarifying.clone(), quoted[0].to_owned());
                }
                _ => {}
            }
        }
        rules
    }

    /// Everything that the rules do not allow.
    fn offences(&self, packages: &[Package]) -> Vec<String> {
        let offence = |package: &Package| {
            let name = &package.name;
            if package.source != CRATES_IO {
                return Some(format!(
                    "{name} comes from `{}`, not from crates.io",
                    package.source
                ));
            }
            let is_denied = self.denied.iter().any(|(denied, below)| {
                denied == name && below.as_ref().is_none_or(|below| package.version < *below)
            });
            if is_denied {
                return Some(format!(
                    "{name} {:?} is refused by deny.toml",
                    package.version
                ));
            }
            let licence = self.clarified.get(name).unwrap_or(&package.licence);
            let exception = self.exceptions.get(name);
            let may = |one: &str| {
                self.licences.contains(one) || exception.is_some_and(|more| more.contains(one))
            };
            let is_allowed = Expression::new(licence).is_met(&may);
            (!is_allowed)
                .then(|| format!("{name} has the licence `{licence}`, which is not allowed"))
        };
        packages.iter().filter_map(offence).collect()
    }
}

/// An SPDX expression, read once from left to right.
struct Expression<'a> {
    words: std::iter::Peekable<std::vec::IntoIter<&'a str>>,
}

impl<'a> Expression<'a> {
    fn new(text: &'a str) -> Self {
        let mut words = Vec::new();
        // Old manifests write a slash where they mean `OR`.
        for word in text.split([' ', '/']).filter(|word| !word.is_empty()) {
            let open = word.len() - word.trim_start_matches('(').len();
            let bare = word.trim_matches(['(', ')']);
            let shut = word.len() - open - bare.len();
            words.extend(std::iter::repeat_n("(", open));
            words.push(bare);
            words.extend(std::iter::repeat_n(")", shut));
        }
        Self {
            words: words.into_iter().peekable(),
        }
    }

    fn is_met(&mut self, may: &impl Fn(&str) -> bool) -> bool {
        let mut is_met = self.all(may);
        while let Some(word) = self.words.peek().copied().filter(|word| *word != ")") {
            if word == "OR" {
                self.words.next();
            }
            is_met |= self.all(may);
        }
        is_met
    }

    fn all(&mut self, may: &impl Fn(&str) -> bool) -> bool {
        let mut is_met = self.one(may);
        while self.words.next_if_eq(&"AND").is_some() {
            is_met &= self.one(may);
        }
        is_met
    }

    fn one(&mut self, may: &impl Fn(&str) -> bool) -> bool {
        let Some(word) = self.words.next() else {
            return false;
        };
        if word == "(" {
            let is_met = self.is_met(may);
            self.words.next();
            return is_met;
        }
        let mut name = word.trim_end_matches('+').to_owned();
        if self.words.next_if_eq(&"WITH").is_some() {
            name = format!("{name} WITH {}", self.words.next().unwrap_or_default());
        }
        may(&name)
    }
}

fn rules() -> Rules {
    let path = repository().join("deny.toml");
    let rules = Rules::read(&std::fs::read_to_string(path).unwrap());
    assert!(
        rules.licences.contains("MIT") && rules.denied.len() >= 4,
        "{rules:?}"
    );
    rules
}

#[test]
fn everything_that_is_built_is_allowed() {
    let offences = rules().offences(&packages());
    assert!(
        offences.is_empty(),
        "{}\nuse another crate or version, or say in deny.toml why it is fine",
        offences.join("\n")
    );
}

#[test]
fn what_is_not_allowed_is_seen() {
    let rules = rules();
    let package = |name: &str, version: &str, licence: &str, source: &str| Package {
        name: name.to_owned(),
        version: Version::read(version),
        licence: licence.to_owned(),
        source: source.to_owned(),
    };
    let git = "git+https://github.com/somebody/fork";
    for (bad, said) in [
        (package("x", "1.0.0", "GPL-3.0-only", CRATES_IO), "licence"),
        (
            package("x", "1.0.0", "MIT AND GPL-3.0-only", CRATES_IO),
            "licence",
        ),
        (package("x", "1.0.0", "MPL-2.0", CRATES_IO), "licence"),
        (package("x", "1.0.0", "", CRATES_IO), "licence"),
        (package("x", "1.0.0", "MIT", git), "crates.io"),
        (
            package("quinn-proto", "0.11.13", "MIT", CRATES_IO),
            "refused",
        ),
        (package("iroh", "1.0.9", "MIT", CRATES_IO), "refused"),
        (package("tokio-tar", "99.0.0", "MIT", CRATES_IO), "refused"),
    ] {
        let offences = rules.offences(std::slice::from_ref(&bad));
        assert!(
            offences.len() == 1 && offences[0].contains(said),
            "{bad:?}: {offences:?}"
        );
    }
    for good in [
        package("x", "1.0.0", "GPL-3.0-only OR MIT", CRATES_IO),
        package("x", "1.0.0", "Unlicense/MIT", CRATES_IO),
        package(
            "x",
            "1.0.0",
            "(MIT OR GPL-3.0-only) AND Unicode-3.0",
            CRATES_IO,
        ),
        package("x", "1.0.0", "Apache-2.0 WITH LLVM-exception", CRATES_IO),
        package("imbl", "7.0.0", "MPL-2.0+", CRATES_IO),
        package("rust-criu", "0.6.1", "", CRATES_IO),
        package("quinn-proto", "0.11.14", "MIT", CRATES_IO),
        package("iroh", "1.1.0-rc1", "MIT", CRATES_IO),
    ] {
        let offences = rules.offences(std::slice::from_ref(&good));
        assert!(offences.is_empty(), "{good:?}: {offences:?}");
    }
}

/// Every crate of somebody else's, with its versions and licences.
fn listed(packages: &[Package], direct: &BTreeSet<String>) -> String {
    let mut text = "# What Allod is built and tested with, beside itself. A star marks what our crates name themselves.\n\
                    # Made by `UPDATE_DEPENDENCIES=1 cargo test -p allod --test it supply`; a new line is argued in its commit.\n"
        .to_owned();
    let mut by_name: BTreeMap<&str, Vec<&Package>> = BTreeMap::new();
    for package in packages {
        by_name.entry(&package.name).or_default().push(package);
    }
    for (name, found) in by_name {
        let version = |package: &&Package| {
            let numbers: Vec<String> = package.version.0.iter().map(u64::to_string).collect();
            numbers.join(".")
        };
        let versions: Vec<String> = found.iter().map(version).collect();
        let licences: BTreeSet<&str> = found
            .iter()
            .map(|package| package.licence.as_str())
            .collect();
        let licences: Vec<&str> = licences.into_iter().collect();
        let star = if direct.contains(name) { "*" } else { " " };
        let (versions, licences) = (versions.join(", "), licences.join("; "));
        let line = format!("{star} {name} {versions}  {licences}");
        writeln!(text, "{}", line.trim_end()).unwrap();
    }
    text
}

/// The names in `[workspace.dependencies]`, by what the registry calls them.
fn direct() -> BTreeSet<String> {
    let text = std::fs::read_to_string(repository().join("Cargo.toml")).unwrap();
    let (_, rest) = text.split_once("[workspace.dependencies]").unwrap();
    let section = rest.split("\n[").next().unwrap();
    let entries = section.lines().filter_map(|line| line.split_once(" = "));
    let named = entries.map(|(key, value)| {
        let renamed = value
            .split_once("package = \"")
            .and_then(|(_, name)| name.split('"').next());
        renamed.unwrap_or(key).to_owned()
    });
    named.filter(|name| !name.starts_with("allod")).collect()
}

#[test]
fn the_list_of_dependencies_is_current() {
    let path = repository().join("docs/dependencies.txt");
    let made = listed(&packages(), &direct());
    if std::env::var_os("UPDATE_DEPENDENCIES").is_some() {
        std::fs::write(&path, &made).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    let (made, kept): (BTreeSet<&str>, BTreeSet<&str>) =
        (made.lines().collect(), kept.lines().collect());
    let (new, gone): (Vec<_>, Vec<_>) = (
        made.difference(&kept).collect(),
        kept.difference(&made).collect(),
    );
    assert!(
        new.is_empty() && gone.is_empty(),
        "docs/dependencies.txt is not current: new {new:#?}, gone {gone:#?}\n\
         run: UPDATE_DEPENDENCIES=1 cargo test -p allod --test it supply, and argue for it in the commit"
    );
}
