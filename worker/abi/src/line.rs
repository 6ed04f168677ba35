//! The lines of the control socket, and the doorbell protocol that they carry.
//!
//! Every line is UTF-8 and ends with a newline. From the worker: [`READY`] once,
//! then [`DATA`] or [`CHECK`] after it has published a message, and JSON state
//! events. From the supervisor: [`DATA`] only.
//!
//! **No wake-up is lost** by these rules, which both ends keep:
//! 1. Whoever publishes a message rings afterwards.
//! 2. A producer that is short of space sets its waiting word, then rings, then
//!    sleeps on the socket.
//! 3. Whoever is woken by a line polls its ring, publishes what it read, and
//!    *then*, if the waiting word is set, rings.
//! 4. Whoever is woken by a line looks again at what it waits for before it
//!    sleeps again.
//!
//! A consumer that missed the waiting word in one poll (rule 3) is about to get
//! the line that followed the word (rule 2), and polls again. The socket orders
//! memory, so that no fence is needed between the word and the line.
//!
//! The supervisor never blocks on a doorbell: a line that does not fit into the
//! socket's buffer is dropped, because then the worker has unread lines, will
//! wake, and by rule 4 will look after everything that was published before.

/// The worker is there, and has its connection and its segment.
pub const READY: &str = "READY";
/// There is something to read in the ring, or space in it again.
pub const DATA: &str = "DATA";
/// There is a policy check in the ring.
pub const CHECK: &str = "CHECK";
/// The longest line, in bytes without its newline. A longer one is a violation.
pub const LONGEST_LINE: usize = 64 * 1024;
