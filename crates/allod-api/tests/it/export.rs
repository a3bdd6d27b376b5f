//! What an account takes along: whole, checked without a network, and every lie in it found.

use allod_api::client::{Check, Export};
use allod_api::compose::{Lowered, Single, single};
use allod_node::identity::Identity;
use allod_state::Action;

use crate::world::World;

/// An app whose image was handed to the node, so that no registry is asked.
fn app(name: &str) -> Lowered {
    let asked = Single {
        image: "web.tar".into(),
        archive_digest: Some(format!("sha256:{}", "ab".repeat(32))),
        name: Some(name.into()),
        ports: vec!["80".into()],
        env: vec!["SECRET=swordfish".into()],
        volumes: vec!["data:/data".into()],
        ..Single::default()
    };
    single(&asked).unwrap()
}

/// The file of a network with one app, and the app as it was deployed.
async fn exported(world: &World) -> (String, Lowered) {
    let client = world.client();
    let lowered = app("shop");
    let network = client.network().await.unwrap();
    let prepared = client.prepare(lowered.clone(), &network).await.unwrap();
    client.put_manifest(prepared.ciphertext).await.unwrap();
    let deploy = Action::from(prepared.deploy);
    client.submit(vec![deploy]).await.unwrap();
    let export = client.export().await.unwrap();
    (export.signed(client.identity()).unwrap(), lowered)
}

fn wrong(checks: &[Check]) -> Vec<&str> {
    let wrong = checks.iter().filter(|check| !check.is_good);
    wrong.map(|check| check.what.as_str()).collect()
}

/// What is wrong with the file when its first line is another one, signed anew where somebody signs it.
fn after(text: &str, change: impl Fn(&mut Export), signer: &Identity) -> Vec<String> {
    let (mut export, _) = Export::read(text).unwrap();
    change(&mut export);
    let (_, checks) = Export::read(&export.signed(signer).unwrap()).unwrap();
    wrong(&checks).into_iter().map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_exported_is_whole_and_opens_for_its_owner_alone() {
    let world = World::start().await;
    let (text, lowered) = exported(&world).await;
    assert!(!text.contains("swordfish"), "a secret in clear");
    let (export, checks) = Export::read(&text).unwrap();
    assert_eq!(wrong(&checks), Vec::<&str>::new());
    let apps = export.apps(&world.owner).unwrap();
    assert_eq!(apps.len(), 1);
    assert_eq!(apps[0].lowered.manifest, lowered.manifest);
    assert_eq!(apps[0].lowered.demands, lowered.demands);
    assert_eq!(apps[0].volumes, ["data"]);
    assert!(apps[0].is_handed_over);
    let stranger = Identity::new_account().unwrap();
    let told = export.apps(&stranger).unwrap_err();
    assert!(told.contains("opens with its key alone"), "{told}");
}

/// What is said of the rows' number once the file is another one, signed anew.
fn left_out(text: &str, change: impl Fn(&mut Export), signer: &Identity) -> Result<String, String> {
    let (mut export, _) = Export::read(text).unwrap();
    change(&mut export);
    let (_, checks) = Export::read(&export.signed(signer).unwrap()).unwrap();
    let mut checks = checks.into_iter();
    let check = checks.find(|it| it.what == "no row was left out").unwrap();
    if check.is_good {
        Ok(check.found)
    } else {
        Err(check.found)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_row_of_an_export_can_be_left_out() {
    let world = World::start().await;
    let (text, _) = exported(&world).await;
    let owner = &world.owner;
    let (export, _) = Export::read(&text).unwrap();
    let count = export.belongings.rows.len();
    let whole = left_out(&text, |_| {}, owner).unwrap();
    assert!(whole.starts_with(&format!("all {count} row(s): 1 account(s), ")));
    for index in 0..count {
        let without = |export: &mut Export| drop(export.belongings.rows.remove(index));
        let told = left_out(&text, without, owner).unwrap_err();
        assert!(told.contains(" row(s) were left out: "), "{index}: {told}");
    }
    let of_volume = |row: &allod_node::view::OwnedRow| row.key.starts_with("09");
    let without_volume = |export: &mut Export| export.belongings.rows.retain(|row| !of_volume(row));
    let told = left_out(&text, without_volume, owner);
    assert_eq!(told.unwrap_err(), "1 row(s) were left out: 1 volume(s)");
    // Another one twice makes up for nothing.
    let twice = |export: &mut Export| {
        let rows = &mut export.belongings.rows;
        let other = rows.iter().find(|row| !of_volume(row)).cloned().unwrap();
        rows.retain(|row| !of_volume(row));
        rows.push(other);
    };
    let told = left_out(&text, twice, owner);
    assert_eq!(told.unwrap_err(), "1 row(s) were left out: 1 volume(s)");
    // Nor does another count, be it of the state too.
    let other_count = |export: &mut Export| {
        export.belongings.holdings = export.belongings.rows[0].row.clone();
    };
    let told = left_out(&text, other_count, owner).unwrap_err();
    assert!(told.contains("is not in the state"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn no_part_of_an_export_can_be_changed() {
    let world = World::start().await;
    let (text, _) = exported(&world).await;
    let owner = &world.owner;
    let stranger = Identity::new_account().unwrap();
    // By whoever holds the file.
    let (body, signed) = text.split_once('\n').unwrap();
    let bent = format!("{body} \n{signed}");
    let (_, checks) = Export::read(&bent).unwrap();
    assert_eq!(wrong(&checks), ["it is signed by a key of the account"]);
    let by_another = after(&text, |_| {}, &stranger);
    assert_eq!(by_another, ["it is signed by a key of the account"]);
    // By its owner as well.
    let richer = |export: &mut Export| {
        let rows = &mut export.belongings.rows;
        let account = rows.iter_mut().find(|row| row.key.starts_with("01"));
        let value = &mut account.unwrap().row.value;
        let last = value.pop().unwrap();
        value.push(if last == '0' { '1' } else { '0' });
    };
    assert_eq!(after(&text, richer, owner), ["every row is proved"]);
    let of_another = |export: &mut Export| export.belongings.network.0[0] ^= 1;
    let told = after(&text, of_another, owner);
    assert!(told.contains(&"the genesis document is this network's".to_owned()));
    let emptied = |export: &mut Export| export.manifests.clear();
    let manifests = ["the manifests are those that revisions name"];
    assert_eq!(after(&text, emptied, owner), manifests);
    let swapped = |export: &mut Export| export.manifests[0].ciphertext.replace_range(0..2, "ff");
    assert_eq!(after(&text, swapped, owner), manifests);
    for no_export in ["", "{}", "{}\n{}", body] {
        let told = Export::read(no_export).unwrap_err();
        assert!(told.contains("this is no export"), "{told}");
    }
}
