//! What says something of a workload, and what does not.

use std::os::unix::net::UnixListener;

use serde_json::json;

use super::*;
use crate::images::tests::{receive, send};

#[tokio::test(flavor = "multi_thread")]
async fn that_too_many_commands_run_says_nothing_of_a_workload() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("root.sock")).unwrap();
    let root = std::thread::spawn(move || {
        let busy = json!({"refusal": "busy", "what": "this machine", "why": "many run"});
        let gone = json!({"refusal": "not_found", "what": "the workload"});
        for refusal in [busy.clone(), busy, gone] {
            let (mut stream, _) = listener.accept().unwrap();
            assert_eq!(receive(&mut stream)["request"], "exec");
            send(
                &mut stream,
                &json!({"answer": "refused", "refusal": refusal}),
            );
        }
    });
    let target = Target {
        id: WorkloadId {
            lease: [1; 32],
            epoch: 1,
        },
        address: Ipv4Addr::LOCALHOST,
        runtime: Client::new(dir.path()),
    };
    let told = exec(&target, vec!["true".to_owned()]).await.unwrap_err();
    assert!(told.contains("the workload"), "{told}");
    root.join().unwrap();
}
