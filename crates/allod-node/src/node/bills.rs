//! Bills, and what it takes to check one without trusting this node.

use std::io;

use allod_state::{AccountId, Credits, LeaseId, State, codec};
use data_encoding::HEXLOWER;

use crate::node::Node;
use crate::view;

impl Node {
    /// An account's bill for a month (`yyyymm`, UTC).
    #[must_use]
    pub fn bill(&self, payer: &AccountId, month: u32) -> view::Bill {
        let state = self.state();
        let (mut total, mut to_oneself) = (Credits::ZERO, Credits::ZERO);
        let mut lines = Vec::new();
        for ((_, _, id), line) in state.bill_of(payer, month) {
            let lease = state.lease(id);
            total = total.plus(line.amount).unwrap_or(total);
            if lease.as_ref().is_some_and(|lease| lease.payee == *payer) {
                to_oneself = to_oneself.plus(line.amount).unwrap_or(to_oneself);
            }
            let manifest = lease
                .as_ref()
                .and_then(|l| self.inner.manifests.opened(&l.manifest));
            let service = manifest
                .as_ref()
                .zip(lease.as_ref())
                .and_then(|(manifest, lease)| {
                    crate::agent::find(manifest, lease).map(|(name, _)| name.to_owned())
                });
            lines.push(view::BillLine {
                lease: *id,
                app: manifest.map_or_else(|| "?".to_owned(), |manifest| manifest.app.clone()),
                service: service.unwrap_or_else(|| "?".to_owned()),
                payee: lease.as_ref().map(|lease| lease.payee),
                price_per_hour: lease.as_ref().map(|lease| lease.price_per_hour),
                line: *line,
                usage: lease.map(|lease| lease.meter.usage).unwrap_or_default(),
            });
        }
        lines.sort_by(|a, b| (&a.app, &a.service, a.lease).cmp(&(&b.app, &b.service, b.lease)));
        view::Bill {
            payer: *payer,
            month,
            lines,
            total,
            to_oneself,
        }
    }

    /// Everything needed to recompute that bill: header, certificate, proofs and raw evidence.
    ///
    /// # Errors
    /// Where the archive cannot be read, or no block has been committed yet.
    pub fn bill_proof(&self, payer: &AccountId, month: u32) -> io::Result<view::BillProof> {
        let (state, certified) = self.certified()?;
        let state = &state;
        let keys: Vec<_> = state.bill_of(payer, month).map(|(key, _)| *key).collect();
        let leases: Vec<LeaseId> = keys.iter().map(|(_, _, lease)| *lease).collect();
        let mut evidence = self.inner.archive.evidence(&leases)?;
        let lines = keys.into_iter().map(|key| view::LineProof {
            lease: key.2,
            line: proved(state, &State::bill_line_key(&key)),
            row: proved(state, &State::lease_key(&key.2)),
            items: evidence.remove(&key.2).unwrap_or_default(),
        });
        Ok(view::BillProof {
            certified,
            lines: lines.collect(),
        })
    }
}

pub(super) fn proved(state: &State, key: &[u8]) -> view::Proved {
    let (value, proof) = state.prove(key);
    view::Proved {
        value: HEXLOWER.encode(&value.unwrap_or_default()),
        proof: HEXLOWER.encode(&codec::encode(&proof)),
    }
}
