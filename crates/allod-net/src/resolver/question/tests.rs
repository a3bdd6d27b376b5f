//! Verdicts on questions, and totality on anything else.

use std::collections::BTreeSet;
use std::str::FromStr;

use hickory_proto::rr::Name;
use proptest::prelude::*;

use super::*;

fn names() -> Names {
    let mut names = Names::new(vec![]);
    names.insert(
        "shop",
        "db",
        vec![Ipv4Addr::new(10, 1, 0, 2), Ipv4Addr::new(10, 1, 0, 3)],
    );
    names.insert("shop", "cache", vec![]);
    names.insert(
        "shop",
        "many",
        (0..=255)
            .map(|last| Ipv4Addr::new(10, 2, 0, last))
            .collect(),
    );
    names
}

fn ask(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(77, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

fn answer(packet: &[u8], carrier: Carrier) -> Message {
    match judge(packet, carrier, "shop", &names(), 7) {
        Verdict::Answer(packet) => Message::from_vec(&packet).unwrap(),
        other => panic!("{other:?}"),
    }
}

fn addresses(message: &Message) -> BTreeSet<Ipv4Addr> {
    let address = |record: &Record| match record.data {
        RData::A(A(address)) => Some(address),
        _ => None,
    };
    message.answers.iter().filter_map(address).collect()
}

#[test]
fn a_service_is_answered_with_all_its_ready_addresses() {
    let said = answer(&ask("DB.", RecordType::A), Carrier::Udp);
    assert_eq!(addresses(&said).len(), 2);
    assert_eq!(
        (said.metadata.id, said.metadata.response_code),
        (77, ResponseCode::NoError)
    );
    assert!(said.metadata.recursion_available && said.metadata.recursion_desired);
    assert!(said.answers.iter().all(|record| record.ttl == RECORD_TTL_S));
    assert_eq!(
        said.answers[0].name.to_ascii(),
        "DB.",
        "the case of the question is kept"
    );
}

#[test]
fn other_kinds_and_absent_replicas_are_no_data_and_absent_names_do_not_exist() {
    for (name, kind) in [
        ("db.", RecordType::AAAA),
        ("db.shop.", RecordType::MX),
        ("cache.", RecordType::A),
    ] {
        let said = answer(&ask(name, kind), Carrier::Udp);
        let code = said.metadata.response_code;
        assert_eq!(
            (code, said.answers.len()),
            (ResponseCode::NoError, 0),
            "{name} {kind}"
        );
    }
    let said = answer(&ask("nothing.", RecordType::A), Carrier::Udp);
    assert_eq!(said.metadata.response_code, ResponseCode::NXDomain);
    let verdict = judge(
        &ask("example.org.", RecordType::A),
        Carrier::Udp,
        "shop",
        &names(),
        7,
    );
    assert!(matches!(verdict, Verdict::Forward(_)));
}

#[test]
fn a_large_service_fits_its_carrier_by_choosing() {
    let packet = ask("many.", RecordType::A);
    let Verdict::Answer(udp) = judge(&packet, Carrier::Udp, "shop", &names(), 7) else {
        panic!("an answer");
    };
    assert!(udp.len() <= 512);
    assert!(addresses(&Message::from_vec(&udp).unwrap()).len() >= 16);
    assert_eq!(addresses(&answer(&packet, Carrier::Tcp)).len(), 256);
}

#[test]
fn the_order_depends_on_the_seed() {
    let all: Vec<Ipv4Addr> = (0..8).map(|last| Ipv4Addr::new(10, 0, 0, last)).collect();
    let firsts: BTreeSet<Ipv4Addr> = (0..200)
        .map(|seed| shuffled(&all, seed * 7919)[0])
        .collect();
    assert_eq!(firsts.len(), 8, "each comes first sometimes");
    assert_eq!(
        shuffled(&all, 3).into_iter().collect::<BTreeSet<_>>().len(),
        8
    );
    assert!(shuffled(&[], 1).is_empty());
}

#[test]
fn what_is_no_question_is_refused_or_ignored() {
    let code = |packet: &[u8]| answer(packet, Carrier::Udp).metadata.response_code;
    let question = ask("db.", RecordType::A);
    assert_eq!(code(&question[..14]), ResponseCode::FormErr);
    let mut none = question.clone();
    none[5] = 0;
    assert_eq!(code(&none[..12]), ResponseCode::FormErr);
    let mut status = question.clone();
    status[2] |= 0x10;
    assert_eq!(code(&status), ResponseCode::NotImp);
    let mut chaos = question.clone();
    let last = chaos.len() - 1;
    chaos[last] = 3;
    assert_eq!(code(&chaos), ResponseCode::Refused);
    assert_eq!(code(&ask("db.", RecordType::AXFR)), ResponseCode::Refused);
    let mut said = question.clone();
    said[2] |= IS_ANSWER;
    for silent in [said.as_slice(), &question[..11], &[]] {
        let verdict = judge(silent, Carrier::Udp, "shop", &names(), 7);
        assert!(matches!(verdict, Verdict::Ignore));
    }
}

#[test]
fn only_the_answer_to_the_question_is_passed_back_and_under_its_id() {
    let Verdict::Forward(question) = judge(
        &ask("a.org.", RecordType::A),
        Carrier::Udp,
        "shop",
        &names(),
        7,
    ) else {
        panic!("forwarded");
    };
    let asked = Message::from_vec(&question.onward(5).unwrap()).unwrap();
    assert_eq!(
        (asked.metadata.id, asked.metadata.message_type),
        (5, MessageType::Query)
    );
    let said = |id, name: &str| {
        let mut said = Message::response(id, OpCode::Query);
        said.add_query(Query::query(Name::from_str(name).unwrap(), RecordType::A));
        said.to_vec().unwrap()
    };
    assert!(question.is_answered_by(&said(5, "A.org."), 5));
    assert!(!question.is_answered_by(&said(6, "a.org."), 5));
    assert!(!question.is_answered_by(&said(5, "b.org."), 5));
    assert!(!question.is_answered_by(&question.onward(5).unwrap(), 5));
    let back = Message::from_vec(&question.pass_back(said(5, "a.org."))).unwrap();
    assert_eq!(back.metadata.id, 77);
    let cut = Message::from_vec(&question.pass_back(vec![0; 513])).unwrap();
    assert!(cut.metadata.truncation && cut.metadata.id == 77 && cut.queries.len() == 1);
}

proptest! {
    #[test]
    fn garbage_gets_a_sound_answer_or_none(packet in prop::collection::vec(any::<u8>(), 0..600)) {
        if let Verdict::Answer(said) = judge(&packet, Carrier::Udp, "shop", &names(), 7) {
            prop_assert!(said.len() <= 1232);
            prop_assert!(Message::from_vec(&said).is_ok());
            prop_assert_eq!(&said[..2], &packet[..2]);
        }
    }

    #[test]
    fn damaged_questions_are_no_trouble(at in 2..40_usize, byte: u8, length in 0..40_usize) {
        let mut packet = ask("db.shop.internal.", RecordType::A);
        if let Some(place) = packet.get_mut(at) {
            *place = byte;
        }
        packet.truncate(length);
        let question = match judge(&packet, Carrier::Tcp, "shop", &names(), 7) {
            Verdict::Forward(question) => question,
            _ => return Ok(()),
        };
        prop_assert!(question.onward(1).is_some());
        question.is_answered_by(&packet, 1);
    }
}

/// What another resolver says to a question of ours, as the client gets it.
fn passed_back(name: &str, records: Vec<RData>) -> Message {
    let Verdict::Forward(question) =
        judge(&ask(name, RecordType::A), Carrier::Udp, "shop", &names(), 7)
    else {
        panic!("{name} is not of the world");
    };
    let mut said = Message::from_vec(&question.onward(9).unwrap()).unwrap();
    said.metadata.message_type = MessageType::Response;
    for data in records {
        let name = Name::from_ascii(name).unwrap();
        said.add_answer(Record::from_rdata(name, 60, data));
    }
    let packet = said.to_vec().unwrap();
    assert!(question.is_answered_by(&packet, 9));
    Message::from_vec(&question.pass_back(packet)).unwrap()
}

#[test]
fn a_name_of_the_world_never_leads_to_a_private_address() {
    let v4 = |text: &str| RData::A(A(text.parse().unwrap()));
    let v6 = |text: &str| RData::AAAA(AAAA(text.parse().unwrap()));
    for text in [
        "0.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.1",
        "192.0.0.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.251",
        "255.255.255.255",
    ] {
        // Also behind one that is harmless.
        let said = passed_back("rebind.example.org.", vec![v4("198.51.100.7"), v4(text)]);
        assert!(said.answers.is_empty(), "{text}");
        let code = said.metadata.response_code;
        assert_eq!((said.metadata.id, code), (77, ResponseCode::NoError));
    }
    for text in [
        "::",
        "::1",
        "fe80::1",
        "fec0::1",
        "fc00::1",
        "fd12:3456::1",
        "ff02::fb",
        "::ffff:192.168.1.1",
        "::ffff:169.254.169.254",
        "64:ff9b::10.0.0.1",
    ] {
        assert!(
            passed_back("rebind.example.org.", vec![v6(text)])
                .answers
                .is_empty(),
            "{text}"
        );
    }
}

#[test]
fn addresses_of_the_world_are_passed_back() {
    let v4 = |text: &str| RData::A(A(text.parse().unwrap()));
    let public = [
        "1.1.1.1",
        "100.63.0.1",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.0.2.1",
        "192.167.0.1",
        "198.17.0.1",
        "223.255.255.1",
    ];
    let records: Vec<RData> = public.iter().map(|text| v4(text)).collect();
    assert_eq!(
        addresses(&passed_back("example.org.", records)).len(),
        public.len()
    );
    let six = ["2001:db8::1", "2606:4700::1111", "64:ff9b::1.1.1.1"];
    let records = six
        .iter()
        .map(|text| RData::AAAA(AAAA(text.parse().unwrap())));
    assert_eq!(
        passed_back("example.org.", records.collect()).answers.len(),
        six.len()
    );
}
