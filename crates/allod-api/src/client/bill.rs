//! A bill recomputed: from the network's id, step by step, to the last millionth, trusting neither the node nor its API.
//!
//! 1. The genesis document hashes to the network's id, so its validators are the network's.
//! 2. They certified the header, or handed over to those who did, each step decided by the ones before: so its root is
//!    the state's.
//! 3. Each line and each lease is under that root.
//! 4. The raw evidence of each lease, folded by the law's own function, gives the lease's meter with its accumulator: no
//!    item was added, changed, left out or reordered.
//! 5. What the items of the month add up to is the line, and the lines add up to the bill.
//!
//! A lease that ended a hundred days ago is not in the state any more, which is proved as well: what it cost is what its
//! line says, and nobody recomputes it.
//!
//! What it does not show: that no line was left out of the answer, since a proof names one line at a time. Nobody gains by
//! leaving out a line of what one owes.

use std::collections::{BTreeMap, BTreeSet};

use allod_node::view::{Bill, BillLine, BillProof, LineProof};
use allod_state::bill::{Line, month_of};
use allod_state::evidence::{Item, Meter, Usage};
use allod_state::lease::{EndCause, Lease, Phase};
use allod_state::{AccountId, Credits, LeaseId, NetworkId, Root, State};

use super::proven::{Check, header_of, is_absent, proved};

/// Recomputes `bill` of `payer` on `network` from `proof`. The bill is right where every check is good.
#[must_use]
pub fn verify_bill(
    network: &NetworkId,
    payer: &AccountId,
    bill: &Bill,
    proof: &BillProof,
) -> Vec<Check> {
    let (checks, header) = header_of(network, &proof.certified);
    let mut checks = Vec::from(checks);
    checks.push(Check::new(
        "the bill is the one asked for",
        owner(payer, bill),
    ));
    let Some(header) = header else {
        return checks;
    };
    let shown: BTreeMap<LeaseId, &BillLine> = bill.lines.iter().map(|l| (l.lease, l)).collect();
    let mut total = Credits::ZERO;
    let mut to_oneself = Credits::ZERO;
    for line in &proof.lines {
        let known = Known {
            root: header.root,
            payer: *payer,
            month: bill.month,
            shown: shown.get(&line.lease).copied(),
        };
        let found = known.check(line);
        if let Ok((proved, lease)) = &found {
            total = total.plus(proved.amount).unwrap_or(total);
            if lease.as_ref().is_some_and(|lease| lease.payee == *payer) {
                to_oneself = to_oneself.plus(proved.amount).unwrap_or(to_oneself);
            }
        }
        checks.push(Check::new(
            label(line.lease, known.shown),
            found.map(|(proved, lease)| match lease {
                Some(lease) => {
                    let items = lease.meter.items;
                    format!("{} credits from {items} evidence item(s)", proved.amount)
                }
                None => format!(
                    "{} credits, as the state holds it: its lease ended too long ago to be recomputed",
                    proved.amount
                ),
            }),
        ));
    }
    checks.push(Check::new(
        "every line is proved, once",
        same_lines(bill, proof),
    ));
    checks.push(Check::new(
        "the lines add up to the bill",
        sums(bill, total, to_oneself),
    ));
    checks
}

/// What a line is checked against.
struct Known<'a> {
    root: Root,
    payer: AccountId,
    month: u32,
    shown: Option<&'a BillLine>,
}

impl Known<'_> {
    /// The line, and its lease as far as it is kept.
    fn check(&self, proof: &LineProof) -> Result<(Line, Option<Lease>), String> {
        let key = State::bill_line_key(&(self.payer, self.month, proof.lease));
        let line: Line = proved(&self.root, &key, &proof.line, "bill line")?;
        let shown = self.shown.ok_or("the bill does not show this line")?;
        if shown.line != line {
            return Err(format!(
                "the bill shows {} credits for {} ms, and the state holds {} for {} ms",
                shown.line.amount, shown.line.ready_ms, line.amount, line.ready_ms
            ));
        }
        let key = State::lease_key(&proof.lease);
        if is_absent(&self.root, &key, &proof.row) {
            let shows_it = shown.payee.is_some() || shown.price_per_hour.is_some();
            if shows_it || shown.usage != Usage::default() {
                return Err("the bill shows more of the lease than the state holds".into());
            }
            return Ok((line, None));
        }
        let lease: Lease = proved(&self.root, &key, &proof.row, "lease")?;
        if lease.payer != self.payer {
            return Err(format!("the lease is paid by {}", lease.payer));
        }
        if shown.price_per_hour != Some(lease.price_per_hour) || shown.payee != Some(lease.payee) {
            return Err("the bill shows another price or payee than the lease".into());
        }
        if shown.usage != lease.meter.usage {
            return Err("the bill shows another usage than the lease".into());
        }
        let folded = Folded::of(&proof.lease, &lease, &proof.items)?;
        folded.compare(&lease)?;
        folded.compare_line(self.month, &line, &lease)?;
        Ok((line, Some(lease)))
    }
}

/// The sum of a lease's raw evidence.
struct Folded {
    meter: Meter,
    ready_ms: BTreeMap<u32, u64>,
    amount: BTreeMap<u32, Credits>,
}

impl Folded {
    fn of(id: &LeaseId, lease: &Lease, items: &[Item]) -> Result<Self, String> {
        let mut folded = Self {
            meter: Meter::starting_at(lease.placed_ms),
            ready_ms: BTreeMap::new(),
            amount: BTreeMap::new(),
        };
        for (index, item) in items.iter().enumerate() {
            folded
                .add(id, lease, item)
                .map_err(|wrong| format!("evidence item {index} {wrong}"))?;
        }
        Ok(folded)
    }

    fn add(&mut self, id: &LeaseId, lease: &Lease, item: &Item) -> Result<(), String> {
        if item.lease != *id || item.epoch != lease.epoch {
            return Err("belongs to another lease".into());
        }
        if item.from_ms != self.meter.until_ms {
            return Err("does not begin where the one before ended".into());
        }
        let span = item.until_ms.checked_sub(item.from_ms);
        if span.is_none_or(|span| item.ready_ms > span) {
            return Err("claims more ready time than it spans".into());
        }
        let out_of_range = |_| "leaves the range of credits".to_owned();
        let before = self.meter.charged;
        let after = self
            .meter
            .fold(item, lease.price_per_hour)
            .map_err(out_of_range)?;
        let due = after.charged.minus(before).map_err(out_of_range)?;
        let month = month_of(item.until_ms);
        *self.ready_ms.entry(month).or_default() += item.ready_ms;
        let amount = self.amount.entry(month).or_default();
        *amount = amount.plus(due).map_err(out_of_range)?;
        self.meter = after;
        Ok(())
    }

    fn compare(&self, lease: &Lease) -> Result<(), String> {
        let (mine, theirs) = (&self.meter, &lease.meter);
        if mine.items != theirs.items {
            return Err(format!(
                "the lease counts {} evidence item(s), and {} were given",
                theirs.items, mine.items
            ));
        }
        if mine.accumulator != theirs.accumulator {
            return Err("the evidence is not what the lease's accumulator was made of".into());
        }
        let is_charged = mine.charged == theirs.charged
            || (was_exhausted(lease) && theirs.charged <= mine.charged);
        let rest = |meter: &Meter| Meter {
            charged: Credits::ZERO,
            ..meter.clone()
        };
        if !is_charged || rest(mine) != rest(theirs) {
            return Err(format!(
                "the evidence makes {} credits, and the lease was charged {}",
                mine.charged, theirs.charged
            ));
        }
        Ok(())
    }

    fn compare_line(&self, month: u32, line: &Line, lease: &Lease) -> Result<(), String> {
        let ready_ms = self.ready_ms.get(&month).copied().unwrap_or_default();
        let amount = self.amount.get(&month).copied().unwrap_or_default();
        let is_amount = line.amount == amount || (was_exhausted(lease) && line.amount <= amount);
        if line.ready_ms == ready_ms && is_amount {
            return Ok(());
        }
        Err(format!(
            "the month's evidence makes {amount} credits for {ready_ms} ms, and the line says {} for {} ms",
            line.amount, line.ready_ms
        ))
    }
}

/// A payer whose credits ran out paid what was left, which can be less than the evidence makes.
const fn was_exhausted(lease: &Lease) -> bool {
    // An exclusive lease is over later, and not always for that.
    matches!(lease.ending, Some(EndCause::CreditExhausted))
        || matches!(
            lease.phase,
            Phase::Ended {
                cause: EndCause::CreditExhausted,
                ..
            }
        )
}

fn owner(payer: &AccountId, bill: &Bill) -> Result<String, String> {
    if bill.payer == *payer {
        Ok(format!("{payer}, {}", bill.month))
    } else {
        Err(format!("it is that of {}", bill.payer))
    }
}

fn label(lease: LeaseId, shown: Option<&BillLine>) -> String {
    match shown {
        Some(line) => format!("{}/{} ({})", line.app, line.service, lease.short()),
        None => lease.short(),
    }
}

fn same_lines(bill: &Bill, proof: &BillProof) -> Result<String, String> {
    let shown: BTreeSet<LeaseId> = bill.lines.iter().map(|line| line.lease).collect();
    let proved: BTreeSet<LeaseId> = proof.lines.iter().map(|line| line.lease).collect();
    if shown.len() != bill.lines.len() || proved.len() != proof.lines.len() {
        return Err("a line appears twice".into());
    }
    match shown.symmetric_difference(&proved).next() {
        None => Ok(format!("{} line(s)", shown.len())),
        Some(lease) => Err(format!("{lease} is only in one of bill and proof")),
    }
}

fn sums(bill: &Bill, total: Credits, to_oneself: Credits) -> Result<String, String> {
    if (bill.total, bill.to_oneself) == (total, to_oneself) {
        Ok(format!("{total} credits, {to_oneself} of them to oneself"))
    } else {
        Err(format!(
            "the lines make {total} credits, {to_oneself} of them to oneself; the bill says {} and {}",
            bill.total, bill.to_oneself
        ))
    }
}

#[cfg(test)]
mod tests;
