//! Picking is fair, respects readiness and limits, and draining ends when the last ticket goes.

use std::net::SocketAddr;
use std::time::Duration;

use super::*;

fn backend(port: u16) -> Backend {
    Backend::ready(
        SocketAddr::from(([127, 0, 0, 1], port)),
        &format!("web-{port}"),
    )
}

fn port_of(id: &BackendId) -> u16 {
    match &id.location {
        Location::Here(address) => address.port(),
        there @ Location::There { .. } => panic!("{there}"),
    }
}

fn taken(pick: Pick) -> Ticket {
    match pick {
        Pick::Taken(ticket) => ticket,
        other => panic!("expected a backend, got {other:?}"),
    }
}

#[test]
fn the_least_loaded_is_picked_and_equals_take_turns() {
    let loads = Arc::new(Loads::default());
    let backends = [backend(1), backend(2), backend(3)];
    let tickets: Vec<Ticket> = (0..6)
        .map(|_| taken(loads.pick(&backends, None, (10, 99))))
        .collect();
    for backend in &backends {
        assert_eq!(loads.open(&backend.id), 2);
    }
    let mut tickets = tickets;
    let freed = tickets.remove(0);
    let freed_id = freed.id().clone();
    drop(freed);
    let next = taken(loads.pick(&backends, None, (10, 99)));
    assert_eq!(next.id(), &freed_id, "the one that has fewest open is next");
    drop((next, tickets));
    let mut seen: Vec<u16> = (0..3)
        .map(|_| {
            let ticket = taken(loads.pick(&backends, None, (10, 99)));
            port_of(ticket.id())
        })
        .collect();
    seen.sort_unstable();
    assert_eq!(seen, [1, 2, 3], "idle equals are taken in turn");
}

#[test]
fn the_unready_the_excluded_and_the_full_are_passed_over() {
    let loads = Arc::new(Loads::default());
    let unready = Backend::not_ready(SocketAddr::from(([127, 0, 0, 1], 9)), "web-9");
    let one = backend(1);
    assert!(matches!(
        loads.pick(std::slice::from_ref(&unready), None, (1, 99)),
        Pick::NoneReady
    ));
    let both = [unready, one.clone()];
    assert!(matches!(
        loads.pick(&both, Some(&one.id), (1, 99)),
        Pick::NoneReady
    ));
    let ticket = taken(loads.pick(&both, None, (1, 99)));
    assert_eq!(ticket.id(), &one.id);
    assert!(matches!(loads.pick(&both, None, (1, 99)), Pick::Busy));
}

#[tokio::test(start_paused = true)]
async fn drained_waits_for_the_last_ticket() {
    let loads = Arc::new(Loads::default());
    let backends = [backend(1)];
    let ticket = taken(loads.pick(&backends, None, (10, 99)));
    let waiting = loads.drained(&backends[0].id);
    tokio::pin!(waiting);
    assert!(
        tokio::time::timeout(Duration::from_secs(5), &mut waiting)
            .await
            .is_err()
    );
    drop(ticket);
    tokio::time::timeout(Duration::from_secs(5), waiting)
        .await
        .unwrap();
}

#[test]
fn all_backends_of_a_service_together_have_a_limit() {
    let loads = Arc::new(Loads::default());
    let backends = [backend(1), backend(2)];
    let first = taken(loads.pick(&backends, None, (5, 2)));
    let _second = taken(loads.pick(&backends, None, (5, 2)));
    assert!(matches!(loads.pick(&backends, None, (5, 2)), Pick::Busy));
    drop(first);
    taken(loads.pick(&backends, None, (5, 2)));
}
