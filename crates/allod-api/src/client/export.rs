//! What an account takes along when it leaves: everything that the ledger holds of it, in one signed file that can be
//! checked without any network, and deployed again on another one.
//!
//! The data of volumes are in files beside it, one archive each, and it names each by its hash.
//!
//! The file is two lines of JSON. The first holds the rows of the state with their proofs, the sealed manifests that they
//! name, and the bills with all that recomputes them. The second holds the key and its signature of the first. Nothing in it
//! is secret: what is sealed stays sealed for its owner.
//!
//! No row is left out: the state counts for each account how many it has, that count is proved as they are, and so many
//! different ones of the account are there. What it does not show: that the bills of all months are there.

use std::collections::{BTreeMap, BTreeSet};

use allod_node::identity::Identity;
use allod_node::manifest::{ImageSource, Manifest};
use allod_node::seal::{Opener, Scope, open};
use allod_node::view::{Belongings, Bill, BillProof, Sealed};
use allod_node::{service_label, volume_label};
use allod_state::app::{App, Demand, Revision};
use allod_state::holdings::Holdings;
use allod_state::state::Owned;
use allod_state::{AppId, Digest, Label, PublicKey, Root, Signature, State, codec};
use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};

use super::Result;
use super::bill::verify_bill;
use super::connection::Client;
use super::error::Error;
use super::limits::BILL_TRIES;
use super::proven::{Check, decoded, header_of, proved, proved_bytes, unhex};
use super::volumes::VolumeCopy;
use crate::compose::{Lowered, ServiceDemand};

/// The rows of an export, by their stored keys.
type Rows = BTreeMap<Vec<u8>, Owned>;

const DOMAIN: &[u8] = b"allod-export-v1";

/// All that an account takes along.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Export {
    /// What the ledger holds of it.
    pub belongings: Belongings,
    /// The sealed manifests of the kept revisions, as far as the machine that was asked has them.
    pub manifests: Vec<Sealed>,
    /// The bills, month by month.
    pub bills: Vec<Month>,
    /// Its volumes, whose data are in files beside it. None where the data were left out.
    #[serde(default)]
    pub volumes: Vec<VolumeCopy>,
}

/// A month's bill and what recomputes it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Month {
    /// The bill.
    pub bill: Bill,
    /// What recomputes it.
    pub proof: BillProof,
}

#[derive(Serialize, Deserialize)]
struct Signed {
    key: PublicKey,
    signature: String,
}

/// An app of an export.
#[derive(Debug)]
pub struct Exported {
    /// The app as its newest revision has it, and as many replicas as were wanted last.
    pub lowered: Lowered,
    /// The names of its volumes.
    pub volumes: Vec<String>,
    /// The volumes of its own that are in the export, by their names.
    pub copies: BTreeMap<String, VolumeCopy>,
    /// Whether its image was handed to a node, so that no registry has it.
    pub is_handed_over: bool,
}

impl Client {
    /// Gathers what the own account takes along.
    ///
    /// # Errors
    /// Where the API refuses, or answers nonsense.
    pub async fn export(&self) -> Result<Export> {
        let belongings = self.belongings().await?;
        let rows = rows(&belongings, None).map_err(|cause| Error::Nonsense {
            attempted: "GET /v1/export".into(),
            cause,
        })?;
        let mut manifests = Vec::new();
        for digest in manifests_named(&rows) {
            match self.sealed_manifest(&digest).await {
                Ok(sealed) => manifests.push(sealed),
                Err(Error::Problem(problem)) if problem.status == 404 => {}
                Err(error) => return Err(error),
            }
        }
        let mut bills = Vec::new();
        for month in months(&rows) {
            bills.push(self.month(month).await?);
        }
        Ok(Export {
            belongings,
            manifests,
            bills,
            volumes: Vec::new(),
        })
    }

    /// A bill with what recomputes it. Evidence may come between the two answers; then they are asked for again.
    async fn month(&self, month: u32) -> Result<Month> {
        let mut tries = 0;
        loop {
            let (bill, proof) = tokio::try_join!(self.bill(month), self.bill_proof(month))?;
            let network = self.network().await?.network;
            let checks = verify_bill(&network, &self.account(), &bill, &proof);
            tries += 1;
            if tries >= BILL_TRIES || checks.iter().all(|check| check.is_good) {
                return Ok(Month { bill, proof });
            }
        }
    }
}

impl Export {
    /// The file, signed by a key of the account.
    ///
    /// # Errors
    /// Where it cannot be written as JSON.
    pub fn signed(&self, identity: &Identity) -> serde_json::Result<String> {
        let body = serde_json::to_string(self)?;
        let signature = identity.sign(&[DOMAIN, body.as_bytes()].concat());
        let signed = serde_json::to_string(&Signed {
            key: identity.public_key(),
            signature: HEXLOWER.encode(&codec::encode(&signature)),
        })?;
        Ok(format!("{body}\n{signed}\n"))
    }

    /// Reads a file and checks all that can be checked without a network. It is what it says where every check is good.
    ///
    /// # Errors
    /// Where it is no export at all; the text says why.
    pub fn read(text: &str) -> Result<(Self, Vec<Check>), String> {
        let no_export = |error: serde_json::Error| format!("this is no export: {error}");
        let (body, signed) = text
            .split_once('\n')
            .ok_or("this is no export: it has no second line with a signature")?;
        let export: Self = serde_json::from_str(body).map_err(no_export)?;
        let signed: Signed = serde_json::from_str(signed).map_err(no_export)?;
        let belongings = &export.belongings;
        let (checks, header) = header_of(&belongings.network, &belongings.certified);
        let mut checks = Vec::from(checks);
        if let Some(header) = header {
            let found = rows(belongings, Some(&header.root));
            let told = found.as_ref().map(|rows| format!("{} row(s)", rows.len()));
            checks.push(Check::new(
                "every row is proved",
                told.map_err(Clone::clone),
            ));
            if let Ok(rows) = found {
                checks.push(Check::new(
                    "no row was left out",
                    all(belongings, &rows, &header.root),
                ));
                checks.push(Check::new(
                    "it is signed by a key of the account",
                    signer(&export, &rows, body, &signed),
                ));
                checks.push(Check::new(
                    "the manifests are those that revisions name",
                    whole(&export, &rows),
                ));
            }
        }
        if !export.volumes.is_empty() {
            let named = rows(belongings, None).and_then(|rows| owned_volumes(&export, &rows));
            checks.push(Check::new("the volumes are the account's", named));
        }
        for Month { bill, proof } in &export.bills {
            let made = verify_bill(&belongings.network, &belongings.account, bill, proof);
            let wrong = made.into_iter().find(|check| !check.is_good);
            let found = wrong.map_or(Ok(format!("{} credits", bill.total)), |check| {
                Err(format!("{}: {}", check.what, check.found))
            });
            checks.push(Check::new(format!("the bill of {}", bill.month), found));
        }
        Ok((export, checks))
    }

    /// The apps, opened with the key that they were sealed for.
    ///
    /// # Errors
    /// Where a manifest is missing or does not open; the text says which and why.
    pub fn apps(&self, identity: &Identity) -> Result<Vec<Exported>, String> {
        let rows = rows(&self.belongings, None)?;
        let sealed = self.manifests.iter();
        let sealed: BTreeMap<Digest, &Sealed> = sealed.map(|it| (it.digest, it)).collect();
        let mut apps = Vec::new();
        for row in rows.values() {
            let Owned::App(id, app) = row else {
                continue;
            };
            let revision = newest(&rows, id, app).ok_or("an app has no revision")?;
            let manifest = self.opened(identity, app, revision, &sealed)?;
            let copies = self.copies(app, &manifest);
            apps.push(Exported {
                copies,
                ..exported(app, revision, manifest)?
            });
        }
        apps.sort_by(|a, b| a.lowered.manifest.app.cmp(&b.lowered.manifest.app));
        Ok(apps)
    }

    /// The volumes of an app, by the names that its manifest gives them.
    fn copies(&self, app: &App, manifest: &Manifest) -> BTreeMap<String, VolumeCopy> {
        let named = manifest.volumes.keys().filter_map(|name| {
            let label = volume_label(&app.label, name);
            let mut copies = self.volumes.iter();
            let copy = copies.find(|copy| copy.app == app.label && copy.volume == label)?;
            Some((name.clone(), copy.clone()))
        });
        named.collect()
    }

    fn opened(
        &self,
        identity: &Identity,
        app: &App,
        revision: &Revision,
        sealed: &BTreeMap<Digest, &Sealed>,
    ) -> Result<Manifest, String> {
        let digest = revision.manifest.ciphertext;
        let missing = || {
            format!("the manifest {digest} is not in the export: make it on a machine that has it")
        };
        let ciphertext = unhex(
            "manifest",
            &sealed.get(&digest).ok_or_else(missing)?.ciphertext,
        )?;
        let scope = Scope {
            network: self.belongings.network,
            app: app.label,
        };
        let key = identity.sealing_key();
        let opener = Opener {
            id: self.belongings.account.0,
            key: &key,
        };
        let bytes = open(&ciphertext, &revision.manifest, &scope, opener);
        let bytes = bytes.map_err(|error| {
            format!(
                "{error}; it is sealed for {}, and opens with its key alone",
                self.belongings.account
            )
        })?;
        Manifest::from_bytes(bytes.expose()).map_err(|error| error.to_string())
    }
}

/// The rows, each of which is under the root where there is one to check against.
fn rows(belongings: &Belongings, root: Option<&Root>) -> Result<Rows, String> {
    let rows = belongings.rows.iter().map(|claim| {
        let key = unhex("key", &claim.key)?;
        let value = match root {
            Some(root) => proved_bytes(root, &key, &claim.row, "row")?,
            None => unhex("row", &claim.row.value)?,
        };
        let row = Owned::read(&key, &value);
        let row = row.ok_or_else(|| format!("the row {} cannot be read", claim.key))?;
        Ok((key, row))
    });
    rows.collect()
}

/// Whether these are all rows that the account has, as the state counts them.
fn all(belongings: &Belongings, rows: &Rows, root: &Root) -> Result<String, String> {
    let key = State::holdings_key(&belongings.account);
    let holdings: Holdings = proved(root, &key, &belongings.holdings, "count of rows")?;
    let checked = holdings.check(&belongings.account, rows);
    checked.map_err(|error| error.to_string())?;
    Ok(format!("all {} row(s): {holdings}", holdings.sum()))
}

fn manifests_named(rows: &Rows) -> BTreeSet<Digest> {
    let named = rows.values().filter_map(|row| match row {
        Owned::Revision(_, revision) => Some(revision.manifest.ciphertext),
        _ => None,
    });
    named.collect()
}

fn months(rows: &Rows) -> BTreeSet<u32> {
    let months = rows.values().filter_map(|row| match row {
        Owned::BillLine((_, month, _), _) => Some(*month),
        _ => None,
    });
    months.collect()
}

fn signer(export: &Export, rows: &Rows, body: &str, signed: &Signed) -> Result<String, String> {
    let account = export.belongings.account;
    let is_its = |row: &Owned| matches!(row, Owned::Key(key, _) if *key == (account, signed.key));
    if !rows.values().any(is_its) {
        return Err(format!("{} is no key of {account}", signed.key));
    }
    let signature: Signature = decoded("signature", &signed.signature)?;
    let message = [DOMAIN, body.as_bytes()].concat();
    let verified = signed.key.verify(&message, &signature);
    verified.map_err(|_| "the signature is not of this file: it was changed".to_owned())?;
    Ok(account.to_string())
}

fn whole(export: &Export, rows: &Rows) -> Result<String, String> {
    let mut named = manifests_named(rows);
    for sealed in &export.manifests {
        if !named.remove(&sealed.digest) {
            return Err(format!("no revision names {}", sealed.digest));
        }
        let ciphertext = unhex("manifest", &sealed.ciphertext)?;
        if Digest::of(&ciphertext) != sealed.digest {
            return Err(format!(
                "what is called {} is something else",
                sealed.digest
            ));
        }
    }
    match named.len() {
        0 => Ok(format!("{} manifest(s)", export.manifests.len())),
        lacking => Err(format!(
            "{lacking} are missing; make the export on a machine that has them, such as that of the deployment"
        )),
    }
}

fn owned_volumes(export: &Export, rows: &Rows) -> Result<String, String> {
    for copy in &export.volumes {
        let key = (export.belongings.account, copy.app, copy.volume);
        if !rows
            .values()
            .any(|row| matches!(row, Owned::Volume(at, _) if *at == key))
        {
            return Err(format!("{} is none of them", copy.name));
        }
    }
    let copied = export.volumes.iter().filter(|copy| copy.data.is_some());
    let of = export.volumes.len();
    Ok(format!(
        "the data of {} of {of} are beside it",
        copied.count()
    ))
}

fn newest<'a>(rows: &'a Rows, id: &AppId, app: &App) -> Option<&'a Revision> {
    rows.values().find_map(|row| match row {
        Owned::Revision(key, revision) if *key == (*id, app.revision) => Some(revision),
        _ => None,
    })
}

fn exported(app: &App, revision: &Revision, manifest: Manifest) -> Result<Exported, String> {
    let mut demands = BTreeMap::new();
    for name in manifest.services.keys() {
        let label = service_label(&app.label, name);
        let demand = revision.services.get(&label).zip(app.services.get(&label));
        let (demand, wanted) = demand.ok_or_else(|| format!("{name} has no demand"))?;
        let demand = named(&app.label, demand, &manifest)?;
        demands.insert(
            name.clone(),
            ServiceDemand {
                replicas: wanted.replicas,
                ..demand
            },
        );
    }
    let mut services = manifest.services.values();
    Ok(Exported {
        volumes: manifest.volumes.keys().cloned().collect(),
        copies: BTreeMap::new(),
        is_handed_over: services.any(|service| service.image.source == ImageSource::Archive),
        lowered: Lowered {
            manifest,
            demands,
            warnings: Vec::new(),
        },
    })
}

/// The demand with the names of its volumes.
fn named(app: &Label, demand: &Demand, manifest: &Manifest) -> Result<ServiceDemand, String> {
    let names = manifest.volumes.keys();
    let names: BTreeMap<Label, &String> =
        names.map(|name| (volume_label(app, name), name)).collect();
    let volumes = demand.volumes.iter().map(|(label, bytes)| {
        let name = names.get(label).ok_or("a volume has no name")?;
        Ok::<_, String>(((*name).clone(), *bytes))
    });
    Ok(ServiceDemand {
        replicas: demand.replicas,
        resources: demand.resources,
        isolation: demand.isolation,
        ports: demand.ports.clone(),
        volumes: volumes.collect::<Result<_, _>>()?,
        constraints: demand.constraints.clone(),
        update: demand.update,
        restart: demand.restart,
    })
}
