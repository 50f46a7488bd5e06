//! The Redis serialization protocol, both directions, as pure code: bytes in, bytes out.
//!
//! [`request`] parses what clients send, [`reply`] writes what they get back. Neither knows
//! sockets, commands or the store. Format: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.

pub mod reply;
pub mod request;

pub use reply::Reply;
pub use request::{Args, Limits, OwnedArgs, Parsed, Parser, ProtocolError, encode_command};
