//! A real process that writes to a real ledger until it is killed, and the inspector who then holds
//! what is left against everything that was ever told.
//!
//! `endure found <book> [--accounts <n>]` makes a network of one: accounts whose transfers all follow
//! from its genesis, so that whoever has the book can repeat and recompute each of them. The book lies
//! where the ledger's disk cannot take it along.
//!
//! `endure write <book> <folder> [options]` runs the shipping chain in `<folder>`, with one writer for
//! each account, and prints one line for everything that leaves: an answer, a commit, a signature, a
//! snapshot. It ends cleanly when its standard input closes.
//!
//! `endure inspect <book> <folder> <journal> [options]` opens the folder with the shipping code and
//! compares it with the lines that all the writers printed. It exits with 1 where a promise is broken
//! (each on a line that begins with `violation`), with 2 where the folder is refused as damaged.
//!
//! `endure history <book> <folder> <transfers>` makes a long history and dies without closing it;
//! `endure open <book> <folder>` measures how long a start takes there, and `endure replay <book>
//! <folder>` how long it takes to execute all of it again from genesis, on one thread.
//!
//! `endure chain make|replay <file> [<transactions>]` writes a chain, or executes one again, and prints
//! the hash of all its roots: two builds that disagree anywhere print different lines.

mod book;
mod chain;
mod history;
mod inspect;
mod journal;
mod options;
mod snapshots;
mod unsynced;
mod write;

use std::path::Path;
use std::process::ExitCode;

use book::Book;
use options::Options;

type Failure = Box<dyn std::error::Error + Send + Sync>;

const USAGE: &str = "endure found <book> | write <book> <folder> | inspect <book> <folder> <journal> | \
     history <book> <folder> <transfers> | open|replay <book> <folder> | chain make|replay <file> [<transactions>]";

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_max_level(tracing::Level::WARN)
        .init();
    let words: Vec<String> = std::env::args().skip(1).collect();
    match run(&words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("endure: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(words: &[String]) -> Result<ExitCode, Failure> {
    let (words, options) = Options::take(words)?;
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["found", book] => Book::found(Path::new(book), options.accounts)?,
        ["write", book, folder] => {
            write::run(Book::open(Path::new(book))?, Path::new(folder), &options)?;
        }
        ["inspect", book, folder, journal] => {
            let book = Book::open(Path::new(book))?;
            return inspect::run(&book, Path::new(folder), Path::new(journal), &options);
        }
        ["history", book, folder, count] => {
            let book = Book::open(Path::new(book))?;
            history::make(&book, Path::new(folder), count.parse()?)?;
        }
        ["open", book, folder] => {
            history::open(&Book::open(Path::new(book))?, Path::new(folder))?;
        }
        ["replay", book, folder] => {
            history::replay(&Book::open(Path::new(book))?, Path::new(folder))?;
        }
        ["chain", "make", file, count] => chain::make(Path::new(file), count.parse()?)?,
        ["chain", "replay", file] => chain::replay(Path::new(file))?,
        _ => return Err(format!("usage: {USAGE}").into()),
    }
    Ok(ExitCode::SUCCESS)
}
