//! Error replies. The texts are Redis' own, to the letter: clients match on them.

use std::borrow::Cow;

/// The text of an error reply, its code (`ERR`, `WRONGTYPE` …) included.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Cow<'static, [u8]>);

/// What a handler returns: its reply has been written, or this error replaces it.
pub type Outcome<T = ()> = Result<T, Error>;

impl Error {
    /// An error with a fixed text.
    pub const fn new(text: &'static str) -> Error {
        Error(Cow::Borrowed(text.as_bytes()))
    }

    /// An error with a text made up on the spot.
    pub fn text(text: impl Into<String>) -> Error {
        Error(Cow::Owned(text.into().into_bytes()))
    }

    /// An error that quotes what a client sent.
    pub fn raw(text: Vec<u8>) -> Error {
        Error(Cow::Owned(text))
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Error({:?})", String::from_utf8_lossy(&self.0))
    }
}

/// The value has another type.
pub const WRONG_TYPE: Error =
    Error::new("WRONGTYPE Operation against a key holding the wrong kind of value");
/// The arguments make no sense.
pub const SYNTAX: Error = Error::new("ERR syntax error");
/// An integer was expected.
pub const NOT_AN_INTEGER: Error = Error::new("ERR value is not an integer or out of range");
/// A floating-point number was expected.
pub const NOT_A_FLOAT: Error = Error::new("ERR value is not a valid float");
/// The key does not exist.
pub const NO_SUCH_KEY: Error = Error::new("ERR no such key");
/// Source and destination are the same.
pub const SAME_OBJECT: Error = Error::new("ERR source and destination objects are the same");
/// A database number beyond `databases`.
pub const DB_OUT_OF_RANGE: Error = Error::new("ERR DB index is out of range");
/// A string would grow past `proto-max-bulk-len`.
pub const TOO_LONG: Error =
    Error::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)");
/// The client has not authenticated.
pub const NO_AUTH: Error = Error::new("NOAUTH Authentication required.");
/// A wrong user name or password.
pub const WRONG_PASS: Error =
    Error::new("WRONGPASS invalid username-password pair or user is disabled.");
