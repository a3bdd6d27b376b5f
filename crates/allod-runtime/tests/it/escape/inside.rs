//! The list of probes, run inside containers as the runtime makes them by default.

use std::collections::BTreeMap;
use std::process::{Child, Command};

use allod_runtime::{EndCause, EnvVar, ExecSpec, Phase, WorkloadSpec};

use super::image::lay_probe;
use super::list::{Course, ROWS, Row};
use crate::house::{House, until};
use crate::life::exec;

/// A house with the probe in an image, a file that nobody inside may read, and a process that
/// nobody inside may see.
pub(super) struct Prison {
    pub(super) house: House,
    victim: Child,
}

impl Prison {
    pub(super) fn new() -> Self {
        let house = House::new();
        house.lay(0xcc, lay_probe);
        // For everybody to read: nothing but the container is in the way.
        std::fs::write(house.path().join("canary"), "sings").unwrap();
        let victim = Command::new("sleep").arg("600").spawn().unwrap();
        Self { house, victim }
    }

    /// A workload with the probe in its image.
    pub(super) fn spec(&self, number: u8, script: &str) -> WorkloadSpec {
        let mut spec = self.house.spec(number, script);
        spec.image.layers.push(House::layer(0xcc));
        spec.env = self.env();
        spec
    }

    /// Tells a program outside what the probe is told inside.
    pub(super) fn tell(&self, command: &mut Command) {
        for variable in self.env() {
            let value = String::from_utf8_lossy(variable.value.expose()).into_owned();
            command.env(variable.name, value);
        }
    }

    fn env(&self) -> Vec<EnvVar> {
        let canary = self.house.path().join("canary").display().to_string();
        let variable = |name: &str, value: String| EnvVar {
            name: name.to_owned(),
            value: value.as_str().into(),
        };
        vec![
            variable("CANARY", canary),
            variable("VICTIM", self.victim.id().to_string()),
        ]
    }
}

impl Drop for Prison {
    fn drop(&mut self) {
        let _ = self.victim.kill();
        let _ = self.victim.wait();
    }
}

/// Runs each probe after the other.
fn all_probes() -> String {
    let names = ROWS.iter().filter(|row| row.course == Course::Together);
    let names: Vec<&str> = names.map(|row| row.name).collect();
    let names = names.join(" ");
    format!("for p in {names}; do echo \"$p $(/probe $p 2>&1)\"; done")
}

/// What each probe said, by its name.
fn answers(output: &str) -> BTreeMap<&str, &str> {
    let lines = output.lines().map(str::trim_end);
    lines.filter_map(|line| line.split_once(' ')).collect()
}

/// Which probes did not say what the list says.
fn surprises(output: &str, is_root: bool) -> Vec<String> {
    let answers = answers(output);
    let rows = ROWS.iter().filter(|row| row.course == Course::Together);
    let is_right = |row: &Row| {
        let answer = answers.get(row.name).copied().unwrap_or_default();
        // Other users are refused earlier, and for other reasons.
        row.is_shut_by(answer) || (!is_root && answer.starts_with("shut "))
    };
    rows.filter(|row| !is_right(row))
        .map(|row| {
            let answer = answers.get(row.name);
            format!("{}: expected {:?}, was {answer:?}", row.name, row.answer)
        })
        .collect()
}

#[test]
fn the_list_names_every_probe() {
    let output = Command::new(super::image::program("probe"))
        .arg("list")
        .output()
        .unwrap();
    let output = String::from_utf8(output.stdout).unwrap();
    let known: Vec<&str> = output.lines().collect();
    let listed: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
    assert_eq!(known, listed);
    assert!(listed.len() >= 50);
}

#[test]
fn every_way_out_is_shut_for_the_first_process() {
    let prison = Prison::new();
    let (cause, output) = prison.house.run(prison.spec(1, &all_probes()));
    assert_eq!(cause, EndCause::Exited { code: 0 }, "{output}");
    let surprises = surprises(&output, true);
    assert!(surprises.is_empty(), "{surprises:#?}");
}

#[test]
fn every_way_out_is_shut_for_an_ordinary_user() {
    let prison = Prison::new();
    let mut spec = prison.spec(1, &all_probes());
    spec.user = Some("app".into());
    let (cause, output) = prison.house.run(spec);
    assert_eq!(cause, EndCause::Exited { code: 0 }, "{output}");
    let surprises = surprises(&output, false);
    assert!(surprises.is_empty(), "{surprises:#?}");
}

#[test]
fn every_way_out_is_shut_for_a_process_that_joins() {
    let prison = Prison::new();
    let spec = prison.spec(1, "exec sleep 1000");
    let id = spec.id;
    prison.house.client.create(spec).unwrap();
    for user in [None, Some("app")] {
        let joining = ExecSpec {
            id,
            args: vec!["/bin/sh".into(), "-c".into(), all_probes()],
            env: prison.env(),
            user: user.map(str::to_owned),
            working_dir: None,
            terminal: None,
        };
        let (code, output) = exec(&prison.house, joining);
        assert_eq!(code, 0, "{output}");
        let surprises = surprises(&output, user.is_none());
        assert!(surprises.is_empty(), "{user:?}: {surprises:#?}");
    }
}

#[test]
fn a_process_that_joins_with_a_terminal_gets_nothing_else() {
    let prison = Prison::new();
    let spec = prison.spec(1, "exec sleep 1000");
    let id = spec.id;
    prison.house.client.create(spec).unwrap();
    let script = "for p in leaked-descriptors canary terminal-input user-namespace-of-host \
                  no-system-call-filter; do echo \"$p $(/probe $p 2>&1)\"; done";
    let joining = ExecSpec {
        id,
        args: vec!["/bin/sh".into(), "-c".into(), script.into()],
        env: prison.env(),
        user: None,
        working_dir: None,
        terminal: Some((24, 80)),
    };
    let (code, output) = crate::life::exec_in_terminal(&prison.house, joining);
    assert_eq!(code, 0, "{output}");
    let answers = answers(&output);
    assert_eq!(answers.len(), 5, "{output}");
    for (name, answer) in answers {
        assert!(answer.starts_with("shut "), "{name}: {answer}");
    }
}

/// While a command is on its way in, it is still somebody with descriptors of the host.
#[test]
fn nothing_leads_out_while_somebody_joins() {
    let prison = Prison::new();
    let spec = prison.spec(1, "echo up; while :; do /probe canary; done");
    let id = spec.id;
    prison.house.client.create(spec).unwrap();
    until("it looks", || prison.house.output(id).contains("shut"));
    for _ in 0..40 {
        let joining = ExecSpec {
            id,
            args: vec!["true".into()],
            env: Vec::new(),
            user: None,
            working_dir: None,
            terminal: None,
        };
        assert_eq!(exec(&prison.house, joining).0, 0);
    }
    prison.house.client.stop(id, Some(9), None).unwrap();
    let output = prison.house.output(id);
    let looks = output.matches("shut none of").count();
    assert!(looks >= 3 && !output.contains("open "), "{looks}: {output}");
}

#[test]
fn too_much_memory_ends_the_workload_alone() {
    let prison = Prison::new();
    let neighbour = prison.spec(2, "exec sleep 1000");
    let neighbour_id = neighbour.id;
    prison.house.client.create(neighbour).unwrap();
    let (cause, output) = prison.house.run(prison.spec(1, "exec /probe memory-bomb"));
    assert_eq!(cause, EndCause::OutOfMemory, "{output}");
    assert!(!output.contains("open"), "{output}");
    let status = prison.house.client.status(neighbour_id).unwrap();
    assert!(matches!(status.phase, Phase::Running { .. }), "{status:?}");
}

/// CVE-2019-5736: the command is `/proc/self/exe`, which is the runtime's own program, and
/// somebody inside waits for it to write to it.
#[test]
fn the_runtimes_own_program_is_not_overwritten() {
    let prison = Prison::new();
    let spec = prison.spec(1, "exec /probe exe-overwrite");
    let id = spec.id;
    prison.house.client.create(spec).unwrap();
    until("it is ready", || prison.house.output(id).contains("ready"));
    let runtime = super::image::program("root_process");
    let before = std::fs::metadata(&runtime).unwrap();
    let mut tries = 0;
    until("it has caught the runtime", || {
        let joining = ExecSpec {
            id,
            args: vec!["/proc/self/exe".into()],
            env: Vec::new(),
            user: None,
            working_dir: None,
            terminal: None,
        };
        tries += 1;
        // It says how to call it, inside the container, or the container is gone already.
        if let Ok(running) = prison.house.client.exec(joining) {
            let _ = running.end.wait();
        }
        let status = prison.house.client.status(id).unwrap();
        matches!(status.phase, Phase::Exited { .. })
    });
    let output = prison.house.output(id);
    assert!(
        output.contains("shut EACCES"),
        "after {tries} tries: {output}"
    );
    let after = std::fs::metadata(&runtime).unwrap();
    assert_eq!(before.len(), after.len());
    assert_eq!(before.modified().unwrap(), after.modified().unwrap());
}

#[test]
fn control_groups_let_no_device_through_that_containers_do_not_need() {
    let prison = Prison::new();
    let spec = prison.spec(1, "exec sleep 1000");
    let id = spec.id;
    prison.house.client.create(spec).unwrap();
    let path = format!(
        "/sys/fs/cgroup/devices/{}/{id}/devices.list",
        prison.house.name()
    );
    let Ok(list) = std::fs::read_to_string(path) else {
        // The unified hierarchy has no such list; there the user namespace alone refuses devices.
        return;
    };
    for line in list.lines() {
        let is_null_or_terminal = [
            "c 1:3 ",
            "c 1:5 ",
            "c 1:7 ",
            "c 1:8 ",
            "c 1:9 ",
            "c 5:",
            "c 136:",
            // The container library adds it; no such file is inside, and none can be made.
            "c 10:200 ",
        ]
        .iter()
        .any(|known| line.starts_with(known));
        // A number in place of `*` is one device; making a node is not opening it.
        assert!(is_null_or_terminal || line.ends_with(" m"), "{list}");
    }
    assert!(!list.is_empty());
}
