//! The terminal: questions, hidden input, raw mode, its size.

use std::io::{self, BufRead, IsTerminal, Write};

use allod_node::identity::Secret;
use rustix::stdio::stdin;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Longest answer that is read.
const ANSWER_BYTES_MAX: u64 = 16 * 1024;
/// What most lines fit into, in bytes.
const LINE_BYTES: usize = 1024;

/// Asks a question and reads a line.
pub(crate) fn ask(question: &str) -> io::Result<String> {
    write!(io::stderr(), "{question}")?;
    // Room for a secret, so that growing leaves no copies of it behind.
    let mut line = String::with_capacity(LINE_BYTES);
    io::Read::take(io::stdin().lock(), ANSWER_BYTES_MAX).read_line(&mut line)?;
    Ok(line)
}

/// Asks for a secret: what is typed is not shown.
pub(crate) fn ask_hidden(question: &str) -> io::Result<Secret<String>> {
    let hidden = Changed::apply(|modes| modes.local_modes -= LocalModes::ECHO)?;
    let answer = ask(question).map(Secret::new);
    drop(hidden);
    writeln!(io::stderr())?;
    let answer = answer?;
    Ok(Secret::new(
        answer.expose().trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

/// Whether a person types and reads here.
pub(crate) fn is_interactive() -> bool {
    io::stdin().is_terminal() && io::stdout().is_terminal()
}

/// Rows and columns.
pub(crate) fn size() -> (u16, u16) {
    tcgetwinsize(stdin()).map_or((24, 80), |size| (size.ws_row, size.ws_col))
}

/// A changed terminal, given back as it was when this is dropped.
pub(crate) struct Changed(Termios);

impl Changed {
    /// Every key goes through as it is pressed.
    pub(crate) fn raw() -> io::Result<Self> {
        Self::apply(Termios::make_raw)
    }

    fn apply(change: impl FnOnce(&mut Termios)) -> io::Result<Self> {
        let before = tcgetattr(stdin())?;
        let mut after = before.clone();
        change(&mut after);
        tcsetattr(stdin(), OptionalActions::Flush, &after)?;
        Ok(Self(before))
    }
}

impl Drop for Changed {
    fn drop(&mut self) {
        // The process is about to end or to go on without a terminal: there is nobody left to tell.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.0);
    }
}
