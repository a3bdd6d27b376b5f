//! The smallest root process: it serves the installation in the directory given until it is told
//! to end. `root_process <directory> <uid of the network process>`.
//!
//! The integration tests start it too, because a root process has to be single-threaded, which a
//! test never is.

use std::path::PathBuf;
use std::process::ExitCode;

use allod_runtime::InstallationId;
use allod_runtime::root::{Config, Ended, Root};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let directory = args.next().map(PathBuf::from);
    let uid = args.next().and_then(|uid| uid.to_str()?.parse().ok());
    let (Some(directory), Some(uid)) = (directory, uid) else {
        eprintln!("usage: root_process <directory> <uid of the network process>");
        return ExitCode::from(2);
    };
    let config = Config {
        installation: InstallationId::derive(directory.as_os_str().as_encoded_bytes()),
        run_dir: directory.join("run"),
        directory,
        network_uid: uid,
        network_gid: uid,
    };
    match Root::start(config).and_then(Root::serve) {
        Ok(Ended::Signal { .. }) => ExitCode::from(10),
        Ok(Ended::Request) => ExitCode::from(11),
        Ok(Ended::RequestAndStopped) => ExitCode::from(12),
        Err(error) => {
            eprintln!("{error}: {:?}", std::error::Error::source(&error));
            ExitCode::FAILURE
        }
    }
}
