//! The client of the API: signed reads, signed transactions, deployments that are followed until they answer, and bills
//! recomputed without trusting anybody.
//!
//! It holds what the commands of `allod` have in common and what is worth a test; the commands themselves only parse
//! flags and print.

mod bill;
mod connection;
mod deploy;
mod error;
mod exec;
mod export;
mod follow;
mod grant;
mod limits;
mod payload;
mod proven;
mod routes;
mod stream;
mod submit;
mod target;
mod volumes;
mod way;

pub use bill::verify_bill;
pub use connection::Client;
pub use deploy::{Doors, Prepared, publish_on_loopback};
pub(crate) use error::exit_of;
pub use error::{Error, Exit, Problem};
pub use exec::{Exec, ExecRequest, Input, Output};
pub use export::{Export, Exported};
pub use follow::{Goal, Progress, knock};
pub use grant::{parse_budget, parse_cpus, parse_size, parse_span};
pub use proven::Check;
pub use routes::LogQuery;
pub use stream::Lines;
pub use target::{Target, Wanted, app_of, service_of};
pub use volumes::{VolumeCopy, VolumeData};

/// A result of the client.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests;
