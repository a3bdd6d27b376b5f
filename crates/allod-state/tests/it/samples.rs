//! One transaction action of each kind, with every field filled.

use std::collections::{BTreeMap, BTreeSet};

use allod_state::account::grant::{AppSelector, Budget, Grant, NodeSelector, Verb};
use allod_state::account::{AddKey, OpenAccount, RevokeKey, RotateKey};
use allod_state::app::{
    AddReaders, Delete, Deploy, Port, Protocol, Restart, Rollback, Scale, Update, Wrap,
};
use allod_state::certificate::VoteKind;
use allod_state::credit::Transfer;
use allod_state::evidence::{Item, SubmitEvidence, Usage};
use allod_state::lease::witness::{ReportBack, ReportDeaths};
use allod_state::lease::{EndCause, Report, ReportLease};
use allod_state::node::{
    CordonNode, DrainNode, Isolation, Offer, Prices, PublishOffer, PublishReach, Reach,
    RegisterNode, Relay, ReportGone, Resources, WithdrawOffer,
};
use allod_state::validator::{Leave, ReportConflict, ReportLoss, Said, Stand, Vote};
use allod_state::volume::{DropVolume, ReportVolume};
use allod_state::{
    AccountId, Action, AppId, BlockId, Label, LeaseId, NodeId, PlanId, PublicKey, Signature,
};

use crate::world::{GIB, Person, World, credits, web};

pub(crate) fn label(name: &str) -> Label {
    Label::of(&[7; 32], name)
}

fn node() -> NodeId {
    NodeId::of_first_key(&Person::new(4).key)
}

/// One of each kind, in wire order.
pub(crate) fn one_of_each() -> Vec<Action> {
    let (app, key) = (AppId([5; 32]), Person::new(3).key);
    let service = label("web");
    let drop = DropVolume {
        app: label("shop"),
        volume: label("data"),
    };
    let gone = ReportVolume {
        owner: AccountId([1; 32]),
        app: label("shop"),
        volume: label("data"),
    };
    vec![
        transfer().into(),
        add_key().into(),
        RevokeKey { key }.into(),
        RotateKey { new: key }.into(),
        register().into(),
        offer().into(),
        CordonNode {
            node: node(),
            is_cordoned: true,
        }
        .into(),
        deploy().into(),
        Scale {
            app,
            service,
            replicas: 3,
        }
        .into(),
        Restart {
            app,
            service: Some(service),
        }
        .into(),
        Rollback { app, to: Some(1) }.into(),
        Delete {
            app,
            drops_volumes: true,
        }
        .into(),
        report().into(),
        evidence().into(),
        drop.into(),
        gone.into(),
        OpenAccount { key }.into(),
        reach().into(),
        Stand { node: node() }.into(),
        Vote {
            node: node(),
            is_in: true,
        }
        .into(),
        Leave { node: node() }.into(),
        WithdrawOffer { node: node() }.into(),
        DrainNode { node: node() }.into(),
        ReportDeaths {
            witness: node(),
            leases: BTreeSet::from([(LeaseId([6; 32]), 2)]),
        }
        .into(),
        ReportBack { node: node() }.into(),
        add_readers().into(),
        conflict().into(),
        others_gone().into(),
        loss().into(),
    ]
}

fn others_gone() -> ReportGone {
    ReportGone {
        witness: node(),
        machines: BTreeSet::from([(NodeId([8; 32]), 3)]),
    }
}

fn loss() -> ReportLoss {
    ReportLoss {
        node: node(),
        challenge: [4; 32],
    }
}

fn conflict() -> ReportConflict {
    let said = |block| Said::Vote(VoteKind::Precommit, block);
    ReportConflict {
        node: node(),
        validator: PublicKey::Ed25519([3; 32]),
        height: 7,
        round: 1,
        one: (said(None), Signature::Ed25519([1; 64])),
        other: (said(Some(BlockId([2; 32]))), Signature::Ed25519([2; 64])),
    }
}

fn add_readers() -> AddReaders {
    AddReaders {
        node: node(),
        app: AppId([7; 32]),
        revision: 1,
        wraps: vec![Wrap {
            holder: [8; 32],
            key: vec![9; 81],
        }],
    }
}

pub(crate) fn reach() -> PublishReach {
    let relay = Relay {
        address: "[2001:db8::5]:443".parse().unwrap(),
        pin: [6; 32],
        discovery_port: 7842,
    };
    let reach = Reach {
        addresses: BTreeSet::from(["192.0.2.7:4433".parse().unwrap()]),
        relayed_by: BTreeSet::from([NodeId([8; 32])]),
        relay: Some(relay),
    };
    PublishReach {
        node: node(),
        reach,
    }
}

fn transfer() -> Transfer {
    Transfer {
        to: Person::new(3).account,
        amount: credits("12.5"),
        memo: "for bread".to_owned(),
    }
}

fn add_key() -> AddKey {
    let grant = Grant {
        verbs: BTreeSet::from([Verb::Deploy, Verb::Scale]),
        apps: AppSelector::Only(BTreeSet::from([label("shop")])),
        nodes: NodeSelector::Only(BTreeSet::from([node()])),
        budget: Some(Budget {
            amount: credits("5"),
            period_ms: 86_400_000,
        }),
        expires_ms: Some(1_900_000_000_000),
    };
    AddKey {
        key: Person::new(3).key,
        grant,
    }
}

fn register() -> RegisterNode {
    let machine = Person::new(4);
    RegisterNode {
        key: machine.key,
        consent: machine.sign(b"consent"),
        sealing_key: [3; 32],
        name: "attic".parse().unwrap(),
    }
}

fn offer() -> PublishOffer {
    let offer = Offer {
        capacity: Resources {
            cpu_milli: 4_000,
            memory_bytes: 8 * GIB,
            storage_bytes: 100 * GIB,
        },
        prices: Prices {
            cpu_core_hour: credits("0.01"),
            memory_gib_hour: credits("0.005"),
            storage_gib_hour: credits("0.0001"),
        },
        isolation: BTreeSet::from([Isolation::Container, Isolation::Vm]),
        region: "eu-west".parse().unwrap(),
        tags: BTreeSet::from(["ssd".parse().unwrap()]),
    };
    PublishOffer {
        node: node(),
        offer,
    }
}

fn deploy() -> Deploy {
    let mut demand = web(2);
    demand.ports = vec![Port {
        number: 80,
        protocol: Protocol::Http,
        is_public: true,
    }];
    demand.volumes = BTreeMap::from([(label("data"), GIB)]);
    demand.update = Update::StopFirst;
    demand.constraints.regions = BTreeSet::from(["eu".parse().unwrap()]);
    demand.constraints.operators_denied = BTreeSet::from([AccountId([8; 32])]);
    demand.constraints.tags = BTreeSet::from(["ssd".parse().unwrap()]);
    demand.constraints.price_per_hour_max = Some(credits("1.5"));
    demand.constraints.replicas_per_node_max = Some(3);
    demand.constraints.replicas_per_operator_max = Some(2);
    demand.constraints.replicas_per_region_max = Some(5);
    demand.constraints.reputation_ppm_min = Some(750_000);
    demand.constraints.attested_ms_min = Some(86_400_000);
    demand.constraints.is_together = true;
    let mut deploy = World::new().deploy("shop", &[("web", demand)], 1);
    deploy.manifest.wraps = vec![Wrap {
        holder: [9; 32],
        key: vec![1, 2, 3],
    }];
    deploy.plan = Some(PlanId([4; 32]));
    deploy
}

fn report() -> ReportLease {
    ReportLease {
        lease: LeaseId([6; 32]),
        epoch: 2,
        report: Report::Ended(EndCause::Exited { code: -1 }),
    }
}

fn evidence() -> SubmitEvidence {
    let item = Item {
        lease: LeaseId([6; 32]),
        epoch: 2,
        from_ms: 1_000,
        until_ms: 31_000,
        ready_ms: 29_500,
        usage: Usage {
            cpu_ms: 1,
            memory_mib_seconds: 2,
            storage_mib_seconds: 3,
            network_received_bytes: 4,
            network_sent_bytes: 5,
        },
    };
    SubmitEvidence {
        node: node(),
        items: vec![item],
    }
}
