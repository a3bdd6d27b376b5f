//! A machine that says nothing from one moment to the next, while another replica lives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use allod_net::limits::IngressLimits;
use allod_net::peer::{Member, PeerKey, Roster, Tunnel};
use allod_net::{Backend, Dialer, Ingress, Location, Routes};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::machines::{LONG, Machine, config, machine};
use crate::stage::{HOST, Replica, route, say};

/// Longer than a machine is waited for that says nothing, be this one busy, and shorter than anything else that ends in
/// time.
const SOON: Duration = Duration::from_secs(15);

/// A machine with a thread of its own, which can be stopped as by SIGSTOP.
struct Runner {
    key: PeerKey,
    member: Member,
    met: Option<oneshot::Sender<Roster>>,
    stop: Option<oneshot::Sender<()>>,
    resume: Option<std::sync::mpsc::SyncSender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Runner {
    async fn start(seed: u8, replica: SocketAddr) -> Self {
        let (met, meeting) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let (resume, resumed) = std::sync::mpsc::sync_channel(0);
        let (known, knowing) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            let mut of_one = tokio::runtime::Builder::new_current_thread();
            let runtime = of_one.enable_all().build().unwrap();
            runtime.block_on(async move {
                let own = machine(config(seed)).await;
                let member = Member {
                    addresses: own.peers.listening(),
                    ..Member::default()
                };
                known.send((own.key(), member)).unwrap();
                own.peers.admit(meeting.await.unwrap()).await;
                let mut tasks = JoinSet::new();
                tasks.spawn(carry_all(own.peers.tunnels().unwrap(), replica));
                let _ = stopped.await;
                // Nothing else runs on this thread.
                let _ = resumed.recv();
            });
        });
        let (key, member) = knowing.await.unwrap();
        Self {
            key,
            member,
            met: Some(met),
            stop: Some(stop),
            resume: Some(resume),
            thread: Some(thread),
        }
    }

    async fn meet(&mut self, gateway: &Machine) {
        let of_gateway = Member {
            addresses: gateway.peers.listening(),
            ..Member::default()
        };
        let members = [(self.key, self.member.clone()), (gateway.key(), of_gateway)];
        let all = Roster {
            members: members.into(),
            ..Roster::default()
        };
        gateway.peers.admit(all.clone()).await;
        self.met.take().unwrap().send(all).unwrap();
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        drop((self.met.take(), self.stop.take(), self.resume.take()));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

async fn carry_all(mut tunnels: mpsc::Receiver<Tunnel>, to: SocketAddr) {
    let mut open = JoinSet::new();
    while let Some(tunnel) = tunnels.recv().await {
        open.spawn(tunnel.carry(to, LONG));
    }
}

async fn ask(ingress: &Ingress, method: &str) -> (String, Duration) {
    let began = Instant::now();
    let asking = format!(
        "{method} / HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let answer = say(ingress.addresses()[0], asking.as_bytes()).await;
    (answer, began.elapsed())
}

#[tokio::test]
async fn what_a_silent_machine_was_asked_is_answered_by_another_replica_soon() {
    let here = Replica::saying("from here").await;
    let afar = Replica::saying("from afar").await;
    let gateway = machine(config(110)).await;
    let mut runner = Runner::start(111, afar.address).await;
    runner.meet(&gateway).await;
    let there = Location::There {
        peer: runner.key,
        target: "web-1".into(),
    };
    let both = vec![
        Backend::ready(here.address, "web-0"),
        Backend::ready(there, "web-1"),
    ];
    let mut table = Routes::new();
    table.insert(HOST, route(both)).unwrap();
    let (_routes, seen) = watch::channel(Arc::new(table));
    let (_known, peers) = watch::channel(Some(gateway.peers.clone()));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let limits = IngressLimits::default();
    let ingress = Ingress::start(vec![listener], seen, Dialer::new(peers), limits).unwrap();
    let answers = [ask(&ingress, "GET").await.0, ask(&ingress, "GET").await.0];
    for words in ["from here", "from afar"] {
        let is_said = answers.iter().any(|answer| answer.ends_with(words));
        assert!(is_said, "{answers:?}");
    }
    // With a connection to its replica that is kept, too.
    runner.stop();
    // By the time of the last ones nothing is written to the silent machine: those that may not be said twice go elsewhere.
    for method in ["GET", "GET", "GET", "GET", "POST", "POST", "POST", "POST"] {
        let (answer, took) = ask(&ingress, method).await;
        assert!(answer.ends_with("from here"), "{method}: {answer}");
        assert!(took < SOON, "{method} after {took:?}");
    }
}
