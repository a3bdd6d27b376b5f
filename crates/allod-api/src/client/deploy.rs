//! From a lowered deploy file to a signed deployment: images asked for, the private half sealed, the public half blinded.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use allod_node::manifest::{ImageSource, Manifest, Protocol, Published};
use allod_node::seal::{Holder, Scope, seal};
use allod_node::view;
use allod_state::app::{Demand, Deploy, SealedManifest};
use allod_state::limits::WRAPS_PER_MANIFEST_MAX;
use allod_state::{Digest, Label, NetworkId};
use data_encoding::HEXLOWER_PERMISSIVE;
use futures_util::future::try_join_all;

use super::Result;
use super::connection::Client;
use super::error::Error;
use crate::compose::Lowered;

/// A deployment that is ready to be planned, and then signed.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// The app's name.
    pub app: String,
    /// The app's blinded name.
    pub label: Label,
    /// The services' names by their blinded names.
    pub names: BTreeMap<Label, String>,
    /// What is signed.
    pub deploy: Deploy,
    /// What is handed to the node beside it.
    pub ciphertext: Vec<u8>,
    /// What it would have for itself on the node that runs it: ports and host names.
    pub doors: Doors,
}

/// Ports of a machine and host names that an app would have for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Doors {
    /// Protocol, address and number of each port; any free one is nobody's.
    pub ports: BTreeSet<(&'static str, IpAddr, u16)>,
    /// Host names at the ingress.
    pub hosts: BTreeSet<String>,
}

impl Doors {
    fn of(manifest: &Manifest) -> Self {
        let mut doors = Self::default();
        for service in manifest.services.values() {
            for port in &service.ports {
                let protocol = match port.protocol {
                    Protocol::Tcp => "tcp",
                    Protocol::Udp => "udp",
                };
                if let Some(published) = port.published.filter(|published| published.port != 0) {
                    let address = published.host_ip.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
                    doors.ports.insert((protocol, address, published.port));
                }
            }
            let hosts = service.ingress.iter().map(|ingress| ingress.host.clone());
            doors.hosts.extend(hosts);
        }
        doors
    }
}

impl Client {
    /// Resolves the images of an app and seals it for the own account and the nodes that would run it, or could. Pinned images are asked
    /// for too, so that one that is not to be had is refused here, and not once it costs something.
    ///
    /// # Errors
    /// Where an image is not to be had, a node's sealing key is bad, or the app is too large.
    pub async fn prepare(&self, lowered: Lowered, network: &view::Network) -> Result<Prepared> {
        let mut lowered = lowered;
        let resolving = of_registries(&lowered.manifest).into_iter();
        let resolving = resolving.map(|reference| async {
            let digest = self.resolve_image(&reference).await?;
            Ok::<_, Error>((reference, digest))
        });
        let digests = try_join_all(resolving).await?;
        let digests: BTreeMap<String, String> = digests.into_iter().collect();
        for service in lowered.manifest.services.values_mut() {
            if service.image.digest.is_none() {
                service.image.digest = digests.get(&service.image.reference).cloned();
            }
        }
        let readers = if is_handed_over(&lowered.manifest) {
            // Its image is on the machine that it was handed to, and on no other.
            let nodes = self.nodes().await?.into_iter();
            let here = nodes.filter(|node| node.node == network.node);
            here.map(|node| view::Reader {
                node: node.node,
                sealing_key: node.sealing_key,
            })
            .collect()
        } else {
            // Where it would go if anybody could read it, and so by whom it has to be read.
            self.plan(&vec![self.draft(&lowered).into()]).await?.readers
        };
        let holders = self.holders(&readers)?;
        self.sealed(lowered, network.network, &holders)
    }

    /// The public half alone.
    fn draft(&self, lowered: &Lowered) -> Deploy {
        let label = Label::of(self.account().as_bytes(), &lowered.manifest.app);
        Deploy {
            label,
            services: self.demands(lowered, &label),
            manifest: SealedManifest {
                ciphertext: Digest([0; 32]),
                bytes: 1,
                wraps: Vec::new(),
            },
            plan: None,
        }
    }

    fn demands(&self, lowered: &Lowered, label: &Label) -> BTreeMap<Label, Demand> {
        let mut demands = lowered.blinded(label);
        for (name, service) in &lowered.manifest.services {
            if let Some(demand) = demands.get_mut(&allod_node::service_label(label, name)) {
                demand.content = self.identity.content_digest(&service.to_bytes());
            }
        }
        demands
    }

    fn sealed(&self, lowered: Lowered, network: NetworkId, holders: &[Holder]) -> Result<Prepared> {
        let app = lowered.manifest.app.clone();
        let label = Label::of(self.account().as_bytes(), &app);
        let scope = Scope {
            network,
            app: label,
        };
        let sealed = seal(&lowered.manifest.to_bytes(), &scope, holders)?;
        let services = lowered.manifest.services.keys();
        Ok(Prepared {
            names: services
                .map(|name| (allod_node::service_label(&label, name), name.clone()))
                .collect(),
            deploy: Deploy {
                label,
                services: self.demands(&lowered, &label),
                manifest: sealed.manifest,
                plan: None,
            },
            ciphertext: sealed.ciphertext,
            doors: Doors::of(&lowered.manifest),
            app,
            label,
        })
    }

    /// The own account and those nodes.
    fn holders(&self, readers: &[view::Reader]) -> Result<Vec<Holder>> {
        let own = Holder {
            id: self.account().0,
            sealing_key: self.identity().sealing_key().public(),
        };
        let mut holders = vec![own];
        for reader in readers.iter().take(WRAPS_PER_MANIFEST_MAX - 1) {
            let key = HEXLOWER_PERMISSIVE.decode(reader.sealing_key.as_bytes());
            let key = key.ok().and_then(|key| <[u8; 32]>::try_from(key).ok());
            holders.push(Holder {
                id: reader.node.0,
                sealing_key: key.ok_or_else(|| Error::Nonsense {
                    attempted: "POST /v1/plan".into(),
                    cause: format!("the sealing key of {} is none", reader.node),
                })?,
            });
        }
        Ok(holders)
    }
}

/// Publishes the TCP ports of an app that no port of the machine leads to yet on free ports of the loopback address, so
/// that it can be reached without resolving a name.
pub fn publish_on_loopback(manifest: &mut Manifest) {
    let ports = manifest.services.values_mut().flat_map(|s| &mut s.ports);
    for port in ports.filter(|port| port.protocol == Protocol::Tcp) {
        port.published.get_or_insert(Published {
            host_ip: None,
            port: 0,
        });
    }
}

/// Whether any of its images is one that was handed to a node.
fn is_handed_over(manifest: &Manifest) -> bool {
    let mut services = manifest.services.values();
    services.any(|service| service.image.source == ImageSource::Archive)
}

fn of_registries(manifest: &Manifest) -> BTreeSet<String> {
    let images = manifest.services.values().map(|service| &service.image);
    let there = images.filter(|image| image.source == ImageSource::Registry);
    there.map(|image| image.reference.clone()).collect()
}
