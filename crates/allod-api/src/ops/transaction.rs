//! Transactions: every change, signed by its author, whoever carries it.

use allod_state::Transaction;
use allod_state::limits::TRANSACTION_BYTES_MAX;
use http::StatusCode;
use tokio::time::timeout;

use super::{Access, Answer, Answered, Input, Method, Operation, plain};
use crate::limits::{COMMIT_TIMEOUT, QUORUM_TIMEOUT};
use crate::server::answer::json;
use crate::server::call::Call;
use crate::server::gate;
use crate::server::problem::Problem;
use crate::shape::{RECEIPT, Shape};

pub(super) static SUBMIT: Operation = Operation {
    name: "transaction.submit",
    method: Method::Post,
    path: "/v1/transactions",
    summary: "Submits a signed transaction and waits until a block holds it. The same transaction again gives the same \
              answer. The request needs no signature: the transaction has one.",
    access: Access::Public,
    input: Input::Bytes {
        what: "the canonical bytes of a signed transaction",
        bytes_max: TRANSACTION_BYTES_MAX as u64,
    },
    answer: Answer::Json(Shape::View(&RECEIPT)),
    timeout: COMMIT_TIMEOUT,
    ..plain(submit)
};

fn no_quorum(lost: String) -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "no-quorum",
        lost,
        "what runs goes on; the transaction waits, and is decided once enough are back or expires: allod validator status",
    )
    .retry_after(5)
}

fn submit(call: Call) -> Answered {
    Box::pin(async move {
        let transaction = Transaction::from_bytes(&call.bytes()?)
            .map_err(|error| Problem::malformed(error.to_string()))?;
        let (account, key) = (transaction.body.account, transaction.body.key);
        if call.node.state().key(&account, &key).is_none()
            && let Some(problem) = gate::retired(&call.node, &key, Some(account))
        {
            return Err(problem);
        }
        let submitting = call.node.submit(transaction);
        tokio::pin!(submitting);
        let receipt = match timeout(QUORUM_TIMEOUT, &mut submitting).await {
            Ok(receipt) => receipt?,
            Err(_) => match call.node.lost_quorum() {
                Some(lost) => return Err(no_quorum(lost)),
                None => submitting.await?,
            },
        };
        match &receipt.rejection {
            Some(rejection) => Err(Problem::of_receipt(&receipt, rejection)),
            None => json(&receipt),
        }
    })
}
