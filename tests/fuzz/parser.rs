//! Feeds bytes to the request parser as a connection does, and checks on every step what must
//! hold whatever the bytes are.

use stdis::resp::{Limits, Parsed, Parser};

/// Bytes a parser may hold beside the bytes it has been given: lists it keeps for the next request.
const KEPT: usize = 64 << 10;
/// Bytes a parser may hold for each byte that has arrived. The worst is an inline line of
/// one-letter words: a word is a span and a buffer of its own, and lists double as they grow.
const FACTOR: usize = 64;
/// The same when no inline request is among the bytes: `$0` and two line ends are a span.
const ARRAY_FACTOR: usize = 8;

/// What a parser made of some bytes.
#[derive(PartialEq, Eq, Debug, Default)]
pub struct Story {
    /// The arguments of each request, empty requests included.
    pub requests: Vec<Vec<Vec<u8>>>,
    /// The error that ended it.
    pub error: Option<Vec<u8>>,
    /// Whether it ended within an array.
    pub within: bool,
}

impl Story {
    /// Whether a line was refused for its length. The beginning of such a line is refused before
    /// its end is seen, so that this depends on how it arrives, in Redis as well.
    pub fn ends_at_long_line(&self) -> bool {
        self.error
            .as_ref()
            .is_some_and(|text| text.starts_with(b"too big"))
    }
}

struct Feed {
    parser: Parser,
    limits: Limits,
    /// Bytes of the current request that did not go into an argument's own buffer, and what is
    /// behind it.
    held: Vec<u8>,
    arrived: usize,
    seen_inline: bool,
    story: Story,
}

/// Parses `input`, which arrives in pieces that end at `cuts`. With `fill`, large arguments are
/// read into their own buffers, as a connection does.
pub fn run(input: &[u8], cuts: &[usize], limits: Limits, fill: bool) -> Story {
    let mut feed = Feed {
        parser: Parser::new(),
        limits,
        held: Vec::new(),
        arrived: 0,
        seen_inline: false,
        story: Story::default(),
    };
    let mut start = 0;
    for &end in cuts.iter().chain([&input.len()]) {
        let mut piece = &input[start..end];
        start = end;
        while fill && !piece.is_empty() {
            let Some((buffer, rest)) = feed.parser.big_bulk() else {
                break;
            };
            assert!(rest > 0, "an argument that is complete is not big_bulk()");
            let (own, after) = piece.split_at(rest.min(piece.len()));
            buffer.extend_from_slice(own);
            feed.arrived += own.len();
            piece = after;
            if !feed.parse_all() {
                return feed.story;
            }
        }
        feed.held.extend_from_slice(piece);
        feed.arrived += piece.len();
        if !feed.parse_all() {
            return feed.story;
        }
    }
    feed.story.within = feed.parser.in_request();
    feed.story
}

impl Feed {
    /// Takes every complete request out of what has arrived. Returns `false` after an error.
    fn parse_all(&mut self) -> bool {
        let mut done = 0;
        // Each request takes a byte at least, so this is more than enough.
        for _ in 0..=self.held.len() {
            let rest = &self.held[done..];
            self.seen_inline |= !self.parser.in_request() && rest.first() != Some(&b'*');
            let parsed = self.parser.parse(rest, self.limits);
            self.check_memory();
            match parsed {
                Parsed::Incomplete => {
                    self.held.drain(..done);
                    return true;
                }
                Parsed::Error(error) => {
                    self.story.error = Some(error.0);
                    return false;
                }
                Parsed::Request(used) => {
                    let rest = &self.held[done..];
                    assert!(used > 0, "a request of no bytes");
                    assert!(used <= rest.len(), "a request of bytes that never came");
                    let args = self.parser.args(rest);
                    let words: Vec<Vec<u8>> = args.from(0).map(<[u8]>::to_vec).collect();
                    let bytes: usize = words.iter().map(Vec::len).sum();
                    assert_eq!((args.len(), args.bytes()), (words.len(), bytes));
                    assert!(bytes <= self.arrived, "arguments larger than the input");
                    assert!(args.get(words.len()).is_none());
                    self.story.requests.push(words);
                    self.parser.reset();
                    assert!(!self.parser.in_request() && self.parser.big_bulk().is_none());
                    done += used;
                }
            }
        }
        panic!("more requests than bytes");
    }

    fn check_memory(&self) {
        let held = self.parser.memory() + self.parser.spans_memory();
        let factor = if self.seen_inline {
            FACTOR
        } else {
            ARRAY_FACTOR
        };
        let most = KEPT + factor * self.arrived;
        assert!(
            held <= most,
            "the parser holds {held} bytes after {} have arrived",
            self.arrived
        );
    }
}
