//! Files beside an export are what it says, or are told apart.

use std::path::Path;

use allod_state::Label;

use super::{VolumeCopy, VolumeData};

fn copy(file: &str, bytes: &[u8]) -> VolumeCopy {
    VolumeCopy {
        name: "shop/data".into(),
        app: Label([1; 32]),
        volume: Label([2; 32]),
        data: Some(VolumeData {
            file: file.into(),
            bytes: bytes.len().try_into().unwrap(),
            blake3: blake3::hash(bytes).to_string(),
            was_in_use: true,
        }),
        missing: None,
    }
}

async fn found(copy: &VolumeCopy, dir: &Path) -> Result<String, String> {
    let check = copy.check(dir).await;
    if check.is_good {
        Ok(check.found)
    } else {
        Err(check.found)
    }
}

#[tokio::test]
async fn a_file_that_was_changed_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let copy = copy("shop.data.tar.gz", b"an archive");
    let path = dir.path().join("shop.data.tar.gz");
    assert!(
        found(&copy, dir.path())
            .await
            .unwrap_err()
            .contains("cannot read")
    );
    std::fs::write(&path, b"an archive").unwrap();
    assert_eq!(
        found(&copy, dir.path()).await.unwrap(),
        "10 bytes, read while a replica had it"
    );
    for changed in [b"an Archive".as_slice(), b"an archiv", b"an archive."] {
        std::fs::write(&path, changed).unwrap();
        assert!(
            found(&copy, dir.path())
                .await
                .unwrap_err()
                .contains("was changed")
        );
    }
}

#[tokio::test]
async fn a_name_leads_nowhere_else() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("inner");
    std::fs::create_dir(&inner).unwrap();
    std::fs::write(dir.path().join("secret"), b"words").unwrap();
    let at = dir.path().join("secret").display().to_string();
    for name in ["../secret", at.as_str(), "..", "", "inner/../../secret"] {
        let wrong = found(&copy(name, b"words"), &inner).await.unwrap_err();
        assert!(wrong.contains("is no name of a file"), "{name}: {wrong}");
    }
}

#[tokio::test]
async fn what_could_not_be_had_says_why() {
    let mut copy = copy("a", b"");
    copy.data = None;
    copy.missing = Some("its machine is away".into());
    let wrong = found(&copy, Path::new("/")).await.unwrap_err();
    assert_eq!(wrong, "its machine is away");
}
