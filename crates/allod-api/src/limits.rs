//! Every bound of the outside door, in one place.

use std::time::Duration;

/// Connections of strangers open at a time: of whoever has not yet signed a request. The one that has been idle the
/// longest makes room.
pub const STRANGERS_MAX: usize = 128;
/// Of them, those of one source: an IPv4 address, or the /64 network of an IPv6 one.
pub const STRANGERS_PER_SOURCE_MAX: usize = 96;
/// Connections of accounts other than the operator's, open at a time.
pub const MEMBERS_MAX: usize = 256;
/// Of them, those of one account.
pub const MEMBERS_PER_ACCOUNT_MAX: usize = 128;
/// Connections of the operator's account, open at a time; nobody else ever takes their room.
pub const OPERATORS_MAX: usize = 64;
/// How long a proven connection must have been idle before it makes room for another.
pub const SEAT_PATIENCE: Duration = Duration::from_secs(1);
/// From this many connections on, strangers get one answer on a connection and must come again for the next.
pub const STRANGERS_CROWDED: usize = STRANGERS_MAX / 2;
/// Connections of strangers that get a seat in a second, lastingly. What strangers may cost is bounded by this: to read a
/// request, refuse it and hang up costs about as much as a signed read, so that a flood takes no more than a twenty-fifth of
/// a processor that answers 5,000 of those a second.
pub const STRANGERS_PER_SECOND_MAX: u32 = 200;
/// Connections that get one at once after a pause; half of them only where their source does not come often.
pub const STRANGERS_BURST: u32 = 512;
/// Connections whose client has not yet sent a whole head; where there are more, the source with the most of them loses
/// its oldest.
pub const LOBBY_MAX: usize = 2_048;
/// By how much the lobby's thread gives way: beside the API's threads, which give way by 5, it has about a twentieth of a
/// processor that has no time left, and all it needs of one that has.
pub const LOBBY_NICENESS: i32 = 18;
/// Stack of the lobby's thread.
pub const LOBBY_STACK_BYTES: usize = 256 * 1024;
/// How much of a head the lobby looks at; whatever is longer is read by the parser.
pub const GLANCE_BYTES: usize = 4 * 1024;
/// How much of a request is read before it is refused in the lobby.
pub const SHED_BYTES_MAX: usize = 64 * 1024;
/// Connections that wait in the kernel's queue; it takes no more than its own bound (`net.core.somaxconn`).
pub const BACKLOG: i32 = 4_096;
/// Connections that wait at the owner's own door.
pub const OWN_BACKLOG: i32 = 64;
/// Requests of strangers worked on at a time: transactions without a signed request around them.
pub const STRANGER_REQUESTS_MAX: usize = 48;
/// Threads that read and compute for others than the operator, at a time.
pub const WORK_MAX: usize = 12;
/// Threads that read and compute for the operator, at a time.
pub const OPERATOR_WORK_MAX: usize = 4;
/// How long a request waits for one of them before it is told to come back.
pub const TURN_TIMEOUT: Duration = Duration::from_secs(5);
/// Streams of events and logs open at a time.
pub const STREAMS_MAX: usize = 96;
/// Streams of the operator beside those.
pub const OPERATOR_STREAMS_MAX: usize = 32;
/// Processes run beside replicas at a time; each holds a thread until it ends.
pub const EXECS_MAX: usize = 48;
/// Processes of the operator beside those.
pub const OPERATOR_EXECS_MAX: usize = 16;
/// Largest head of a request, in bytes.
pub const HEAD_BYTES_MAX: usize = 32 * 1024;
/// Headers of a request.
pub const HEADERS_MAX: usize = 64;
/// How long a client may take to send the head.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a stream may take to end once the server is told to stop.
pub const STREAM_END_MAX: Duration = Duration::from_millis(500);
/// How long a client may be silent in the middle of its body.
pub const BODY_SILENCE_MAX: Duration = Duration::from_secs(30);
/// How long a body that is kept in memory may take as a whole.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(20);
/// A client that takes no byte of its answer for this long is cut off.
pub const WRITE_STALL_MAX: Duration = Duration::from_secs(30);
/// The longest that a refused client is asked to stay away, in seconds; they are spread over this time.
pub const RETRY_AFTER_S_MAX: u64 = 3;
/// How long an ordinary answer may take.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);
/// How long an answer may take that waits for a block.
pub const COMMIT_TIMEOUT: Duration = Duration::from_secs(40);
/// How long an answer waits for a block while too few validators are reached: a little longer than it takes to notice that
/// one is gone.
pub const QUORUM_TIMEOUT: Duration = Duration::from_secs(18);
/// How long an answer may take that waits for a registry.
pub const REGISTRY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long taking an image archive in may take.
pub const IMPORT_TIMEOUT: Duration = Duration::from_secs(900);
/// How long data of a volume may take to come in and be put in their place.
pub const VOLUME_TIMEOUT: Duration = Duration::from_secs(4 * 60 * 60);
/// Largest archive of a volume's data, in bytes.
pub const VOLUME_BYTES_MAX: u64 = 1024 * 1024 * 1024 * 1024;
/// Largest JSON body, in bytes.
pub const JSON_BYTES_MAX: u64 = 16 * 1024;
/// Largest list of actions that is planned, in bytes.
pub const PLAN_BYTES_MAX: usize = 64 * 1024;
/// Largest image archive, in bytes.
pub const ARCHIVE_BYTES_MAX: u64 = 4 * 1024 * 1024 * 1024;
/// How many movements or happenings are answered where nothing else is asked for.
pub const ENTRIES_DEFAULT: usize = 100;
/// Most movements or happenings in one answer.
pub const ENTRIES_MAX: usize = 10_000;
/// Log lines of each replica where nothing else is asked for.
pub const TAIL_DEFAULT: usize = 1_000;
/// Most log lines of each replica before those that are yet to come.
pub const TAIL_MAX: usize = 100_000;
/// How often a followed log is read.
pub const LOG_PERIOD: Duration = Duration::from_millis(150);
/// How often a silent stream says that it is still there.
pub const HEARTBEAT_PERIOD: Duration = Duration::from_secs(15);
/// Longest message of a terminal, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 1024 * 1024;
/// How long another machine may take to begin an answer.
pub const ONWARD_TIMEOUT: Duration = Duration::from_secs(8);
/// The longest line or event of another machine's answer.
pub const MERGED_LINE_BYTES_MAX: usize = 1024 * 1024;
/// Bytes of a process's output sent at a time.
pub const OUTPUT_BYTES: usize = 32 * 1024;
/// Pieces of a process's output that wait for a slow client.
pub const OUTPUTS_WAITING_MAX: usize = 8;
/// How long what a process wrote last may take to arrive once it has ended.
pub const LAST_OUTPUT_GRACE: Duration = Duration::from_secs(2);
/// Words of a command, and the longest of them in bytes.
pub const COMMAND_WORDS_MAX: usize = 256;
/// How long the accept loop rests after an error.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
