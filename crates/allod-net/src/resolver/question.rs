//! One DNS message in, a verdict out: an answer of ours, a question to pass on, or silence.
//!
//! Pure, and total on any bytes.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::op::{Edns, Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{DNSClass, RData, Record, RecordType};

use crate::limits::{
    ADDRESS_BYTES, ADDRESSES_MAX, ANSWER_FRAME_BYTES, RECORD_TTL_S, UDP_ANSWER_BYTES,
};
use crate::resolver::names::{Meaning, Names};

/// Bytes of a DNS header.
const HEADER_BYTES: usize = 12;
/// The bit of the third header byte that marks an answer.
const IS_ANSWER: u8 = 0x80;
/// The bit of the third header byte that marks a cut answer.
const IS_CUT: u8 = 0x02;

/// How a message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// In a datagram, and the answer must fit one.
    Udp,
    /// On a connection.
    Tcp,
}

/// What to do with a message.
#[derive(Debug)]
pub(crate) enum Verdict {
    /// Say nothing.
    Ignore,
    /// Send this.
    Answer(Vec<u8>),
    /// Ask the machine's resolvers.
    Forward(Question),
}

/// A sound question.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    metadata: Metadata,
    pub(crate) query: Query,
    edns: Option<Edns>,
    pub(crate) carrier: Carrier,
}

/// Judges a message from a client of an app. `seed` decides the order of the addresses.
pub(crate) fn judge(
    packet: &[u8],
    carrier: Carrier,
    app: &str,
    names: &Names,
    seed: u64,
) -> Verdict {
    let question = match Question::read(packet, carrier) {
        Ok(question) => question,
        Err(answer) => return answer.map_or(Verdict::Ignore, Verdict::Answer),
    };
    if let RecordType::AXFR | RecordType::IXFR = question.query.query_type {
        return Verdict::Answer(question.failure(ResponseCode::Refused));
    }
    match names.meaning(app, &question.labels()) {
        Meaning::Service(ready) => Verdict::Answer(question.addresses(&shuffled(ready, seed))),
        Meaning::Localhost => Verdict::Answer(question.addresses(&[Ipv4Addr::LOCALHOST])),
        Meaning::Nothing => Verdict::Answer(question.failure(ResponseCode::NXDomain)),
        Meaning::Foreign => Verdict::Forward(question),
    }
}

impl Question {
    /// Reads a message; what is not a sound question yields the answer it deserves, if any.
    fn read(packet: &[u8], carrier: Carrier) -> Result<Self, Option<Vec<u8>>> {
        let Some(header) = packet.get(..HEADER_BYTES) else {
            return Err(None);
        };
        // Answering answers is how two servers talk to each other forever.
        if header[2] & IS_ANSWER != 0 {
            return Err(None);
        }
        let id = u16::from_be_bytes([header[0], header[1]]);
        let malformed = || {
            encode(&Message::error_msg(
                id,
                OpCode::Query,
                ResponseCode::FormErr,
            ))
        };
        let mut message = Message::from_vec(packet).map_err(|_| malformed())?;
        if message.metadata.op_code != OpCode::Query {
            let code = ResponseCode::NotImp;
            return Err(encode(&Message::error_msg(
                id,
                message.metadata.op_code,
                code,
            )));
        }
        let (Some(query), true) = (message.queries.pop(), message.queries.is_empty()) else {
            return Err(malformed());
        };
        let question = Self {
            metadata: message.metadata,
            query,
            edns: message.edns,
            carrier,
        };
        match question.query.query_class {
            DNSClass::IN | DNSClass::ANY => Ok(question),
            _ => Err(Some(question.failure(ResponseCode::Refused))),
        }
    }

    /// An answer without records.
    pub(crate) fn failure(&self, code: ResponseCode) -> Vec<u8> {
        let mut answer = self.reply();
        answer.metadata.response_code = code;
        self.fitting(&answer)
    }

    /// The question as it is asked of another resolver, under another id.
    pub(crate) fn onward(&self, id: u16) -> Option<Vec<u8>> {
        let mut asked = Message::new(id, MessageType::Query, OpCode::Query);
        asked.metadata.recursion_desired = self.metadata.recursion_desired;
        asked.metadata.checking_disabled = self.metadata.checking_disabled;
        asked.add_query(self.query.clone());
        if let Some(theirs) = &self.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_ANSWER_BYTES.1);
            edns.set_dnssec_ok(theirs.flags().dnssec_ok);
            asked.set_edns(edns);
        }
        encode(&asked)
    }

    /// Whether a packet answers what [`Question::onward`] asked under this id.
    pub(crate) fn is_answered_by(&self, packet: &[u8], id: u16) -> bool {
        let is_answer = packet.get(2).is_some_and(|flags| flags & IS_ANSWER != 0);
        is_answer
            && Message::from_vec(packet).is_ok_and(|answer| {
                answer.metadata.id == id
                    && answer.queries.first().is_some_and(|query| {
                        query.name == self.query.name
                            && query.query_type == self.query.query_type
                            && query.query_class == self.query.query_class
                    })
            })
    }

    /// Another resolver's answer as the client gets it: under its own id, cut if it is too long.
    ///
    /// One that names a private address is passed back without any: a name of the world that
    /// leads into the owner's network is either somebody's trick (rebinding) or the owner's
    /// secret, and no workload reaches such an address anyhow.
    pub(crate) fn pass_back(&self, mut packet: Vec<u8>) -> Vec<u8> {
        if names_private(&packet) {
            return self.fitting(&self.reply());
        }
        if packet.len() > self.answer_bytes_max() {
            let mut cut = self.reply();
            cut.metadata.truncation = true;
            return encode(&cut).unwrap_or_default();
        }
        if let Some(id) = packet.get_mut(..2) {
            id.copy_from_slice(&self.metadata.id.to_be_bytes());
        }
        packet
    }

    fn labels(&self) -> Vec<String> {
        let label = |label: &[u8]| String::from_utf8_lossy(label).to_ascii_lowercase();
        self.query.name.iter().map(label).collect()
    }

    fn addresses(&self, addresses: &[Ipv4Addr]) -> Vec<u8> {
        let mut answer = self.reply();
        answer.metadata.authoritative = true;
        if let RecordType::A | RecordType::ANY = self.query.query_type {
            let room = self.answer_bytes_max().saturating_sub(ANSWER_FRAME_BYTES) / ADDRESS_BYTES;
            for address in addresses.iter().take(room.min(ADDRESSES_MAX)) {
                let name = self.query.name.clone();
                answer.add_answer(Record::from_rdata(
                    name,
                    RECORD_TTL_S,
                    RData::A(A(*address)),
                ));
            }
        }
        self.fitting(&answer)
    }

    fn reply(&self) -> Message {
        let mut answer = Message::response(self.metadata.id, OpCode::Query);
        answer.metadata = Metadata::response_from_request(&self.metadata);
        answer.metadata.recursion_available = true;
        answer.add_query(self.query.clone());
        if self.edns.is_some() {
            let mut edns = Edns::new();
            edns.set_max_payload(UDP_ANSWER_BYTES.1);
            answer.set_edns(edns);
        }
        answer
    }

    fn fitting(&self, answer: &Message) -> Vec<u8> {
        match encode(answer) {
            Some(packet) if packet.len() <= self.answer_bytes_max() => packet,
            _ => encode(&answer.truncate()).unwrap_or_default(),
        }
    }

    fn answer_bytes_max(&self) -> usize {
        let (least, most) = UDP_ANSWER_BYTES;
        match self.carrier {
            Carrier::Tcp => usize::from(u16::MAX),
            Carrier::Udp => {
                let said = self.edns.as_ref().map_or(least, Edns::max_payload);
                usize::from(said.clamp(least, most))
            }
        }
    }
}

/// Whether an answer has an address that is not one of the world.
fn names_private(packet: &[u8]) -> bool {
    let Ok(message) = Message::from_vec(packet) else {
        return false;
    };
    let records = message.answers.iter().chain(&message.additionals);
    records.into_iter().any(|record| match &record.data {
        RData::A(A(address)) => is_private(*address),
        RData::AAAA(AAAA(address)) => is_private_v6(*address),
        _ => false,
    })
}

/// This network, private, shared by carriers, loopback, link-local, protocol assignments,
/// benchmarks, multicast and reserved: what packet filters refuse to workloads.
fn is_private(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    match first {
        0 | 10 | 127 | 224.. => true,
        100 => (64..128).contains(&second),
        169 => second == 254,
        172 => (16..32).contains(&second),
        192 => second == 168 || (second, third) == (0, 0),
        198 => second == 18 || second == 19,
        _ => false,
    }
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let [first, ..] = address.segments();
    let embedded = address.to_ipv4().or_else(|| nat64(address));
    // Unique local, link-local and site-local, multicast; unspecified and loopback are embedded.
    first & 0xfe00 == 0xfc00
        || first & 0xff80 == 0xfe80
        || first & 0xff00 == 0xff00
        || embedded.is_some_and(is_private)
}

/// The address that a translator between both protocols would send to.
fn nat64(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = address.segments() else {
        return None;
    };
    let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
    Some(Ipv4Addr::new(a, b, c, d))
}

/// Whether a packet says that it was cut.
pub(crate) fn is_cut(packet: &[u8]) -> bool {
    packet.get(2).is_some_and(|flags| flags & IS_CUT != 0)
}

fn encode(message: &Message) -> Option<Vec<u8>> {
    message.to_vec().ok()
}

/// The addresses in an order drawn from the seed, so that callers spread over the replicas.
fn shuffled(addresses: &[Ipv4Addr], seed: u64) -> Vec<Ipv4Addr> {
    let mut shuffled = addresses.to_vec();
    let mut state = seed | 1;
    for index in (1..shuffled.len()).rev() {
        // Xorshift: fair enough for spreading load.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let bound = u64::try_from(index + 1).unwrap_or(1);
        shuffled.swap(index, usize::try_from(state % bound).unwrap_or(0));
    }
    shuffled
}

#[cfg(test)]
mod tests;
