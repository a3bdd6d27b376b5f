//! The clients: each in a loop of its own, until told to stop.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use allod_node::identity::Identity;

use crate::Failure;
use crate::wire::{self, Way, Wire};

/// What clients of one kind have seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// How long admitted requests took.
    pub(crate) admitted: Vec<Duration>,
    /// How long refused requests took, on a connection that was open already.
    pub(crate) refused: Vec<Duration>,
    /// How long they took from the beginning of a new connection.
    pub(crate) refused_anew: Vec<Duration>,
    /// All refused requests.
    pub(crate) refusals: usize,
    /// Of the refused, those that said when to come again.
    pub(crate) told_when: usize,
    /// Of the refused, those with status 429 or 503.
    pub(crate) shed: usize,
    /// Connections that ended without an answer.
    pub(crate) cut: usize,
    /// Connections that were opened.
    pub(crate) opened: usize,
}

/// A shared record of one kind of clients.
#[derive(Debug, Clone, Default)]
pub(crate) struct Record(Arc<Mutex<Seen>>);

impl Record {
    fn note(&self, note: impl FnOnce(&mut Seen)) {
        note(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What was seen until now.
    pub(crate) fn take(&self) -> Seen {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A client that does as it is told: it signs, keeps its connection, and comes again when it may.
pub(crate) async fn valid(address: String, signer: Arc<Identity>, record: Record, pause: Duration) {
    loop {
        // A connection that is cut is opened again after a moment, as every decent client does.
        if converse(&address, &signer, &record, pause).await.is_err() {
            record.note(|seen| seen.cut += 1);
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }
}

async fn converse(
    address: &str,
    signer: &Identity,
    record: &Record,
    pause: Duration,
) -> Result<(), Failure> {
    let mut began = Instant::now();
    let mut wire = Wire::open(address).await?;
    record.note(|seen| seen.opened += 1);
    let mut is_new = true;
    loop {
        let request = wire::read(address, signer)?;
        let asked = Instant::now();
        began = if is_new { began } else { asked };
        wire.write(&request).await?;
        let answer = wire.answer().await?;
        if answer.status == 200 {
            // Opening the connection is a part of it.
            record.note(|seen| seen.admitted.push(began.elapsed()));
        } else {
            let is_shed = matches!(answer.status, 429 | 503);
            record.note(|seen| {
                let times = if is_new {
                    &mut seen.refused_anew
                } else {
                    &mut seen.refused
                };
                times.push(began.elapsed());
                seen.refusals += 1;
                seen.shed += usize::from(is_shed);
                seen.told_when += usize::from(is_shed && answer.retry_after_s.is_some());
            });
            let wait = answer.retry_after_s.unwrap_or(1);
            tokio::time::sleep(Duration::from_secs(wait)).await;
        }
        is_new = false;
        if answer.is_last {
            return Ok(());
        }
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

/// A client that sends one kind of nonsense after another, as fast as it is answered.
pub(crate) async fn garbage(address: String, forged: Arc<Vec<u8>>, record: Record, first: usize) {
    let unsigned = format!("GET /v1/apps HTTP/1.1\r\nhost: {address}\r\n\r\n").into_bytes();
    let stranger = b"GET /v1/health HTTP/1.1\r\nhost: elsewhere.example\r\n\r\n".to_vec();
    let kinds = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 no HTTP at all\r\n\r\n".to_vec(),
        unsigned,
        wire::post(&address, "/v1/transactions", &[0xff; 900]),
        forged.to_vec(),
        stranger,
        wire::post(&address, "/v1/manifests", &[b'x'; 900]),
    ];
    for turn in first.. {
        let began = Instant::now();
        let Ok(mut wire) = Wire::open(&address).await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        record.note(|seen| seen.opened += 1);
        loop {
            let asked = Instant::now();
            if wire.write(&kinds[turn % kinds.len()]).await.is_err() {
                record.note(|seen| seen.cut += 1);
                break;
            }
            let Ok(answer) = wire.answer().await else {
                record.note(|seen| seen.cut += 1);
                break;
            };
            record.note(|seen| {
                seen.refusals += 1;
                seen.refused.push(asked.elapsed());
                seen.refused_anew.push(began.elapsed());
                let is_shed = matches!(answer.status, 429 | 503);
                seen.shed += usize::from(is_shed);
                seen.told_when += usize::from(is_shed && answer.retry_after_s.is_some());
            });
            if answer.is_last {
                break;
            }
        }
    }
}

/// A client that sends a byte of a request now and then, and begins again when it is hung up on.
pub(crate) async fn slow(address: String, record: Record, has_body: bool) {
    let head = if has_body {
        wire::post(&address, "/v1/transactions", b"")
    } else {
        b"GET /v1/health HTTP/1.1\r\nx-slow: ".to_vec()
    };
    let head = String::from_utf8_lossy(&head).replace("content-length: 0", "content-length: 60000");
    loop {
        let Ok(mut wire) = Wire::open(&address).await else {
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        record.note(|seen| seen.opened += 1);
        if wire.write(head.as_bytes()).await.is_ok() {
            loop {
                let pause = tokio::time::timeout(Duration::from_secs(1), wire.hung_up()).await;
                if pause.is_ok() || wire.write(b"x").await.is_err() {
                    break;
                }
            }
        }
        record.note(|seen| seen.cut += 1);
    }
}

/// A client that connects and says nothing, and comes again when it is hung up on.
pub(crate) async fn half_open(address: String, record: Record) {
    loop {
        if let Ok(mut wire) = Wire::open(&address).await {
            record.note(|seen| seen.opened += 1);
            wire.hung_up().await;
            record.note(|seen| seen.cut += 1);
        } else {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// The owner, who makes a connection for each question, as a command does.
pub(crate) async fn owner(address: String, way: Way, signer: Arc<Identity>, record: Record) {
    loop {
        let began = Instant::now();
        let asked = async {
            let mut wire = Wire::open_by(&way, &address).await?;
            record.note(|seen| seen.opened += 1);
            wire.write(&wire::read(&address, &signer)?).await?;
            wire.answer().await
        };
        match tokio::time::timeout(Duration::from_secs(10), asked).await {
            Ok(Ok(answer)) if answer.status == 200 => {
                record.note(|seen| seen.admitted.push(began.elapsed()));
            }
            Ok(Ok(_)) => record.note(|seen| seen.refused.push(began.elapsed())),
            Ok(Err(_)) | Err(_) => record.note(|seen| seen.cut += 1),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
