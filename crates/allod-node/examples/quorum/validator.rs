//! One validator: it does what the lines on its standard input ask, and answers with a line each.

use std::collections::VecDeque;
use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use allod_ledger::Chain;
use allod_ledger::chain::{Answer, Config, Threads};
use allod_ledger::replica::Settings;
use allod_net::limits::PeerLimits;
use allod_net::peer::{Member, PeerKey, Peers, PeersConfig, Roster};
use allod_node::carrier::Carrier;
use allod_state::Transaction;
use serde::{Deserialize, Serialize};
use tokio::runtime::Runtime;

use crate::Failure;
use crate::network::{self, Sender};

/// What a validator is asked.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Ask {
    /// Start, as the one of this number, on a network begun then.
    Start { at: usize, genesis_ms: u64 },
    /// These are all of you, and where each listens.
    Meet(Vec<([u8; 32], Vec<SocketAddr>)>),
    /// Sign so many transfers, for later.
    Prepare(usize),
    /// Submit so many of them, one every so many milliseconds, or when the one before is committed, if that is later.
    Single { count: usize, every_ms: u64 },
    /// Submit the rest, keeping so many under way.
    Many { under_way: usize },
    /// Stop.
    Stop,
}

/// What it answers.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Said {
    /// It listens there, by that key.
    Listening([u8; 32], Vec<SocketAddr>),
    /// It is done.
    Done,
    /// How long each transfer took, in seconds.
    Took(Vec<f64>),
}

struct Validator {
    chain: Chain,
    threads: Threads,
    peers: Peers,
    carrier: Carrier,
    sender: Sender,
    prepared: VecDeque<Transaction>,
}

pub(crate) fn run(folder: &Path) -> Result<(), Failure> {
    let runtime = Runtime::new()?;
    let mut running: Option<Validator> = None;
    for line in std::io::stdin().lock().lines() {
        let said = match (serde_json::from_str(&line?)?, &mut running) {
            (Ask::Start { at, genesis_ms }, None) => {
                let validator = runtime.block_on(start(folder, at, genesis_ms))?;
                let said = Said::Listening(validator.peers.key().0, validator.peers.listening());
                running = Some(validator);
                said
            }
            (Ask::Stop, Some(_)) => break,
            (ask, Some(validator)) => validator.answer(ask, &runtime)?,
            (_, None) => return Err("it has not started".into()),
        };
        let mut out = std::io::stdout().lock();
        serde_json::to_writer(&mut out, &said)?;
        out.write_all(b"\n")?;
        out.flush()?;
    }
    if let Some(validator) = running {
        drop(validator.carrier);
        runtime.block_on(validator.peers.close());
        drop(validator.chain);
        validator.threads.join();
    }
    Ok(())
}

async fn start(folder: &Path, at: usize, genesis_ms: u64) -> Result<Validator, Failure> {
    let genesis = network::genesis(genesis_ms);
    let config = Config {
        folder: folder.to_owned(),
        settings: Settings::new(genesis.clone(), true, [0; 32]),
        verify_threads: 1,
        aborts_on_failure: true,
    };
    let (chain, said, threads) = Chain::start(config, network::validator(at))?;
    let (peers, heard) = Peers::open(PeersConfig {
        secret: network::machine(at),
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        external: Vec::new(),
        network: *genesis.network().as_bytes(),
        is_relayed_only: false,
        limits: PeerLimits::default(),
    })
    .await?;
    let carrier = Carrier::start(&chain, said, &peers, heard);
    Ok(Validator {
        chain,
        threads,
        peers,
        carrier,
        sender: Sender::new(genesis, at),
        prepared: VecDeque::new(),
    })
}

impl Validator {
    fn answer(&mut self, ask: Ask, runtime: &Runtime) -> Result<Said, Failure> {
        match ask {
            Ask::Meet(all) => {
                let members = all.into_iter().map(|(key, addresses)| {
                    let relays = Vec::new();
                    (PeerKey(key), Member { addresses, relays })
                });
                let roster = Roster {
                    members: members.collect(),
                    ..Roster::default()
                };
                runtime.block_on(self.peers.admit(roster));
                Ok(Said::Done)
            }
            Ask::Prepare(count) => {
                self.prepared.extend(self.sender.transfers(count));
                Ok(Said::Done)
            }
            Ask::Single { count, every_ms } => self.single(count, Duration::from_millis(every_ms)),
            Ask::Many { under_way } => self.many(under_way),
            Ask::Start { .. } | Ask::Stop => Err("it runs already".into()),
        }
    }

    fn single(&mut self, count: usize, every: Duration) -> Result<Said, Failure> {
        let mut took = Vec::with_capacity(count);
        for _ in 0..count {
            let transfer = self.prepared.pop_front().ok_or("too few are prepared")?;
            let began = Instant::now();
            committed(self.chain.submit(transfer))?;
            took.push(began.elapsed().as_secs_f64());
            std::thread::sleep(every.saturating_sub(began.elapsed()));
        }
        Ok(Said::Took(took))
    }

    fn many(&mut self, under_way: usize) -> Result<Said, Failure> {
        let mut waiting: VecDeque<(Instant, Answer)> = VecDeque::with_capacity(under_way);
        let mut took = Vec::with_capacity(self.prepared.len());
        let mut wait = |(began, answer): (Instant, Answer)| -> Result<(), Failure> {
            committed(answer)?;
            took.push(began.elapsed().as_secs_f64());
            Ok(())
        };
        for transfer in self.prepared.drain(..) {
            if waiting.len() == under_way {
                waiting.pop_front().map_or(Ok(()), &mut wait)?;
            }
            waiting.push_back((Instant::now(), self.chain.submit(transfer)));
        }
        waiting.into_iter().try_for_each(wait)?;
        Ok(Said::Took(took))
    }
}

/// Waits for an answer; anything but a committed and executed transfer ends the measurement.
fn committed(answer: Answer) -> Result<(), Failure> {
    let committed = answer.blocking_recv()??;
    Ok(committed.receipt.outcome?)
}
