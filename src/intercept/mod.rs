//! The interceptor: it answers the calls of a worker about which only a live decision can say
//! whether they may be made.
//!
//! The worker's filter holds such a call (seccomp user notification), and the first process of the
//! sandbox makes it in the worker's place: it copies the arguments once, resolves the path in the
//! worker's own root, decides by the same pure policy as everybody else, and hands over the
//! descriptor that it opened. What must be recorded or asked goes through the supervisor first.
//!
//! It trusts the policy and the kernel. The worker's memory, its paths and its descriptors are
//! allegations, which other threads change while it looks at them. It never lets the kernel go on
//! with a call after it has looked at a pointer, and never answers anything but a denial when
//! something fails.

mod act;
mod attributes;
mod broker;
mod calls;
mod elf;
mod exec;
mod held;
mod image;
mod message;
mod mounts;
mod need;
mod outcome;
mod question;
mod quick;
mod reply;
mod resolve;
mod sockets;
mod status;
mod view;
mod waiter;

pub use broker::{Broker, Tell, Word};
pub use held::{Holding, held};
pub use outcome::Outcome;
pub use question::{Asked, Question};
pub use quick::Quick;
pub use reply::{Given, Handed, answer, refuse};
