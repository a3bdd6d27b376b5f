//! The routes of the API as functions.

use std::path::Path;

use allod_node::identity::Secret;
use allod_node::view;
use allod_state::{AccountId, Action, Digest, Label, codec};
use http::{Method, Response};
use hyper::body::Incoming;
use serde_json::json;

use super::Result;
use super::connection::{Call, Client};
use super::deploy::Doors;
use super::error::Error;
use super::limits::{
    ARCHIVE_BYTES_MAX, DOORS_ASKED, IMPORT_TIMEOUT, RESOLVE_TIMEOUT, VOLUME_TIMEOUT,
};
use super::payload::Summed;
use super::stream::Lines;

/// Which lines of an app's output are wanted.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Only of this service.
    pub service: Option<String>,
    /// Only of this replica.
    pub replica: Option<u32>,
    /// About so many of the last lines of each replica.
    pub tail: Option<usize>,
    /// Whether to wait for more.
    pub is_followed: bool,
}

impl Client {
    /// The network and the node that answers.
    ///
    /// # Errors
    /// Where the API cannot be reached or refuses; the same holds for every function here. This one also refuses an
    /// API of another network than the home's.
    pub async fn network(&self) -> Result<view::Network> {
        let network: view::Network = self.get(&["v1", "network"], &[]).await?;
        match self.expected_network() {
            Some(wanted) if wanted != network.network => Err(Error::OtherNetwork {
                url: self.url().to_owned(),
                found: network.network,
                wanted,
            }),
            _ => Ok(network),
        }
    }

    /// All machines.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn nodes(&self) -> Result<Vec<view::Node>> {
        self.get(&["v1", "nodes"], &[]).await
    }

    /// The machines that the node has spoken to, and how.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn peers(&self) -> Result<Vec<view::Peer>> {
        self.get(&["v1", "peers"], &[]).await
    }

    /// The machines that decide blocks, and those that are about to.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn validators(&self) -> Result<Vec<view::Validator>> {
        self.get(&["v1", "validators"], &[]).await
    }

    /// The own account.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn own_account(&self) -> Result<view::Account> {
        self.get(&["v1", "accounts", &self.account().to_string()], &[])
            .await
    }

    /// The account that lists the key, found by the key alone.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn found_account(&self) -> Result<view::Account> {
        self.get(&["v1", "account"], &[]).await
    }

    /// Credits that came and went, newest first.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn history(&self, account: &AccountId, limit: usize) -> Result<Vec<view::Movement>> {
        let account = account.to_string();
        let segments = ["v1", "accounts", account.as_str(), "history"];
        self.get(&segments, &[("limit", limit.to_string())]).await
    }

    /// The own apps.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn apps(&self) -> Result<Vec<view::App>> {
        self.get(&["v1", "apps"], &[]).await
    }

    /// The own apps, for somebody who means the app or service `name`. Where it is none of those that are shown, the API
    /// is asked for it, so that a key whose grant does not cover it hears that, and not that there is none.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn apps_with(&self, name: &str) -> Result<Vec<view::App>> {
        let apps = self.apps().await?;
        let is_meant = |app: &view::App| {
            let mut services = app.services.iter();
            app.name == name || app.app.to_string() == name || services.any(|s| s.name == name)
        };
        if !apps.iter().any(is_meant) {
            match self.app(name).await {
                Err(Error::Problem(problem)) if problem.status == 404 => {}
                Err(refused) => return Err(refused),
                Ok(_) => {}
            }
        }
        Ok(apps)
    }

    /// One of the own apps, by its id or name.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn app(&self, app: &str) -> Result<view::App> {
        self.get(&["v1", "apps", app], &[]).await
    }

    /// What each node says to each replica of an app.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn verdicts(&self, app: &str) -> Result<Vec<view::Verdict>> {
        self.get(&["v1", "apps", app, "why"], &[]).await
    }

    /// What happened, to one app or to everything of the account.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn events(
        &self,
        app: Option<&str>,
        limit: Option<usize>,
    ) -> Result<Vec<view::Happening>> {
        let query: Vec<_> = limit.iter().map(|n| ("limit", n.to_string())).collect();
        self.get(&events_path(app), &query).await
    }

    /// What happens from now on, or after `after`.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn follow_events(
        &self,
        app: Option<&str>,
        after: Option<(u64, u32)>,
    ) -> Result<Lines<view::Happening>> {
        let after = after.map(|(height, index)| ("after", format!("{height}.{index}")));
        let query: Vec<_> = after.into_iter().collect();
        let url = self.address(&events_path(app), &query);
        let call = Call::new(Method::GET, url).accept("text/event-stream");
        Ok(Lines::new(self.send(call).await?))
    }

    /// Lines that an app's replicas wrote.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn logs(&self, app: &str, query: &LogQuery) -> Result<Lines<view::LogLine>> {
        let mut pairs = Vec::new();
        pairs.extend(query.service.iter().map(|s| ("service", s.clone())));
        pairs.extend(query.replica.iter().map(|n| ("replica", n.to_string())));
        pairs.extend(query.tail.iter().map(|n| ("tail", n.to_string())));
        pairs.push(("follow", query.is_followed.to_string()));
        let url = self.address(&["v1", "apps", app, "logs"], &pairs);
        let accept = if query.is_followed {
            "text/event-stream"
        } else {
            "application/x-ndjson"
        };
        let call = Call::new(Method::GET, url).accept(accept);
        Ok(Lines::new(self.send(call).await?))
    }

    /// What these actions would do.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn plan(&self, actions: &Vec<Action>) -> Result<view::Plan> {
        let query = [("account", self.account().to_string())];
        let url = self.address(&["v1", "plan"], &query);
        let call = Call::new(Method::POST, url).bytes(codec::encode(actions));
        self.call(call).await
    }

    /// Hands a sealed manifest to the node.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn put_manifest(&self, ciphertext: Vec<u8>) -> Result<()> {
        let url = self.address(&["v1", "manifests"], &[]);
        let call = Call::new(Method::PUT, url).bytes(ciphertext);
        self.call::<serde_json::Value>(call).await.map(drop)
    }

    /// Asks whether an app can have its ports and host names on the node.
    ///
    /// # Errors
    /// Where another app or program has one of them; see also [`Client::network`].
    pub async fn check_doors(&self, app: &str, doors: &Doors) -> Result<()> {
        let ports: Vec<_> = doors
            .ports
            .iter()
            .map(|(protocol, address, port)| {
                json!({ "protocol": protocol, "address": address, "port": port })
            })
            .collect();
        let hosts: Vec<_> = doors.hosts.iter().collect();
        let url = self.address(&["v1", "doors", "check"], &[]);
        let (mut ports, mut hosts) = (ports.chunks(DOORS_ASKED), hosts.chunks(DOORS_ASKED));
        loop {
            let (ports, hosts) = (ports.next(), hosts.next());
            if ports.is_none() && hosts.is_none() {
                return Ok(());
            }
            let body = json!({
                "app": app,
                "ports": ports.unwrap_or_default(),
                "hosts": hosts.unwrap_or_default(),
            });
            let call = Call::new(Method::POST, url.clone()).json(&body);
            self.call::<serde_json::Value>(call).await?;
        }
    }

    /// The digest that an image reference means now.
    ///
    /// # Errors
    /// See [`Client::network`]; also where the registry refuses.
    pub async fn resolve_image(&self, reference: &str) -> Result<String> {
        #[derive(serde::Deserialize)]
        struct Resolved {
            digest: String,
        }
        let url = self.address(&["v1", "images", "resolve"], &[]);
        let call = Call::new(Method::POST, url)
            .json(&json!({ "reference": reference }))
            .within(RESOLVE_TIMEOUT);
        Ok(self.call::<Resolved>(call).await?.digest)
    }

    /// Hands an image archive (docker-save or OCI, as tar) to the node.
    ///
    /// # Errors
    /// Where the file cannot be read or is too large; see also [`Client::network`].
    pub async fn import_images(&self, path: &Path) -> Result<view::Imported> {
        let file = |source| Error::File {
            attempted: format!("read {}", path.display()),
            source,
        };
        let length = tokio::fs::metadata(path).await.map_err(file)?.len();
        if length > ARCHIVE_BYTES_MAX {
            return Err(Error::Usage {
                message: format!("{} has {length} bytes, too many to send", path.display()),
                help: "push it to a registry and name it from there".into(),
            });
        }
        // The signature covers a digest of the whole archive, so it is read before anything is sent.
        let bytes = tokio::fs::read(path).await.map_err(file)?;
        let url = self.address(&["v1", "images"], &[]);
        let call = Call::new(Method::POST, url)
            .bytes(bytes)
            .content_type("application/x-tar")
            .within(IMPORT_TIMEOUT);
        self.call(call).await
    }

    /// The own bill for a month, as `yyyymm`.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn bill(&self, month: u32) -> Result<view::Bill> {
        self.get(&["v1", "bill"], &[("month", month.to_string())])
            .await
    }

    /// What it takes to recompute that bill.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn bill_proof(&self, month: u32) -> Result<view::BillProof> {
        self.get(&["v1", "bill", "proof"], &[("month", month.to_string())])
            .await
    }

    /// Everything that the ledger holds of the own account, with proofs.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn belongings(&self) -> Result<view::Belongings> {
        self.get(&["v1", "export"], &[]).await
    }

    /// A sealed manifest of one of the own apps.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn sealed_manifest(&self, digest: &Digest) -> Result<view::Sealed> {
        self.get(&["v1", "manifests", &digest.to_string()], &[])
            .await
    }

    /// The own volumes.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn volumes(&self) -> Result<Vec<view::Volume>> {
        self.get(&["v1", "volumes"], &[]).await
    }

    /// Fills one of the own volumes on the node, for an app that is deployed there afterwards.
    ///
    /// # Errors
    /// Where it has data already, or the archive is not whole; see also [`Client::network`].
    pub(super) async fn fill_volume(
        &self,
        app: &Label,
        volume: &Label,
        archive: Summed,
    ) -> Result<()> {
        let (app, volume) = (app.to_string(), volume.to_string());
        let url = self.address(&["v1", "volumes", &app, &volume, "data"], &[]);
        let call = Call::new(Method::PUT, url)
            .file(archive)
            .within(VOLUME_TIMEOUT);
        self.call::<serde_json::Value>(call).await.map(drop)
    }

    /// The data of one of the own volumes, as they come.
    ///
    /// # Errors
    /// Where the machine that has them cannot be asked; see also [`Client::network`].
    pub(super) async fn volume_data(
        &self,
        app: &Label,
        volume: &Label,
    ) -> Result<Response<Incoming>> {
        let (app, volume) = (app.to_string(), volume.to_string());
        let url = self.address(&["v1", "volumes", &app, &volume, "data"], &[]);
        let call = Call::new(Method::GET, url).accept("application/octet-stream");
        self.send(call).await
    }

    /// Keeps credentials for a registry on the node.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn login(&self, host: &str, user: &str, password: &Secret<String>) -> Result<()> {
        let url = self.address(&["v1", "registries", host], &[]);
        let body = json!({ "user": user, "password": password.expose() });
        let call = Call::new(Method::PUT, url).json(&body);
        self.call::<serde_json::Value>(call).await.map(drop)
    }

    /// Makes the node forget the credentials for a registry.
    ///
    /// # Errors
    /// See [`Client::network`].
    pub async fn logout(&self, host: &str) -> Result<()> {
        let url = self.address(&["v1", "registries", host], &[]);
        let call = Call::new(Method::DELETE, url);
        self.call::<serde_json::Value>(call).await.map(drop)
    }
}

fn events_path(app: Option<&str>) -> Vec<&str> {
    match app {
        Some(app) => vec!["v1", "apps", app, "events"],
        None => vec!["v1", "events"],
    }
}
