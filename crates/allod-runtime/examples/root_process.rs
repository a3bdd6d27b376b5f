//! The smallest root process: it serves the installation in the directory given until it is told
//! to end, and keeps a shell script running beside it as its network process.
//! `root_process <directory> <uid of the network process> [<working directory> <script>]`.
//!
//! The integration tests start it too, because a root process has to be single-threaded, which a
//! test never is.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Seek, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use allod_runtime::InstallationId;
use allod_runtime::root::{Config, Ended, Process, Root};

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let directory = args.next().map(PathBuf::from);
    let uid = args.next().and_then(|uid| uid.to_str()?.parse().ok());
    let (Some(directory), Some(uid)) = (directory, uid) else {
        eprintln!("usage: root_process <directory> <uid of the network process>");
        return ExitCode::from(2);
    };
    let network = match (args.next(), args.next()) {
        (Some(working_directory), Some(script)) => {
            Some(network_process(&working_directory, script, uid))
        }
        _ => None,
    };
    let config = Config {
        installation: InstallationId::derive(directory.as_os_str().as_encoded_bytes()),
        run_dir: directory.join("run"),
        directory,
        network_uid: uid,
        network_gid: uid,
        fault_plan: std::env::var_os("FAULT_PLAN").map(PathBuf::from),
    };
    let started = Root::start(config).and_then(|mut root| {
        if let Some(network) = network {
            root.supervise(network);
        }
        root.serve()
    });
    match started {
        Ok(Ended::Signal { .. }) => ExitCode::from(10),
        Ok(Ended::Request) => ExitCode::from(11),
        Ok(Ended::RequestAndStopped) => ExitCode::from(12),
        Ok(Ended::GaveUp) => ExitCode::from(13),
        Err(error) => {
            eprintln!("{error}: {:?}", std::error::Error::source(&error));
            ExitCode::FAILURE
        }
    }
}

fn network_process(working_directory: &OsStr, script: OsString, uid: u32) -> Process {
    let words = tempfile::tempfile().and_then(|mut words| {
        words.write_all(b"handed over\n")?;
        words.rewind()?;
        Ok(words)
    });
    let words = words.expect("a temporary file can be made");
    let working_directory = File::open(working_directory).expect("the directory is there");
    Process {
        name: "network",
        program: "/bin/busybox".into(),
        args: vec!["sh".into(), "-c".into(), script],
        env: Vec::new(),
        fds: vec![("words".to_owned(), words.into())],
        uid,
        gid: uid,
        working_directory: working_directory.into(),
    }
}
