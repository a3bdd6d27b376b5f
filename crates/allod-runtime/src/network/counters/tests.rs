//! Reading the kernel's table.

use super::*;

const SAMPLE: &str = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop
    lo:     100       2    0    0    0     0          0         0      300       4    0    0    0
w-0011:1234567890       1    0    0    0     0          0         0 9876543210       2    0    0
";

#[test]
fn directions_are_the_containers() {
    let table = parse(SAMPLE);
    assert_eq!(table.len(), 2);
    let expected = Traffic {
        received_bytes: 9_876_543_210,
        sent_bytes: 1_234_567_890,
    };
    assert_eq!(table.get("w-0011"), Some(&expected));
}
