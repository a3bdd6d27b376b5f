//! The limits of the container network.

use std::time::Duration;

/// Address blocks an installation chooses from: 10.64.0.0/16 to 10.127.0.0/16.
pub(super) const BLOCK_FIRST: u8 = 64;
/// The last of these.
pub(super) const BLOCK_LAST: u8 = 127;
/// Apps of one installation: one /24 each; the first /24 of the block holds the link to the host.
pub(super) const APPS_MAX: u8 = 255;
/// The last host part given to a workload; 0, 1 (gateway) and 255 (broadcast) are not given.
pub(super) const WORKLOAD_HOST_LAST: u8 = 254;
/// The first host part given to a workload.
pub(super) const WORKLOAD_HOST_FIRST: u8 = 2;
/// Largest state file that is read back.
pub(super) const STATE_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// How long the kernel may take to answer a netlink message.
pub(super) const NETLINK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long `nft` or `iptables-legacy` may take.
pub(super) const TOOL_TIMEOUT: Duration = Duration::from_secs(20);
/// Most output read from such a tool.
pub(super) const TOOL_OUTPUT_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Simultaneous connections that one workload may have through the router, so that no tenant
/// fills the connection table that all share. Counting costs time with each new connection, which
/// is why it is not more.
pub(super) const CONNECTIONS_PER_WORKLOAD_MAX: u32 = 8_192;
/// Backlog of the resolver's TCP listener.
pub(super) const RESOLVER_BACKLOG: i32 = 128;
/// Elements of sets that one transaction removes: it must fit into a socket's buffer.
pub(super) const ELEMENTS_PER_TRANSACTION_MAX: usize = 256;
/// Between the removal of two bridges: enough to attach a workload, which takes a dozen changes of
/// links, each of which would wait for the bridge that is just going.
pub(super) const SWEEP_PAUSE: Duration = Duration::from_millis(30);
