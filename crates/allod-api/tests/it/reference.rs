//! The reference is what the table says. `UPDATE_REFERENCE=1` writes it anew.

use std::path::Path;

#[test]
fn the_reference_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/api.md");
    let written = allod_api::openapi::reference();
    if std::env::var_os("UPDATE_REFERENCE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, &written).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == written,
        "docs/reference/api.md is not current: UPDATE_REFERENCE=1 cargo nextest run -p allod-api reference"
    );
}
