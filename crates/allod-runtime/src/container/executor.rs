//! The last steps of a container's first process: filters on, then the command.
//!
//! libcontainer ignores the seccomp section of a specification without a C library, and cannot
//! tell why a command did not start. Both are done here.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::rc::Rc;

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};

use super::seccomp::Filters;
use super::tether;
use crate::sys;

/// Runs the command of a container, and reports through `report` if that fails: the descriptor
/// closes without a word when it succeeds.
#[derive(Clone)]
pub(crate) struct CommandExecutor {
    pub(crate) filters: Rc<Filters>,
    pub(crate) report: Rc<OwnedFd>,
    /// Of a command that dies with the process beside it: where the tether above it tells how it has ended.
    pub(crate) tells: Option<Rc<OwnedFd>>,
}

impl Executor for CommandExecutor {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let args = spec
            .process()
            .as_ref()
            .and_then(|process| process.args().clone());
        let error = match args.as_deref() {
            Some([command, args @ ..]) => match self.set_free() {
                Ok(()) => {
                    sys::default_signals();
                    std::process::Command::new(command).args(args).exec()
                }
                Err(error) => error,
            },
            _ => io::ErrorKind::InvalidInput.into(),
        };
        let errno = error.raw_os_error().unwrap_or(libc::EINVAL);
        let _ = rustix::io::write(self.report.as_fd(), &errno.to_ne_bytes());
        Err(ExecutorError::Other(format!("exec: {error}")))
    }

    /// The command was looked for before, with better errors. What is done here is done by the first process before it
    /// waits for the word to start: it dies with whoever made it, because nobody else gives the word, and it holds the
    /// connection of whoever asked.
    fn validate(&self, _spec: &Spec) -> Result<(), ExecutorValidationError> {
        sys::die_with_parent()
            .map_err(|error| ExecutorValidationError::ArgValidationError(error.to_string()))
    }
}

impl CommandExecutor {
    /// Lets the first process outlive whoever made it, or puts a tether above it, and puts the filters on.
    fn set_free(&self) -> io::Result<()> {
        match &self.tells {
            Some(tells) => tether::fasten(&self.filters, tells),
            None => {
                sys::outlive_parent()?;
                self.filters.install()
            }
        }
    }
}
