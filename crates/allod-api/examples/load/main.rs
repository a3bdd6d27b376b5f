//! Requests under load: how many signed reads a second a node answers, and what is left of that when ten times as many
//! clients come, most of whom mean no good.
//!
//! `load <clients> <seconds> <flood seconds>` finds the API that runs in `ALLOD_HOME`. It prints one JSON object for each
//! phase as it ends: `alone` (one client), `peak` (so many clients), and `flood` (ten times as many: a quarter valid,
//! a quarter garbage, a quarter slow, a quarter half-open; the owner asks ten times a second all the while, three times over:
//! at the own door, over TCP from an address of its own, and from the one that everybody else has).
//! `bench/load.py` starts the node, pins both to a processor of their own, and puts the figures together.

mod crowd;
mod hostile;
mod members;
mod wire;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use allod_api::client::Client;
use allod_node::home::Home;
use allod_node::identity::Identity;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crowd::{Record, Seen};
use hostile::Hostile;
use wire::Way;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime
        .map_err(Failure::from)
        .and_then(|runtime| runtime.block_on(measure()));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("load: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Result<Vec<u64>, _> = words.iter().map(|word| word.parse()).collect();
    let [clients, seconds, flood_seconds] = numbers?[..] else {
        return Err("usage: load <clients> <seconds> <flood seconds>".into());
    };
    let clients = usize::try_from(clients)?;
    let home = Home::from_environment()?;
    let owner = Client::open(&home, None, &home.account_keyfile(), None)?;
    let address = owner
        .url()
        .trim_start_matches("http://")
        .trim_end_matches('/')
        .to_owned();
    let keys = members::enrol(&owner, &address).await?;
    let keys: Vec<Arc<Identity>> = keys.into_iter().map(Arc::new).collect();
    let owner = Arc::new(home.account_keyfile().load(None)?);
    let crowd = Crowd {
        address,
        keys,
        owner,
        door: home.own_door(),
    };

    crowd.phase("alone", 1, 0, 3).await?;
    crowd.phase("peak", clients, 0, seconds).await?;
    // Everyone hangs up, and the server forgets them.
    tokio::time::sleep(Duration::from_secs(2)).await;
    crowd
        .phase("flood", clients * 10 / 4, clients * 10 / 4, flood_seconds)
        .await
}

struct Crowd {
    address: String,
    keys: Vec<Arc<Identity>>,
    owner: Arc<Identity>,
    door: PathBuf,
}

impl Crowd {
    /// So many valid clients, and so many of each bad kind. What comes in the first second is not counted.
    async fn phase(
        &self,
        name: &str,
        valid: usize,
        bad: usize,
        seconds: u64,
    ) -> Result<(), Failure> {
        let [good, garbage, slow, half_open, inside, elsewhere, beside] =
            std::array::from_fn(|_| Record::default());
        let mut crowd = JoinSet::new();
        let address = || self.address.clone();
        let mut forged = wire::read(&self.address, &self.keys[0])?;
        falsify(&mut forged)?;
        let forged = Arc::new(forged);
        for number in 0..valid {
            let signer = Arc::clone(&self.keys[number % self.keys.len()]);
            let (record, pause) = (good.clone(), Duration::ZERO);
            crowd.spawn(crowd::valid(address(), signer, record, pause));
        }
        let hostile = Hostile {
            count: bad,
            address: address(),
            forged,
            garbage: garbage.clone(),
            slow: slow.clone(),
            half_open: half_open.clone(),
        };
        let hostile = hostile.start()?;
        if bad > 0 {
            let ways = [
                (Way::OwnDoor(self.door.clone()), &inside),
                (Way::From(Ipv4Addr::new(127, 0, 0, 2)), &elsewhere),
                (Way::From(Ipv4Addr::LOCALHOST), &beside),
            ];
            for (way, record) in ways {
                let owner = Arc::clone(&self.owner);
                crowd.spawn(crowd::owner(address(), way, owner, record.clone()));
            }
        }
        let records = [
            ("valid", good),
            ("garbage", garbage),
            ("slow", slow),
            ("half_open", half_open),
            ("owner_inside", inside),
            ("owner_elsewhere", elsewhere),
            ("owner_beside", beside),
        ];
        tokio::time::sleep(Duration::from_secs(1)).await;
        for (_, record) in &records {
            record.take();
        }
        let began = std::time::Instant::now();
        tokio::time::sleep(Duration::from_secs(seconds)).await;
        let took = began.elapsed().as_secs_f64();
        let mut shown = json!({ "phase": name, "seconds": took });
        for (kind, record) in &records {
            shown[*kind] = figures(record.take(), took);
        }
        hostile.stop();
        crowd.shutdown().await;
        println!("{shown}");
        Ok(())
    }
}

/// Makes one character of the signature another.
fn falsify(request: &mut [u8]) -> Result<(), Failure> {
    const HEADER: &[u8] = b"\nsignature: allod=:";
    let found = request
        .windows(HEADER.len())
        .position(|bytes| bytes == HEADER);
    let at = found.ok_or("a signed request has no signature")? + HEADER.len() + 20;
    request[at] = if request[at] == b'A' { b'B' } else { b'A' };
    Ok(())
}

fn figures(mut seen: Seen, seconds: f64) -> Value {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let rate = |count: usize| count as f64 / seconds;
    json!({
        "admitted_per_second": rate(seen.admitted.len()),
        "admitted": quantiles(&mut seen.admitted),
        "refused_per_second": rate(seen.refusals),
        "refused": quantiles(&mut seen.refused),
        "refused_anew": quantiles(&mut seen.refused_anew),
        "shed": seen.shed,
        "told_when": seen.told_when,
        "cut": seen.cut,
        "opened_per_second": rate(seen.opened),
    })
}

/// How many, and p50, p99 and the longest in milliseconds.
fn quantiles(times: &mut [Duration]) -> Value {
    times.sort_unstable();
    let at = |share: usize| {
        let index = (times.len() * share).div_ceil(100).saturating_sub(1);
        times.get(index).map(|time| time.as_secs_f64() * 1_000.0)
    };
    json!({ "n": times.len(), "p50_ms": at(50), "p99_ms": at(99), "max_ms": at(100) })
}
