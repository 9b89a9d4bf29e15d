//! The relay: a store only the CLI can reach, lent to a mover through the API server.
//!
//! ```text
//! mover: engine ─▶ RelayStore ─▶ Pool ◀══ port-forward ══▶ serve ─▶ the real store :CLI
//!                                          2–4 links
//! ```
//!
//! The CLI connects, because only it can; the mover asks, because only it knows what it needs. One
//! link carries one request at a time, so memory is bounded by links times the largest object, and
//! nothing waits behind another's data. A port-forward may be cut at any byte and its end proves
//! nothing, so every frame has a length, a sequence number and a keyed digest, a request is over only
//! when its answer says so, and what was not answered is asked again over another link. Repeating is
//! safe: objects of the repository are named by their content; a create that finds its own earlier
//! try is a success.
//!
//! Both sides prove that they know the run's random token before anything else is said. What travels
//! is sealed by the repository already, so the link adds integrity and not secrecy.

mod ask;
mod frame;
mod link;
mod pool;
mod serve;
mod store;

pub(crate) use link::{Link, LinkError, Token, Wire};
pub(crate) use pool::Pool;
pub(crate) use serve::serve;
pub(crate) use store::RelayStore;

#[cfg(test)]
mod tests;
