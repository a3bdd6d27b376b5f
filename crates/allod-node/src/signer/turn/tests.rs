//! Who is next.

use std::sync::{Arc, Mutex};

use tokio::task::{JoinSet, yield_now};

use super::Line;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Plain(u8),
    Urgent(u8),
}

async fn take(line: Arc<Line>, kind: Kind, seen: Arc<Mutex<Vec<Kind>>>) {
    let turn = match kind {
        Kind::Plain(_) => line.wait().await,
        Kind::Urgent(_) => line.wait_urgently().await,
    };
    seen.lock().unwrap().push(kind);
    yield_now().await;
    drop(turn);
}

#[tokio::test]
async fn what_is_urgent_waits_for_the_one_that_has_the_turn_and_for_nothing_else() {
    use Kind::{Plain, Urgent};
    let (line, seen) = (Arc::new(Line::default()), Arc::default());
    let held = line.wait().await;
    let mut tasks = JoinSet::new();
    for kind in [Plain(1), Plain(2), Urgent(1), Plain(3), Urgent(2)] {
        tasks.spawn(take(Arc::clone(&line), kind, Arc::clone(&seen)));
        yield_now().await;
    }
    drop(held);
    tasks.join_all().await;
    let expected = [Urgent(1), Urgent(2), Plain(1), Plain(2), Plain(3)];
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn what_waits_no_more_holds_up_nothing() {
    let line = Line::default();
    let held = line.wait().await;
    {
        let mut urgent = std::pin::pin!(line.wait_urgently());
        let mut plain = std::pin::pin!(line.wait());
        assert!(futures_util::poll!(&mut urgent).is_pending());
        assert!(futures_util::poll!(&mut plain).is_pending());
    }
    drop(held);
    drop(line.wait_urgently().await);
    drop(line.wait().await);
}
