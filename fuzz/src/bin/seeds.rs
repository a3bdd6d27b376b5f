//! Writes one action of each kind into a folder, for the transaction target to begin with.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "corpus/transaction".to_owned());
    std::fs::create_dir_all(&folder)?;
    for (at, bytes) in allod_fuzz::seeds().into_iter().enumerate() {
        std::fs::write(Path::new(&folder).join(format!("kind-{at:02}")), bytes)?;
    }
    Ok(())
}
