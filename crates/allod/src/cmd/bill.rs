//! `allod bill`: what leases cost, and the proof that it is right.

use allod_api::client::{Check, Result, verify_bill};
use allod_node::view::{Bill, BillLine};
use allod_state::bill::month_of;
use clap::Subcommand;

use crate::context::Context;
use crate::render::table::table;
use crate::render::text::{bytes, span};

/// What a verification that found something wrong ends with.
const MISMATCH: u8 = 1;

/// Show a month's bill, or recompute it.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Args {
    #[command(flatten)]
    month: Month,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Recompute the bill from the network's id, its certificates, proofs and the raw evidence.
    Verify(Month),
}

#[derive(Debug, clap::Args)]
struct Month {
    /// The month, as 2026-11 or 202611; the present one where none is named.
    #[arg(long, value_parser = month)]
    month: Option<u32>,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<u8> {
    let client = context.client()?;
    let network = client.network().await?;
    let named = match &args.command {
        Some(Command::Verify(month)) => month.month,
        None => args.month.month,
    };
    let month = named.unwrap_or_else(|| month_of(network.time_ms));
    if args.command.is_none() {
        context.show(&client.bill(month).await?, bill);
        return Ok(0);
    }
    let mut checks = verified(&client, &network, month).await?;
    // Evidence may have come between the two answers; then the second look agrees with itself.
    if checks.iter().any(|check| !check.is_good) {
        checks = verified(&client, &network, month).await?;
    }
    context.show(&checks, |checks| rows(checks, "the bill"));
    let is_good = checks.iter().all(|check| check.is_good);
    Ok(if is_good { 0 } else { MISMATCH })
}

async fn verified(
    client: &allod_api::client::Client,
    network: &allod_node::view::Network,
    month: u32,
) -> Result<Vec<Check>> {
    let (bill, proof) = tokio::try_join!(client.bill(month), client.bill_proof(month))?;
    Ok(verify_bill(
        &network.network,
        &client.account(),
        &bill,
        &proof,
    ))
}

fn month(text: &str) -> Result<u32, String> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    match digits.parse::<u32>() {
        Ok(number) if digits.len() == 6 && (1..=12).contains(&(number % 100)) => Ok(number),
        _ => Err("write the month as 2026-11".into()),
    }
}

fn bill(bill: &Bill) -> String {
    let row = |line: &BillLine| {
        [
            line.app.clone(),
            line.service.clone(),
            line.lease.short(),
            span(line.line.ready_ms),
            line.price_per_hour
                .map(|price| price.to_string())
                .unwrap_or_default(),
            line.line.amount.to_string(),
            span(line.usage.cpu_ms),
            format!(
                "{} / {}",
                bytes(line.usage.network_received_bytes),
                bytes(line.usage.network_sent_bytes)
            ),
        ]
    };
    let lines = table(
        [
            "APP",
            "SERVICE",
            "LEASE",
            "READY>",
            "CREDITS/HOUR>",
            "CREDITS>",
            "CPU USED>",
            "NET IN / OUT>",
        ],
        bill.lines.iter().map(row).collect(),
    );
    format!(
        "{lines}\n\n{}-{:02}: {} credits, {} of them to yourself for leases on your own nodes",
        bill.month / 100,
        bill.month % 100,
        bill.total,
        bill.to_oneself
    )
}

/// What was checked, and whether all of it is right.
pub(super) fn rows(checks: &[Check], what: &str) -> String {
    let row = |check: &Check| {
        let verdict = if check.is_good { "ok" } else { "WRONG" };
        [verdict.to_owned(), check.what.clone(), check.found.clone()]
    };
    let text = table(["", "CHECK", "FOUND"], checks.iter().map(row).collect());
    let wrong = checks.iter().filter(|check| !check.is_good).count();
    match wrong {
        0 => format!("{text}\n\n{what} is right"),
        _ => format!(
            "{text}\n\n{what} is NOT right: {wrong} of {} checks failed",
            checks.len()
        ),
    }
}
