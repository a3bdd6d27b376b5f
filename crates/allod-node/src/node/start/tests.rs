//! With which ledger a machine begins: what its folder holds, and what members give it.

use tempfile::TempDir;

use super::*;
use crate::founding::found;
use crate::home::Home;

/// A home, and what its node begins with.
struct Machine {
    dir: TempDir,
}

impl Machine {
    /// One with a network of its own.
    fn founded() -> Self {
        let machine = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        found(&machine.home(), None, None).unwrap();
        machine
    }

    fn home(&self) -> Home {
        Home::at(self.dir.path()).unwrap()
    }

    /// What the node owns.
    fn node_dir(&self) -> PathBuf {
        self.home().node_dir()
    }

    fn ledger(&self) -> PathBuf {
        self.node_dir().join(LEDGER_FOLDER)
    }

    fn genesis(&self) -> Genesis {
        let bytes = read(&self.node_dir().join("genesis")).unwrap();
        codec::decode("genesis", GENESIS_BYTES_MAX, &bytes).unwrap()
    }

    async fn learn(&self) -> Result<(), StartError> {
        let dir = self.node_dir();
        let identity = node_keyfile(&dir).load(None).unwrap();
        learn_if_lost(&dir, &identity, &self.genesis()).await
    }
}

#[tokio::test]
async fn a_folder_with_nothing_in_it_is_no_ledger() {
    let machine = Machine::founded();
    machine.learn().await.unwrap();
    // Its disk is not mounted: what was decided is elsewhere, and nothing is begun in its place.
    std::fs::write(machine.node_dir().join(BEGUN_FILE), []).unwrap();
    std::fs::create_dir(machine.ledger()).unwrap();
    let refused = machine.learn().await;
    assert!(
        matches!(refused, Err(StartError::LedgerGone)),
        "{refused:?}"
    );
    std::fs::write(machine.ledger().join("store.redb"), []).unwrap();
    machine.learn().await.unwrap();
}
