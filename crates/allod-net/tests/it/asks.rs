//! Questions between peers: real endpoints on loopback, hostile ones among them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use allod_net::limits::{AskLimits, AskShare, PeerLimits};
use allod_net::peer::{
    Answered, AskError, Member, PeerKey, PeersConfig, Protocol, Refusal, Roster, Sent,
};
use bytes::Bytes;
use iroh::endpoint::{Connection, ConnectionError, ReadError, RecvStream, SendStream, presets};
use iroh::{Endpoint, EndpointAddr, EndpointId, RelayMode, SecretKey};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::machines::{
    LONG, Machine, NETWORK, acquainted, config, machine, relay, relayed, roster, until, until_home,
};

const QUESTIONS: &[u8] = b"allod/rpc/1";
/// Long enough for whatever would come at once.
const WHILE: Duration = Duration::from_millis(300);
/// Long enough for a question and its answer, also on a busy machine.
const BRIEF: Duration = Duration::from_millis(1_500);

fn limited(seed: u8, change: impl FnOnce(&mut AskLimits)) -> PeersConfig {
    let mut limits = PeerLimits::default();
    change(&mut limits.asks);
    PeersConfig {
        limits,
        ..config(seed)
    }
}

/// A member and a guest, who knows the member.
async fn with_guest(member: PeersConfig, guest: PeersConfig) -> [Machine; 2] {
    let member = machine(member).await;
    let guest = machine(guest).await;
    member.peers.admit(letting_in(&member, &[&guest])).await;
    guest.peers.admit(roster(&[&member])).await;
    [member, guest]
}

fn letting_in(member: &Machine, guests: &[&Machine]) -> Roster {
    Roster {
        guests: guests.iter().map(|guest| guest.key()).collect(),
        ..roster(&[member])
    }
}

fn ask(
    from: &Machine,
    to: &Machine,
    question: impl Into<Bytes>,
) -> impl Future<Output = Result<Bytes, AskError>> + Send + 'static {
    let (peers, to, question) = (from.peers.clone(), to.key(), question.into());
    async move { peers.ask(to, question).await }
}

fn refused(peer: &Machine, refusal: Refusal) -> Result<Bytes, AskError> {
    let peer = peer.key();
    Err(AskError::Refused { peer, refusal })
}

/// Asks until it is told that it is not let in. It may be told otherwise where the words are lost on the way.
async fn until_turned_away(from: &Machine, to: &Machine) {
    let asking = async {
        loop {
            let answer = ask(from, to, "let me in").await;
            if answer == refused(to, Refusal::NotAdmitted) {
                return;
            }
            assert!(answer.is_err(), "{answer:?}");
        }
    };
    timeout(LONG, asking).await.expect("it is told otherwise");
}

#[tokio::test]
async fn questions_are_answered_each_by_its_own() {
    let patient = |limits: &mut AskLimits| limits.time_max = LONG;
    let one = machine(limited(40, patient)).await;
    let mut two = machine(limited(41, patient)).await;
    let all = roster(&[&one, &two]);
    one.peers.admit(all.clone()).await;
    two.peers.admit(all).await;
    let large = Bytes::from(vec![3; 5_000_000]);
    let first = ask(&one, &two, "what?");
    let answering = async {
        let question = two.asked().await;
        assert_eq!(question.from, one.key());
        assert_eq!(question.bytes, "what?");
        assert!(!question.is_guest);
        assert!(question.answer.is_awaited());
        assert_eq!(question.answer.send(large.clone()), Answered::Sent);
    };
    let (answer, ()) = tokio::join!(first, answering);
    assert!(answer.unwrap() == large);

    let mut all = JoinSet::new();
    for at in 0..30_u8 {
        let question = Bytes::from(vec![at; 1_000]);
        let asking = ask(&one, &two, question.clone());
        all.spawn(async move { assert_eq!(asking.await.unwrap(), question) });
    }
    tokio::select! {
        () = two.echo() => unreachable!("it never ends"),
        answers = timeout(LONG, all.join_all()) => assert_eq!(answers.unwrap().len(), 30),
    }
}

#[tokio::test]
async fn a_question_without_an_answer_is_told_apart_from_silence() {
    let [one, mut two] = acquainted([42, 43]).await;
    let (answer, ()) = tokio::join!(ask(&one, &two, "what?"), async {
        drop(two.asked().await);
    });
    assert_eq!(answer, refused(&two, Refusal::NotAnswered));
    two.questions.close();
    let answer = ask(&one, &two, "anybody?").await;
    assert_eq!(answer, refused(&two, Refusal::NotAnswered));
    assert_eq!(two.peers.counts().questions_refused, 2);
    assert_eq!(two.peers.counts().questions_received, 1);
}

#[tokio::test]
async fn a_guest_may_ask_and_nothing_else() {
    let [mut member, guest] = with_guest(config(44), config(45)).await;
    let (answer, ()) = tokio::join!(ask(&guest, &member, "genesis?"), async {
        let question = member.asked().await;
        assert!(question.is_guest);
        question.answer.send("here".into());
    });
    assert_eq!(answer.unwrap(), "here");
    for protocol in Protocol::ALL {
        guest.send(&member, protocol, b"a frame");
    }
    let told = || {
        let paths = guest.peers.paths();
        let errors = paths.iter().filter_map(|path| path.last_error.as_deref());
        errors
            .filter(|error| error.contains("not on the roster here"))
            .count()
    };
    until(|| told() == Protocol::ALL.len()).await;
    assert_eq!(member.peers.counts().frames_received, 0);
    let back = member.send(&guest, Protocol::Sync, b"no");
    assert_eq!(back, Sent::NotAMember);
    let back = ask(&member, &guest, "who are you?").await;
    assert!(matches!(back, Err(AskError::NotAMember { .. })), "{back:?}");
}

#[tokio::test]
async fn a_stranger_cannot_ask() {
    let [mut one, _two] = acquainted([46, 47]).await;
    let stranger = machine(config(48)).await;
    stranger.peers.admit(roster(&[&one])).await;
    until_turned_away(&stranger, &one).await;
    assert!(one.peers.counts().strangers >= 1);
    assert!(one.questions.try_recv().is_err());
}

#[tokio::test]
async fn a_guest_taken_off_the_roster_is_cut_off() {
    let [mut member, guest] = with_guest(config(49), config(50)).await;
    let (answer, question) = tokio::join!(ask(&guest, &member, "hello?"), async {
        let question = member.asked().await;
        member.peers.admit(roster(&[&member])).await;
        question
    });
    // The words may be lost on the way, but it ends at once.
    let is_cut = matches!(
        answer,
        Err(AskError::Refused { .. } | AskError::Unreachable { .. })
    );
    assert!(is_cut, "{answer:?}");
    until(|| !question.answer.is_awaited()).await;
    assert_eq!(question.answer.send("late".into()), Answered::TooLate);
    until_turned_away(&guest, &member).await;
    assert!(member.questions.try_recv().is_err());
}

#[tokio::test]
async fn a_guest_that_becomes_a_member_has_its_question_answered() {
    let few = |limits: &mut AskLimits| limits.guest.at_once_max = 1;
    let [mut member, mut guest] = with_guest(limited(51, few), config(52)).await;
    let both = roster(&[&member, &guest]);
    let (answer, ()) = tokio::join!(ask(&guest, &member, "let me join"), async {
        let question = member.asked().await;
        member.peers.admit(both.clone()).await;
        question.answer.send("you have".into());
    });
    assert_eq!(answer.unwrap(), "you have");
    member.send(&guest, Protocol::Sync, b"welcome");
    guest.peers.admit(both).await;
    assert_eq!(guest.next(Protocol::Sync).await.1, "welcome");
    // The first question after that may still have been waiting for a guest's place.
    let mut asking = JoinSet::new();
    for _ in 0..4 {
        asking.spawn(ask(&guest, &member, "as a member"));
    }
    let mut questions = Vec::new();
    for _ in 0..4 {
        questions.push(member.asked().await);
    }
    assert!(questions.iter().all(|question| !question.is_guest));
}

#[tokio::test]
async fn too_large_a_question_is_refused_on_both_sides() {
    let large = |limits: &mut AskLimits| limits.question_bytes_max = 1_000_000;
    let modest = machine(config(53)).await;
    let mut other = machine(limited(54, large)).await;
    let all = roster(&[&modest, &other]);
    modest.peers.admit(all.clone()).await;
    other.peers.admit(all).await;
    let question = Bytes::from(vec![0; 256 * 1024 + 1]);
    let bytes = question.len();
    // By whoever asks: nothing is sent.
    let answer = ask(&modest, &other, question.clone()).await;
    let peer = other.key();
    assert_eq!(answer, Err(AskError::QuestionTooLarge { peer, bytes }));
    // By whoever is asked.
    let mut asking = JoinSet::new();
    asking.spawn(ask(&other, &modest, question.clone()));
    let answer = timeout(LONG, asking.join_next()).await.unwrap().unwrap();
    let peer = modest.key();
    let told = Err(AskError::QuestionTooLarge { peer, bytes });
    assert_eq!(answer.unwrap(), told);
    assert!(other.questions.try_recv().is_err());
    assert_eq!(modest.peers.counts().questions_received, 0);
    let fits = question.slice(1..);
    let (answer, ()) = tokio::join!(ask(&modest, &other, fits), async {
        other.asked().await.answer.send(Bytes::new());
    });
    assert_eq!(answer.unwrap(), "");
}

#[tokio::test]
async fn too_large_an_answer_is_refused_on_both_sides() {
    let large = |limits: &mut AskLimits| limits.answer_bytes_max = 20 * 1024 * 1024;
    let mut modest = machine(config(55)).await;
    let mut other = machine(limited(56, large)).await;
    let all = roster(&[&modest, &other]);
    modest.peers.admit(all.clone()).await;
    other.peers.admit(all).await;
    let huge = Bytes::from(vec![0; 10 * 1024 * 1024 + 1]);
    // By whoever answers.
    let (answer, sent) = tokio::join!(ask(&other, &modest, "all of it"), async {
        modest.asked().await.answer.send(huge.clone())
    });
    assert_eq!(sent, Answered::TooLarge);
    let peer = modest.key();
    assert_eq!(answer, Err(AskError::AnswerTooLarge { peer }));
    // By whoever asked.
    let (answer, sent) = tokio::join!(ask(&modest, &other, "all of it"), async {
        other.asked().await.answer.send(huge.clone())
    });
    assert_eq!(sent, Answered::Sent);
    let peer = other.key();
    assert_eq!(answer, Err(AskError::AnswerTooLarge { peer }));
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_waited_for_no_longer_than_allowed() {
    let brief = |limits: &mut AskLimits| {
        limits.time_max = BRIEF;
        limits.member.at_once_max = 2;
    };
    let mut slow = machine(limited(57, brief)).await;
    let one = machine(config(58)).await;
    let two = machine(config(59)).await;
    let all = roster(&[&slow, &one, &two]);
    for machine in [&slow, &one, &two] {
        machine.peers.admit(all.clone()).await;
    }
    // They wait longer than it takes its time: it ends their streams.
    let (first, second) = (ask(&one, &slow, "1"), ask(&one, &slow, "2"));
    let (first, second, held) = tokio::join!(first, second, async {
        [slow.asked().await, slow.asked().await]
    });
    for answer in [first, second] {
        assert!(
            matches!(answer, Err(AskError::TimedOut { .. })),
            "{answer:?}"
        );
    }
    for question in &held {
        until(|| !question.answer.is_awaited()).await;
    }
    // What is held counts against its asker for as long as it is, and against nobody else.
    let third = ask(&one, &slow, "3").await;
    assert!(matches!(third, Err(AskError::TimedOut { .. })), "{third:?}");
    let (other, ()) = tokio::join!(ask(&two, &slow, "4"), async {
        slow.asked().await.answer.send("5".into());
    });
    assert_eq!(other.unwrap(), "5");
    drop(held);
    let (fourth, ()) = tokio::join!(ask(&one, &slow, "6"), async {
        let question = slow.asked().await;
        assert_eq!(question.bytes, "6");
        question.answer.send("7".into());
    });
    assert_eq!(fourth.unwrap(), "7");
}

#[tokio::test]
async fn whoever_asks_waits_no_longer_than_it_wants() {
    let one = machine(limited(60, |limits| limits.time_max = BRIEF)).await;
    let mut two = machine(limited(61, |limits| limits.time_max = 100 * LONG)).await;
    let all = roster(&[&one, &two]);
    one.peers.admit(all.clone()).await;
    two.peers.admit(all).await;
    // On a busy machine the first may be given up before it arrives.
    let question = loop {
        let asking = timeout(LONG, ask(&one, &two, "well?"));
        let arriving = timeout(BRIEF, two.questions.recv());
        let (answer, arrived) = tokio::join!(asking, arriving);
        let answer = answer.expect("it waits on");
        assert!(
            matches!(answer, Err(AskError::TimedOut { .. })),
            "{answer:?}"
        );
        if let Ok(question) = arrived {
            break question.unwrap();
        }
    };
    until(|| !question.answer.is_awaited()).await;
}

#[tokio::test]
async fn more_questions_than_allowed_wait_and_hold_up_no_votes() {
    // Whoever asks would ask more at once than whoever is asked allows.
    let many = |limits: &mut AskLimits| limits.member.at_once_max = 1_000;
    let one = machine(limited(62, many)).await;
    let mut two = machine(config(63)).await;
    let all = roster(&[&one, &two]);
    one.peers.admit(all.clone()).await;
    two.peers.admit(all).await;
    let mut asking = JoinSet::new();
    for _ in 0..40 {
        asking.spawn(ask(&one, &two, vec![1; 200_000]));
    }
    let mut held = Vec::new();
    for _ in 0..8 {
        held.push(two.asked().await);
    }
    for _ in 0..100 {
        one.send(&two, Protocol::Agreement, b"a vote");
        assert_eq!(two.next(Protocol::Agreement).await.1, "a vote");
    }
    let ninth = timeout(WHILE, two.questions.recv()).await;
    assert!(ninth.is_err(), "nine questions at once");
    held.remove(0).answer.send("one".into());
    held.push(two.asked().await);
    drop(held);
    tokio::select! {
        () = two.echo() => unreachable!("it never ends"),
        answers = timeout(LONG, asking.join_all()) => assert_eq!(answers.unwrap().len(), 40),
    }
}

#[tokio::test]
async fn guests_together_take_no_place_from_members() {
    let few = |limits: &mut AskLimits| limits.guests_at_once_max = 2;
    let [mut member, guest] = with_guest(limited(64, few), config(65)).await;
    let (late, other) = (machine(config(66)).await, machine(config(67)).await);
    let mut all = roster(&[&member, &other]);
    all.guests = BTreeSet::from([guest.key(), late.key()]);
    member.peers.admit(all.clone()).await;
    other.peers.admit(all).await;
    late.peers.admit(roster(&[&member])).await;
    let mut asking = JoinSet::new();
    asking.spawn(ask(&guest, &member, "1"));
    asking.spawn(ask(&guest, &member, "2"));
    let held = [member.asked().await, member.asked().await];
    let answer = ask(&late, &member, "3").await;
    assert_eq!(answer, refused(&member, Refusal::Busy));
    let (answer, ()) = tokio::join!(ask(&other, &member, "4"), async {
        member.asked().await.answer.send("5".into());
    });
    assert_eq!(answer.unwrap(), "5");
    drop(held);
}

#[tokio::test]
async fn whoever_asks_often_is_read_later_and_calling_anew_renews_nothing() {
    let few = |limits: &mut AskLimits| {
        limits.guest = AskShare {
            per_second: 2,
            ..limits.guest
        };
    };
    let [mut member, first] = with_guest(limited(68, few), config(69)).await;
    let second = machine(config(69)).await;
    second.peers.admit(roster(&[&member])).await;
    let asked = member.key();
    let asking = async {
        let began = Instant::now();
        for guest in [&first, &second] {
            for _ in 0..5 {
                guest.peers.ask(asked, "again".into()).await.unwrap();
            }
        }
        began.elapsed()
    };
    let took = tokio::select! {
        () = member.echo() => unreachable!("it never ends"),
        took = asking => took,
    };
    // Two come at once; those on the second connection wait for those on the first.
    assert!(took >= Duration::from_millis(3_300), "{took:?}");
}

#[tokio::test]
async fn another_network_does_not_answer() {
    let one = machine(config(70)).await;
    let elsewhere = machine(PeersConfig {
        network: [8; 32],
        ..config(71)
    })
    .await;
    let all = roster(&[&one, &elsewhere]);
    one.peers.admit(all.clone()).await;
    elsewhere.peers.admit(all).await;
    let answer = ask(&elsewhere, &one, "hello").await;
    assert_eq!(answer, refused(&one, Refusal::OtherNetwork));
    assert_eq!(one.peers.counts().questions_received, 0);
}

#[tokio::test]
async fn a_machine_that_is_away_is_unreachable() {
    let [one, two] = acquainted([72, 73]).await;
    let (key, nowhere) = (two.key(), machine(config(74)).await.key());
    let answer = one.peers.ask(nowhere, Bytes::new()).await;
    let peer = nowhere;
    assert_eq!(answer, Err(AskError::NotAMember { peer }));
    let own = one.peers.ask(one.key(), Bytes::new()).await;
    assert!(matches!(own, Err(AskError::NotAMember { .. })), "{own:?}");
    let unknown = Roster {
        members: [(key, Member::default())].into(),
        ..Roster::default()
    };
    one.peers.admit(unknown).await;
    let answer = one.peers.ask(key, Bytes::new()).await;
    let is_unreachable = matches!(answer, Err(AskError::Unreachable { .. }));
    assert!(is_unreachable, "{answer:?}");
}

#[tokio::test]
async fn a_relay_carries_questions_of_members_and_guests_until_they_leave() {
    let (relay, listed) = relay(75, &[76]).await;
    let [mut member, guest] = relayed([76, 77], &[&relay]).await;
    until_home(&member).await;
    let of_relay = listed.borrow().as_ref().clone();
    let with_guest = |roster: &Roster| Roster {
        guests: BTreeSet::from([guest.key()]),
        ..roster.clone()
    };
    listed.send_replace(with_guest(&of_relay).into());
    let own = Roster {
        members: of_relay.members.clone(),
        guests: BTreeSet::from([guest.key()]),
        relays: [(relay.entry.0, [relay.entry.1.clone()].into())].into(),
        ..Roster::default()
    };
    member.peers.admit(own).await;
    until_home(&guest).await;
    let (answer, ()) = tokio::join!(ask(&guest, &member, "by relay"), async {
        let question = member.asked().await;
        assert!(question.is_guest);
        question.answer.send(question.bytes);
    });
    assert_eq!(answer.unwrap(), "by relay");
    listed.send_replace(of_relay.into());
    until(|| guest.peers.homes().is_empty()).await;
    assert!(!member.peers.homes().is_empty());
}

/// An endpoint that keeps to nothing.
async fn rogue(seed: u8) -> (Endpoint, PeerKey) {
    let secret = SecretKey::from_bytes(&[seed; 32]);
    let key = PeerKey(*secret.public().as_bytes());
    let endpoint = Endpoint::builder(presets::Minimal)
        .secret_key(secret)
        .alpns(vec![QUESTIONS.to_vec()])
        .relay_mode(RelayMode::Disabled)
        .clear_ip_transports()
        .bind_addr(SocketAddr::from(([127, 0, 0, 1], 0)))
        .unwrap()
        .bind()
        .await
        .unwrap();
    (endpoint, key)
}

async fn call(from: &Endpoint, to: &Machine, alpn: &[u8]) -> Connection {
    let mut address = EndpointAddr::new(EndpointId::from_bytes(&to.key().0).unwrap());
    for at in to.peers.listening() {
        address = address.with_ip_addr(at);
    }
    from.connect(address, alpn).await.unwrap()
}

async fn begin(connection: &Connection) -> (SendStream, RecvStream) {
    let opened = timeout(LONG, connection.open_bi()).await;
    opened.expect("no place for a question").unwrap()
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_le_bytes(), bytes].concat()
}

async fn ended(answer: &mut RecvStream) -> Result<Option<usize>, ReadError> {
    let read = timeout(LONG, answer.read(&mut [0; 16])).await;
    read.expect("the stream stays open")
}

#[tokio::test]
async fn a_question_that_is_never_finished_ends_in_time_and_holds_its_askers_place_alone() {
    let brief = |limits: &mut AskLimits| limits.time_max = BRIEF;
    let mut member = machine(limited(78, brief)).await;
    let (rogue, key) = rogue(79).await;
    let other = machine(config(80)).await;
    let mut all = roster(&[&member, &other]);
    all.guests.insert(key);
    member.peers.admit(all.clone()).await;
    other.peers.admit(all).await;
    let connection = call(&rogue, &member, QUESTIONS).await;
    let beginnings = [
        framed(&NETWORK),
        [framed(&NETWORK), framed(b"a question, but not its end")].concat(),
    ];
    let mut begun = Vec::new();
    for said in beginnings {
        let (mut asking, answer) = begin(&connection).await;
        asking.write_all(&said).await.unwrap();
        begun.push((asking, answer));
    }
    let (answer, ()) = tokio::join!(ask(&other, &member, "meanwhile"), async {
        let question = member.asked().await;
        question.answer.send(question.bytes);
    });
    assert_eq!(answer.unwrap(), "meanwhile");
    for (_, answer) in &mut begun {
        assert_eq!(ended(answer).await, Err(ReadError::Reset(5_u8.into())));
    }
    assert!(member.questions.try_recv().is_err());
    // What a guest may ask at once is free again, and no more than that.
    drop(begun);
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(begin(&connection).await);
    }
    let ninth = timeout(WHILE / 3, connection.open_bi()).await;
    assert!(ninth.is_err(), "nine questions of a guest at once");
}

#[tokio::test]
async fn half_a_question_is_none() {
    let mut member = machine(config(81)).await;
    let (rogue, key) = rogue(82).await;
    let mut all = roster(&[&member]);
    all.guests.insert(key);
    member.peers.admit(all).await;
    let connection = call(&rogue, &member, QUESTIONS).await;
    let whole = [framed(&NETWORK), framed(b"pay Ann 10")].concat();
    // A stream ends so, as if it were complete, when its sender gives up.
    let (mut asking, mut answer) = begin(&connection).await;
    asking.write_all(&whole[..whole.len() - 1]).await.unwrap();
    asking.finish().unwrap();
    assert_eq!(ended(&mut answer).await, Ok(None));
    let (mut asking, _answer) = begin(&connection).await;
    asking.write_all(&whole).await.unwrap();
    asking.finish().unwrap();
    assert_eq!(member.asked().await.bytes, "pay Ann 10");
}

#[tokio::test]
async fn questions_have_their_connections_and_frames_have_theirs() {
    let member = machine(config(83)).await;
    let (rogue, key) = rogue(84).await;
    let mut all = roster(&[&member]);
    all.members.insert(key, Member::default());
    member.peers.admit(all).await;
    let connection = call(&rogue, &member, QUESTIONS).await;
    let mut frames = connection.open_uni().await.unwrap();
    frames.write_all(&framed(&NETWORK)).await.unwrap();
    let closed = timeout(LONG, connection.closed()).await.unwrap();
    assert_ne!(closed, ConnectionError::TimedOut);
    until(|| member.peers.counts().offenders == 1).await;
    let connection = call(&rogue, &member, b"allod/bft/1").await;
    let mut frames = connection.open_uni().await.unwrap();
    let hello = [NETWORK.as_slice(), &[1; 16]].concat();
    frames.write_all(&framed(&hello)).await.unwrap();
    let (mut question, _answer) = begin(&connection).await;
    question.write_all(&framed(&NETWORK)).await.unwrap();
    let closed = timeout(LONG, connection.closed()).await;
    let closed = closed.expect("a question among votes");
    assert!(matches!(closed, ConnectionError::ApplicationClosed(_)));
    until(|| member.peers.counts().offenders == 2).await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_asked_is_closed_and_opened_anew() {
    let one = machine(limited(85, |limits| limits.quiet_max = WHILE)).await;
    let (rogue, key) = rogue(86).await;
    let member = Member {
        addresses: rogue.bound_sockets(),
        ..Member::default()
    };
    let mut all = roster(&[&one]);
    all.members.insert(key, member);
    one.peers.admit(all).await;
    for _ in 0..2 {
        let answering = async {
            let connection = rogue.accept().await.unwrap().await.unwrap();
            let (mut answer, mut question) = connection.accept_bi().await.unwrap();
            let asked = question.read_to_end(1_000).await.unwrap();
            assert_eq!(asked, [framed(&NETWORK), framed(b"who?")].concat());
            answer.write_all(&framed(b"me")).await.unwrap();
            answer.finish().unwrap();
            connection.closed().await
        };
        let both = async { tokio::join!(one.peers.ask(key, "who?".into()), answering) };
        let (answer, closed) = timeout(LONG, both).await.expect("it stays open");
        assert_eq!(answer.unwrap(), "me");
        assert!(matches!(closed, ConnectionError::ApplicationClosed(_)));
    }
}
