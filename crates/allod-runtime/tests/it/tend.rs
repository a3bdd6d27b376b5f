//! What somebody else does to the network while workloads run heals within seconds, and opens nothing meanwhile.

use std::io::Write;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use allod_runtime::{Phase, WorkloadId};

use crate::house::{House, until};
use crate::kill_points::settled;

/// Starts a workload in an app of its own, and says where it is.
fn start(house: &House, number: u8, script: &str) -> (WorkloadId, Ipv4Addr) {
    let spec = house.spec(number, script);
    let id = spec.id;
    let status = house.client.create(spec).unwrap();
    let Phase::Running { address, .. } = status.phase else {
        panic!("{status:?}");
    };
    (id, address)
}

/// A command that runs in a namespace.
type Within<'a> = &'a dyn Fn() -> Command;

fn is_done(mut command: Command, script: &str) -> bool {
    let quiet = command.stdout(Stdio::null()).stderr(Stdio::null());
    quiet.args(["sh", "-c", script]).status().unwrap().success()
}

#[test]
fn what_others_break_heals_by_itself_and_opens_nothing_meanwhile_slow() {
    let house = House::in_a_world();
    let world = house.world();
    let (_, address) = start(&house, 1, "exec sleep 1000");
    // Without a link each try fails at once: were each told, its log would grow into a second file.
    let ping = format!("ping -c1 -W1 {address} >/dev/null 2>&1");
    let tell_once = "[ \"$told\" ] || echo tried; told=1";
    let peek = format!("while true; do {ping} && echo reached; {tell_once}; done");
    let (stranger, _) = start(&house, 2, &peek);
    let before = settled(&house);
    let link = format!("allod-{}", house.installation());
    let of_kind = |prefix: &str| {
        let found = before.iter().find_map(|line| {
            let name = line.strip_prefix("link router ")?;
            name.starts_with(prefix).then(|| name.to_owned())
        });
        found.unwrap()
    };
    let (host, router): (Within, Within) = (&|| world.command(&["-n"]), &|| world.router_command());
    let breaks: [(&str, Within, String); 7] = [
        ("the host's rules", host, "nft flush ruleset".into()),
        ("the router's rules", router, "nft flush ruleset".into()),
        (
            "a chain of the router",
            router,
            "nft flush chain inet allod forward".into(),
        ),
        ("the host's link", host, format!("ip link del {link}")),
        ("the router's link", router, "ip link del uplink".into()),
        (
            "a workload's link",
            router,
            format!("ip link del {}", of_kind("w-")),
        ),
        (
            "an app's bridge",
            router,
            format!("ip link del {}", of_kind("b-")),
        ),
    ];
    let answers = |address| {
        let ping = format!("busybox ping -c1 -W1 {address}");
        is_done(world.command(&["-n"]), &ping)
    };
    assert!(answers(address));
    for (what, within, script) in breaks {
        let audit = || world.audit(house.path(), &house.name());
        // What falls into a look is mended before it is seen.
        let is_broken = || is_done(within(), &script) && audit() != before;
        until(&format!("{what} is broken"), is_broken);
        until(what, || audit() == before && answers(address));
    }
    let tried = house.output(stranger);
    assert!(tried.contains("tried"), "{tried}");
    assert!(!tried.contains("reached"), "{tried}");
}

#[test]
fn what_is_broken_during_a_look_that_fails_heals_soon_after() {
    let house = House::in_a_world();
    let world = house.world();
    start(&house, 1, "exec sleep 1000");
    let before = settled(&house);
    let network = format!("run/allod/network-{}", house.installation());
    let seal = world.path(&network).join("seal");
    let (kept, pipe) = (seal.with_extension("kept"), seal.with_extension("pipe"));
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
    std::fs::hard_link(&seal, &kept).unwrap();
    std::fs::rename(&pipe, &seal).unwrap();

    // Its other end is opened once somebody looks, and nobody can read what then comes.
    let mut look = std::fs::OpenOptions::new().write(true).open(&seal).unwrap();
    let link = format!("ip link del allod-{}", house.installation());
    assert!(is_done(world.command(&["-n"]), &link));
    std::fs::rename(&kept, &seal).unwrap();
    look.write_all(&[0xff]).unwrap();
    drop(look);

    let audit = || world.audit(house.path(), &house.name());
    until("the host's link", || audit() == before);
}
