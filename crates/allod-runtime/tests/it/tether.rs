//! What stands above the command of a workload that may run for a time only changes nothing else of it.

use allod_runtime::{EndCause, Phase, Resources, WorkloadSpec, boot_ms};

use crate::house::{House, until};
use crate::life::{exec, exec_spec};

fn fenced(house: &House, number: u8, script: &str) -> WorkloadSpec {
    let mut spec = house.spec(number, script);
    spec.until_boot_ms = Some(boot_ms() + 9_000);
    spec
}

#[test]
fn its_end_is_told_exactly() {
    let house = House::new();
    let ends = [
        ("exit 0", EndCause::Exited { code: 0 }),
        ("exit 7", EndCause::Exited { code: 7 }),
        ("exit 137", EndCause::Exited { code: 137 }),
        ("kill -TERM $$", EndCause::Signaled { signal: 15 }),
        ("kill -KILL $$", EndCause::Signaled { signal: 9 }),
        // What is left behind ends with it, and does not delay it.
        ("sleep 1000 & exit 3", EndCause::Exited { code: 3 }),
    ];
    for (number, (script, expected)) in (1..).zip(ends) {
        let (end, output) = house.run(fenced(&house, number, script));
        assert_eq!(end, expected, "{script}: {output}");
    }
    let mut spec = fenced(&house, 9, "");
    spec.command = Some(vec!["/bin/bad-interpreter".into()]);
    let id = spec.id;
    let refused = format!("{:?}", house.client.create(spec).unwrap_err());
    assert!(refused.contains("CommandNotExecutable"), "{refused}");
    assert!(house.client.status(id).is_err(), "nothing of it is left");
    let mut spec = fenced(&house, 10, "exec tail /dev/zero");
    spec.resources.memory_bytes = 16 << 20;
    let (end, output) = house.run(spec);
    assert_eq!(end, EndCause::OutOfMemory, "{output}");
}

#[test]
fn signals_reach_the_command() {
    let house = House::new();
    let script = "trap 'echo usr' USR1; trap 'echo late' 37; trap 'echo quit; exit 3' QUIT; echo up
        while :; do sleep 0.02; done";
    let mut spec = fenced(&house, 1, script);
    spec.image.stop_signal = "SIGQUIT".into();
    let id = spec.id;
    house.client.create(spec).unwrap();
    let says = |text: &str| until(text, || house.output(id).ends_with(text));
    says("up");
    house.client.signal(id, libc::SIGUSR1).unwrap();
    says("usr");
    house.client.signal(id, 37).unwrap();
    says("late");
    let (code, text) = exec(
        &house,
        exec_spec(id, "kill -USR1 1; kill -KILL 1; kill -STOP 1"),
    );
    assert_eq!(code, 0, "{text}");
    says("usr");
    let status = house.client.stop(id, None, None).unwrap();
    let is_stopped = matches!(
        status.phase,
        Phase::Exited {
            cause: EndCause::Stopped,
            ..
        }
    );
    assert!(is_stopped, "{status:?}");
    assert_eq!(house.output(id), "up\nusr\nlate\nusr\nquit");
}

#[test]
fn nobody_inside_can_look_into_it() {
    let house = House::new();
    // Whatever is read prints something; what holds nothing prints nothing.
    let look = "echo $$ $(cat /proc/1/comm) $(tr '\\0' '?' </proc/1/cmdline | tr -d '?')
        for file in environ mem maps fd/0; do cat /proc/1/$file 2>/dev/null | head -c 4; done
        for link in fd cwd root; do ls /proc/1/$link/ 2>/dev/null; done
        grep -E '^(CapEff|CapPrm|NoNewPrivs|Seccomp):' /proc/1/status | tr -s '\\t\\n' ' '; echo
        (sleep 0.1 &); sleep 0.5; ps | grep -c '[Z] '";
    for (number, user, held) in [(1, "root", 0x20), (2, "app", 0)] {
        let mut spec = fenced(&house, number, &format!("{look}\nexec sleep 1000"));
        spec.user = Some(user.into());
        spec.cap_add = vec!["CAP_SYS_PTRACE".into()];
        let id = spec.id;
        house.client.create(spec).unwrap();
        until("it has looked", || house.output(id).lines().count() > 2);
        let expected = format!(
            "2 allod-tether\nCapPrm: {held:016x} CapEff: {held:016x} NoNewPrivs: 1 Seccomp: 2 \n0"
        );
        assert_eq!(house.output(id), expected);
        let (_, text) = exec(&house, exec_spec(id, "id -un; cat /proc/1/environ | wc -c"));
        assert!(text.starts_with(&format!("{user}\n0\n")), "{text}");
    }
}

#[test]
fn it_takes_no_process_from_the_command() {
    let house = House::new();
    let mut spec = fenced(&house, 1, "echo up; while :; do :; done");
    spec.resources.pids = 1;
    let (id, resources) = (spec.id, spec.resources);
    house.client.create(spec).unwrap();
    until("it runs", || house.output(id) == "up");
    let more = Resources {
        memory_bytes: 32 << 20,
        ..resources
    };
    house.client.resize(id, more).unwrap();
    let other = house.spec(2, "echo up; while :; do :; done");
    let other_id = other.id;
    house.client.create(other).unwrap();
    until("it runs", || house.output(other_id) == "up");
    let bytes = |id| house.client.usage(&[id]).unwrap()[0].1.memory_bytes;
    let (with, without) = (bytes(id), bytes(other_id));
    assert!(with < without + (1 << 20), "{with} {without}");
}
