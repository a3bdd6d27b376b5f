//! The corpus: files that must lower, files whose problems are frozen, and no text that panics.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::{ProptestConfig, any, prop, proptest};

use allod_node::manifest::{Check, Condition, Manifest, Restart, Service};
use allod_state::app::{Protocol, Update};
use allod_state::{Credits, Label};

use super::*;

mod bombs;
mod summary;

fn corpus(kind: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/compose")
        .join(kind);
    let files = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files
        .filter(|path| path.extension() == Some("yaml".as_ref()))
        .collect();
    files.sort();
    files
}

/// The environment that the corpus is lowered with, whoever runs the tests.
fn variables() -> BTreeMap<String, String> {
    let pairs = [
        ("API_KEY_OF_TESTS", "k3y"),
        ("HOME_OF_TESTS", "/home/tests"),
        ("FROM_CALLER", "yes"),
    ];
    pairs
        .map(|(name, value)| (name.to_string(), value.to_string()))
        .into()
}

fn lower_file(path: &Path, profiles: &[&str]) -> Result<Lowered, Vec<Diagnostic>> {
    let text = fs::read_to_string(path).unwrap();
    lower(&Input {
        text: &text,
        file: path.file_name().unwrap().to_str().unwrap(),
        folder: path.parent(),
        variables: &variables(),
        profiles: &profiles.iter().map(|profile| profile.to_string()).collect(),
        name: None,
    })
}

fn good(name: &str) -> Lowered {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compose/good");
    lower_file(&folder.join(format!("{name}.yaml")), &[])
        .unwrap_or_else(|problems| panic!("{}", shown(&problems)))
}

fn lower_text(text: &str) -> Result<Lowered, Vec<Diagnostic>> {
    lower(&Input {
        text,
        file: "compose.yaml",
        folder: None,
        variables: &BTreeMap::new(),
        profiles: &BTreeSet::new(),
        name: None,
    })
}

fn shown(problems: &[Diagnostic]) -> String {
    let texts: Vec<String> = problems
        .iter()
        .map(|problem| format!("{problem}\n"))
        .collect();
    texts.join("\n")
}

fn service(lowered: &Lowered, name: &str) -> Service {
    lowered.manifest.services[name].clone()
}

/// What each good file became, and what it is warned of, is kept beside it.
#[test]
fn every_good_file_becomes_what_it_became_before() {
    let files = corpus("good");
    assert!(files.len() >= 60, "the corpus shrank to {}", files.len());
    let mut wrong = Vec::new();
    for path in &files {
        let lowered = match lower_file(path, &["*"]) {
            Ok(lowered) => lowered,
            Err(problems) => {
                wrong.push(format!("{}:\n{}", path.display(), shown(&problems)));
                continue;
            }
        };
        let is_warning = |each: &Diagnostic| each.severity == Severity::Warning;
        assert!(
            lowered.warnings.iter().all(is_warning),
            "{}",
            path.display()
        );
        let bytes = lowered.manifest.to_bytes();
        assert_eq!(Manifest::from_bytes(&bytes).unwrap(), lowered.manifest);
        let names: Vec<&String> = lowered.demands.keys().collect();
        assert_eq!(names, lowered.manifest.services.keys().collect::<Vec<_>>());
        let told = format!("{}\n{}", summary::of(&lowered), shown(&lowered.warnings));
        check_kept(path, &told, &mut wrong);
    }
    assert!(
        wrong.is_empty(),
        "became otherwise than before:\n{}",
        wrong.join("\n")
    );
}

/// Compares with the golden file beside a deploy file; `ALLOD_GOLDEN=write` writes it anew first.
fn check_kept(path: &Path, told: &str, wrong: &mut Vec<String>) {
    let folder = path.parent().unwrap().to_str().unwrap();
    let told = told.replace(folder, "…");
    let told = format!("{}\n", told.trim_end());
    let golden = path.with_extension("txt");
    if std::env::var("ALLOD_GOLDEN").is_ok_and(|text| text == "write") {
        fs::write(&golden, &told).unwrap();
    }
    if fs::read_to_string(&golden).unwrap_or_default() != told {
        wrong.push(format!("{}:\n{told}", path.display()));
    }
}

/// The problems of each broken file are kept beside it.
#[test]
fn every_broken_file_says_what_is_wrong_where_and_what_to_do() {
    let files = corpus("bad");
    assert!(files.len() >= 50, "the corpus shrank to {}", files.len());
    let mut wrong = Vec::new();
    for path in files {
        let problems = lower_file(&path, &[]).expect_err(&format!("{} lowers", path.display()));
        for problem in &problems {
            check_whole(problem, &path.display().to_string());
        }
        check_kept(&path, &shown(&problems), &mut wrong);
    }
    assert!(
        wrong.is_empty(),
        "told otherwise than before:\n{}",
        wrong.join("\n")
    );
}

/// An error has a place in the text, the text of that line, and a next step.
fn check_whole(problem: &Diagnostic, place: &str) {
    if problem.severity == Severity::Warning {
        return;
    }
    let has_place = problem.line > 0 && problem.column > 0;
    assert!(has_place, "{place}: no line and column: {problem}");
    let help = problem.help.as_deref().unwrap_or_default();
    assert!(!help.is_empty(), "{place}: nothing to do next: {problem}");
}

#[test]
fn what_the_repository_shows_lowers() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let mut count = 0;
    for folder in fs::read_dir(examples).unwrap() {
        if let Some(path) = lookup(&folder.unwrap().path()) {
            let lowered =
                lower_file(&path, &[]).unwrap_or_else(|problems| panic!("{}", shown(&problems)));
            assert!(lowered.warnings.is_empty(), "{}", shown(&lowered.warnings));
            count += 1;
        }
    }
    assert!(count > 0);
}

#[test]
fn a_published_port_gets_a_host_a_probe_and_the_law_sees_it() {
    let lowered = good("hello");
    let web = service(&lowered, "web");
    assert_eq!(web.ingress[0].host, "web.hello.localhost");
    assert_eq!(web.readiness.unwrap().check, Check::Tcp { port: 80 });
    let demand = &lowered.demands["web"];
    assert_eq!(demand.ports[0].protocol, Protocol::Http);
    assert!(demand.ports[0].is_public);
    assert_eq!(demand.constraints.regions, ["eu".parse().unwrap()].into());
    assert_eq!(demand.resources.cpu_milli, defaults::CPU_MILLI);
    assert_eq!(demand.resources.memory_bytes, 256 << 20);
}

#[test]
fn limits_are_what_is_leased_and_volumes_are_blinded() {
    let lowered = good("postgres");
    let demand = &lowered.demands["db"];
    assert_eq!(demand.resources.cpu_milli, 2_000);
    assert_eq!(demand.resources.memory_bytes, 4 << 30);
    assert_eq!(demand.volumes, [("data".to_string(), 50 << 30)].into());
    assert_eq!(demand.update, Update::StopFirst);
    assert_eq!(
        demand.constraints.price_per_hour_max,
        Some(Credits::from_micro(120_000))
    );
    let app = Label::of(&[7; 32], "pg");
    let blinded = lowered.blinded(&app)[&allod_node::service_label(&app, "db")].clone();
    assert_eq!(
        blinded.volumes,
        [(allod_node::volume_label(&app, "data"), 50 << 30)].into()
    );
    let db = service(&lowered, "db");
    assert_eq!(db.files[0].target, "/run/secrets/pg_password");
    assert_eq!(*db.files[0].bytes, b"correct horse battery staple\n");
    assert!(db.files[0].is_secret && db.files[0].mode == 0o444);
    let health = db.liveness.unwrap();
    assert_eq!(
        (health.interval_ms, health.timeout_ms, health.retries),
        (10_000, 3_000, 5)
    );
    assert!(
        db.readiness.unwrap().interval_ms < 1_000,
        "a start must not wait 10 s for its first check"
    );
}

#[test]
fn a_pinned_digest_an_extended_file_and_its_env_file_are_found() {
    let lowered = good("three-tier");
    let digest = service(&lowered, "web").image.digest.unwrap();
    assert!(digest.starts_with("sha256:9b2d5f0c"));
    assert_eq!(
        lowered.demands["web"].constraints.replicas_per_node_max,
        Some(1)
    );
    let db = service(&lowered, "db");
    assert_eq!(db.env["POSTGRES_USER"].0, "app");
    assert_eq!(db.env["POSTGRES_PASSWORD"].0, "p$ss#word");
    assert_eq!(db.mounts[0].volume, "data");
    let api = service(&lowered, "api");
    let ready = Check::Http {
        path: "/readyz".into(),
        port: 8080,
    };
    assert_eq!(api.readiness.unwrap().check, ready);
    assert!(matches!(api.liveness.unwrap().check, Check::Exec { .. }));
    assert!(api.ingress.is_empty() && api.ports[0].published.is_none());
}

#[test]
fn merge_keys_and_extends_give_way_to_what_is_nearer() {
    let web = service(&good("anchors"), "web");
    assert_eq!(web.env["LOG_LEVEL"].0, "debug");
    assert_eq!(web.env["TZ"].0, "Europe/Berlin");
    let lowered = good("extends-here");
    let worker = service(&lowered, "worker");
    assert_eq!(worker.image.reference, "acme/worker:1");
    let env: Vec<&str> = worker.env.values().map(|value| value.as_str()).collect();
    assert_eq!(env, ["1", "2", "3"]);
    assert_eq!(worker.command.unwrap(), ["serve", "--fast"]);
    assert_eq!(worker.ports.len(), 2);
    assert_eq!(
        (worker.mounts.len(), worker.mounts[0].volume.as_str()),
        (1, "own")
    );
}

#[test]
fn variables_are_replaced_and_dollars_kept() {
    let lowered = good("interpolation");
    assert_eq!(lowered.manifest.app, "interpolated");
    let web = service(&lowered, "web");
    assert_eq!(web.image.reference, "ghcr.io/acme/web:latest");
    assert_eq!(web.env["URL"].0, "https://example.org");
    assert_eq!(web.env["PRICE"].0, "$5");
    assert_eq!(web.env["DEBUG"].0, "");
    assert_eq!(web.env["HOME"].0, "/home/tests");
    assert_eq!(web.command.unwrap()[2], "echo $HOME");
    assert_eq!(lowered.demands["web"].replicas, 2);
}

#[test]
fn only_active_profiles_take_part() {
    let names = |profiles: &[&str]| {
        let path = corpus("good")
            .into_iter()
            .find(|path| path.ends_with("profiles.yaml"))
            .unwrap();
        let lowered = lower_file(&path, profiles).unwrap();
        lowered.manifest.services.into_keys().collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["web"]);
    assert_eq!(names(&["debug"]), ["debug", "web"]);
    assert_eq!(names(&["*"]), ["debug", "migrate", "web"]);
}

#[test]
fn a_service_whose_end_is_awaited_is_not_started_again() {
    let lowered = good("jobs");
    let restart = |name: &str| service(&lowered, name).restart;
    assert_eq!(restart("migrate"), Restart::OnFailure { retries_max: None });
    assert_eq!(restart("api"), Restart::Always);
    assert_eq!(
        restart("backup"),
        Restart::OnFailure {
            retries_max: Some(5)
        }
    );
    assert_eq!(restart("once"), Restart::Never);
    let api = service(&lowered, "api");
    assert_eq!(api.depends_on["migrate"], Condition::Completed);
    assert!(
        !api.depends_on.contains_key("metrics"),
        "it is optional and inactive"
    );
}

#[test]
fn older_forms_say_the_same() {
    let lowered = good("legacy-limits");
    let demand = &lowered.demands["app"];
    assert_eq!(demand.resources.memory_bytes, 3 << 29);
    assert_eq!((demand.resources.cpu_milli, demand.replicas), (750, 3));
    let app = service(&lowered, "app");
    assert_eq!((app.pids_max, app.stop_grace_ms), (Some(200), 60_000));
    assert!(app.cap_add.is_empty(), "every container has them");
    assert_eq!(
        app.cap_drop.len(),
        9,
        "all but the two that are added again"
    );
    assert!(!app.cap_drop.contains("CAP_NET_BIND_SERVICE"));
    assert_eq!(app.tmpfs[1].bytes_max, Some(64 << 20));
    let told = shown(&lowered.warnings);
    assert!(told.contains("`ulimits` has no effect") && told.contains("`dns` has no effect"));
}

#[test]
fn what_the_runtime_cannot_do_is_told_and_what_it_needs_is_made() {
    let lowered = good("runtime-gaps");
    let odd = service(&lowered, "my_service");
    assert_eq!(odd.hostname.as_deref(), Some("my-service"));
    assert_eq!(odd.mounts[0].target, "/data/sub");
    assert_eq!(odd.stop_signal.as_deref(), Some("SIGQUIT"));
    assert!(odd.cap_add.is_empty() && !odd.cap_drop.contains("CAP_NET_BIND_SERVICE"));
    assert_eq!(
        (odd.logs.file_bytes_max, odd.logs.files_max),
        (16 << 10, 16)
    );
    let plain = service(&lowered, "plain");
    assert_eq!(plain.hostname, None);
    assert_eq!(plain.cap_add, ["CAP_NET_RAW".to_string()].into());
    let told = shown(&lowered.warnings);
    for key in allod_node::unsupported(&odd) {
        assert!(
            told.contains(&format!("`{key}` has no effect")),
            "{key}: {told}"
        );
    }
}

#[test]
fn without_a_folder_no_file_is_read() {
    let text = "services: { web: { image: x, env_file: /etc/hostname, secrets: [s] } }\nsecrets: { s: { file: /etc/passwd } }";
    let told = shown(&lower_text(text).unwrap_err());
    assert_eq!(told.matches("cannot be read here").count(), 2, "{told}");
    let text = "services: { web: { extends: { file: /etc/passwd, service: x } } }";
    assert!(shown(&lower_text(text).unwrap_err()).contains("cannot be read here"));
}

#[test]
fn a_device_is_not_read_as_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let text = "services: { web: { image: x, env_file: /dev/zero } }";
    let problems = lower(&Input {
        text,
        file: "compose.yaml",
        folder: Some(folder.path()),
        variables: &BTreeMap::new(),
        profiles: &BTreeSet::new(),
        name: None,
    });
    assert!(shown(&problems.unwrap_err()).contains("not a regular file"));
}

#[test]
fn the_folder_names_the_app_and_its_env_file_gives_variables() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("My Shop");
    fs::create_dir(&home).unwrap();
    fs::write(home.join(".env"), "TAG=7\nWINS=file\n").unwrap();
    fs::write(
        home.join("compose.yml"),
        "services: { web: { image: 'x:${TAG}-${WINS}' } }",
    )
    .unwrap();
    let path = lookup(&home).unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let lowered = lower(&Input {
        text: &text,
        file: "compose.yml",
        folder: path.parent(),
        variables: &[("WINS".to_string(), "caller".to_string())].into(),
        profiles: &BTreeSet::new(),
        name: None,
    });
    let lowered = lowered.unwrap();
    assert_eq!(lowered.manifest.app, "my-shop");
    assert_eq!(service(&lowered, "web").image.reference, "x:7-caller");
    fs::write(home.join("allod.yaml"), "").unwrap();
    assert!(lookup(&home).unwrap().ends_with("allod.yaml"));
    assert_eq!(lookup(folder.path()), None);
}

#[test]
fn a_problem_repeated_by_an_alias_is_told_once() {
    let text = "x-a: &a { image: x, cpus: lots }\nservices: { one: *a, two: *a }";
    let problems = lower_text(text).unwrap_err();
    assert_eq!(problems.len(), 1, "{}", shown(&problems));
    assert_eq!(problems[0].line, 1);
}

#[test]
fn many_problems_are_told_up_to_a_limit() {
    let services: Vec<String> = (0..60)
        .map(|n| format!("  s{n}: {{ image: x, ports: [a, b, c, d, e] }}"))
        .collect();
    let problems = lower_text(&format!("services:\n{}", services.join("\n"))).unwrap_err();
    assert_eq!(problems.len(), limits::DIAGNOSTICS_MAX);
}

#[test]
fn more_services_or_bytes_than_the_law_takes_are_refused() {
    let services: Vec<String> = (0..65).map(|n| format!("  s{n}: {{ image: x }}")).collect();
    let told = shown(&lower_text(&format!("services:\n{}", services.join("\n"))).unwrap_err());
    assert!(told.contains("at most 64 services"), "{told}");
    let big = "x".repeat(400_000);
    let text = format!(
        "x-b: &b {big}\nservices: {{ a: {{ image: x, environment: {{ A: *b, B: *b, C: *b }} }} }}"
    );
    assert!(shown(&lower_text(&text).unwrap_err()).contains("bytes with its files"));
}

#[test]
fn run_without_a_file() {
    let asked = Single {
        image: "docker.io/library/nginx:alpine".into(),
        ports: vec!["80".into(), "8443:443".into()],
        env: vec!["A=b=c".into()],
        memory: Some("64m".into()),
        replicas: Some(2),
        ..Single::default()
    };
    let lowered = single(&asked).unwrap();
    assert_eq!(lowered.manifest.app, "nginx");
    let nginx = service(&lowered, "nginx");
    assert_eq!(nginx.ingress[0].host, "nginx.localhost");
    assert_eq!(nginx.env["A"].0, "b=c");
    assert_eq!(nginx.ports[1].published.unwrap().port, 8443);
    assert_eq!(lowered.demands["nginx"].resources.memory_bytes, 64 << 20);
    let wrong = Single {
        image: "No Such".into(),
        ports: vec!["x".into()],
        env: vec!["novalue".into()],
        volumes: vec!["/etc:/etc".into()],
        cpus: Some("0".into()),
        ..Single::default()
    };
    let flags: Vec<String> = single(&wrong)
        .unwrap_err()
        .into_iter()
        .map(|each| each.key)
        .collect();
    assert_eq!(flags, ["IMAGE", "--port", "--env", "--volume", "--cpus"]);
}

#[test]
fn run_exclusively_is_what_a_file_says() {
    let asked = Single {
        image: "nginx".into(),
        is_exclusive: true,
        ..Single::default()
    };
    let demand = |lowered: &Lowered| lowered.demands["nginx"].clone();
    let lowered = demand(&single(&asked).unwrap());
    let file = "services: { nginx: { image: nginx, x-allod: { exclusive: true } } }";
    assert_eq!(lowered, demand(&lower_text(file).unwrap()));
    assert_eq!(lowered.update, Update::Exclusive);
    let many = Single {
        replicas: Some(2),
        ..asked
    };
    let told = single(&many).unwrap_err();
    assert_eq!(told[0].key, "--replicas");
    let file = "services: { nginx: { image: nginx, scale: 2, x-allod: { exclusive: true } } }";
    let of_file = lower_text(file).unwrap_err();
    assert_eq!(told[0].message, of_file[0].message);
    let help = of_file[0].help.clone().unwrap();
    let expected = help.replace("`exclusive`", "`--exclusive`");
    assert_eq!(told[0].help.as_deref(), Some(expected.as_str()));
}

#[test]
fn secrets_stay_out_of_debug_output() {
    let text = "services: { web: { image: x, environment: { PASSWORD: hunter2 } } }";
    assert!(!format!("{:?}", lower_text(text).unwrap()).contains("hunter2"));
}

/// Pieces that deploy files are made of, for texts that get further than noise does.
const PIECES: [&str; 40] = [
    "services:",
    "\n",
    "\n  ",
    "\n    ",
    "\n      ",
    "web:",
    " ",
    "image:",
    "nginx",
    "ports:",
    "- ",
    "80",
    "8080:80",
    "{",
    "}",
    "[",
    "]",
    ",",
    ": ",
    "&a",
    "*a",
    "<<: *a",
    "x-allod:",
    "ingress:",
    "volumes:",
    "data:/data",
    "'",
    "\"",
    "${A",
    "${A:-b}",
    "$$",
    "deploy:",
    "extends:",
    "depends_on:",
    "environment:",
    "A=b",
    "healthcheck:",
    "test:",
    "|",
    "é",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_lowers_or_is_refused(text in any::<String>()) {
        let _ = lower_text(&text);
    }

    #[test]
    fn any_pieces_lower_or_are_refused(pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..60)) {
        if let Err(problems) = lower_text(&pieces.concat()) {
            assert!(problems.iter().any(|problem| problem.severity == Severity::Error));
            shown(&problems);
            problems.iter().for_each(|problem| check_whole(problem, &pieces.concat()));
        }
    }

    #[test]
    fn a_damaged_file_lowers_or_is_refused(
        file in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(),
        piece in prop::sample::select(&PIECES[..]),
    ) {
        let files = corpus("good");
        let text = fs::read_to_string(&files[file.index(files.len())]).unwrap();
        let start = text.floor_char_boundary(at.index(text.len()));
        let damaged = format!("{}{piece}{}", &text[..start], &text[start..]);
        for problem in lower_text(&damaged).err().into_iter().flatten() {
            check_whole(&problem, &damaged);
        }
    }
}
