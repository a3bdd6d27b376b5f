//! What is told, and what that leaves alone.

use super::*;
use crate::agent::right::tests::Stage;

#[tokio::test]
async fn the_end_of_a_report_is_the_end_of_nothing_else() {
    let mut stage = Stage::set().await;
    stage.runs(None);
    let id = stage.id;
    // It is being removed, and its connections are let end.
    stage.agent.entries.get_mut(&id).unwrap().local.is_busy = true;
    for told in [Told::Taken, Told::Refused("no block took it".into())] {
        stage.agent.handle(Event::Told(id, told));
        let entry = &stage.agent.entries[&id];
        assert!(
            entry.local.is_busy,
            "another removal would let no connection end"
        );
    }
    stage.node.stop().await;
}
