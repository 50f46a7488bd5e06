//! The notation in which the command table describes arguments, and its parser.
//!
//! A [`Command`](super::spec::Command) row carries its arguments as one string that reads like a
//! synopsis; [`parse`] turns it into the tree that `COMMAND DOCS` reports. It is parsed when asked
//! for, not kept: the command is rare and the strings are short.
//!
//! # Notation
//!
//! | written | means |
//! | --- | --- |
//! | `value` | an argument named `value`, a string |
//! | `count:integer` | one of another type: `string`, `integer`, `double`, `key`, `pattern`, `unix-time` |
//! | `key`, `pattern` | these two names stand for their types unless another is given |
//! | `destination:key#1` | a key found by the second key specification; a key without `#` by the first |
//! | `NX` | a token that stands alone; its name is `nx` |
//! | `change:"CH"`, `equal:"="` | the same with a name or a token of another form |
//! | `EX seconds:integer`, `"lib-name" libname` | an argument behind a token |
//! | `unit:(M \| KM)` | one of several |
//! | `data:{field value}` | several that belong together |
//! | `[x]` | optional |
//! | `x...` | any number, one or more; a token before it stands once |
//! | `[GET pattern]...` | optional, any number, the token repeated each time |
//! | `x@6.2.0`, `x!6.2.0` | since that version; deprecated since that version |
//! | `x'text'` | shown to people as `text` |
//!
//! A bare upper-case word belongs to the argument that follows it, if a name follows. A token that
//! stands alone in front of a name is therefore written in its long form (`nx:"NX" value`). Names
//! other than lower-case words are quoted with backticks (`` `ip:port` ``).
//! The suffixes `#`, `...`, `@`, `!` and `''` may stand in any order, each once.
//!
//! The fields are those of <https://redis.io/docs/latest/develop/reference/command-arguments/>.

/// The type of an argument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Kind {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    /// A token without a value.
    PureToken,
    /// One of [`Arg::args`].
    OneOf,
    /// All of [`Arg::args`].
    Block,
}

impl Kind {
    /// The type's name in `COMMAND DOCS`.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Double => "double",
            Kind::Key => "key",
            Kind::Pattern => "pattern",
            Kind::UnixTime => "unix-time",
            Kind::PureToken => "pure-token",
            Kind::OneOf => "oneof",
            Kind::Block => "block",
        }
    }

    /// The types that can be written behind a colon.
    fn by_name(name: &str) -> Option<Kind> {
        [
            Kind::String,
            Kind::Integer,
            Kind::Double,
            Kind::Key,
            Kind::Pattern,
            Kind::UnixTime,
        ]
        .into_iter()
        .find(|kind| kind.name() == name)
    }
}

/// One argument, with the fields in the order in which `COMMAND DOCS` reports them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Arg {
    /// What the argument is called.
    pub name: String,
    /// Its type.
    pub kind: Kind,
    /// What to show instead of the name, where the row says so.
    pub display_text: Option<String>,
    /// The key specification that finds it; always there for keys.
    pub key_spec: Option<usize>,
    /// The word before it, or all of it for [`Kind::PureToken`]. May be the empty string.
    pub token: Option<String>,
    /// First version that has it, where that is not the command's own.
    pub since: Option<String>,
    /// Version since which it is deprecated.
    pub deprecated_since: Option<String>,
    /// May be left out.
    pub optional: bool,
    /// May be given several times.
    pub multiple: bool,
    /// Each time with its token.
    pub multiple_token: bool,
    /// The parts of [`Kind::OneOf`] and [`Kind::Block`].
    pub args: Vec<Arg>,
}

impl Arg {
    fn new(name: &str, kind: Kind) -> Arg {
        Arg {
            name: name.to_owned(),
            kind,
            display_text: None,
            key_spec: None,
            token: None,
            since: None,
            deprecated_since: None,
            optional: false,
            multiple: false,
            multiple_token: false,
            args: Vec::new(),
        }
    }

    /// The names of the flags that are set, in Redis' order.
    pub fn flags(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.optional, "optional"),
            (self.multiple, "multiple"),
            (self.multiple_token, "multiple_token"),
        ]
        .into_iter()
        .filter_map(|(set, name)| set.then_some(name))
    }
}

/// Parses the arguments of one command.
///
/// # Errors
/// Says what is wrong and at which byte, for a string that does not follow the notation.
pub fn parse(notation: &str) -> Result<Vec<Arg>, String> {
    let mut parser = Parser {
        text: notation,
        at: 0,
    };
    let args = parser.sequence()?;
    if parser.peek().is_some() {
        return Err(parser.wrong("something that closes nothing"));
    }
    Ok(args)
}

/// A position in the notation; every method leaves it behind what it has read.
struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn wrong(&self, what: &str) -> String {
        format!("{what} at byte {} of `{}`", self.at, self.text)
    }

    /// The next character that is not a space.
    fn peek(&mut self) -> Option<char> {
        self.at = self.text.len() - self.rest().trim_start().len();
        self.rest().chars().next()
    }

    /// Takes `word` if it is what comes next, spaces not skipped.
    fn take(&mut self, word: &str) -> bool {
        let found = self.rest().starts_with(word);
        if found {
            self.at += word.len();
        }
        found
    }

    fn expect(&mut self, close: &str) -> Result<(), String> {
        self.peek();
        if self.take(close) {
            Ok(())
        } else {
            Err(self.wrong(&format!("no `{close}`")))
        }
    }

    /// The characters from here on that `belongs` accepts; at least one.
    fn word(&mut self, belongs: fn(char) -> bool) -> Result<&'a str, String> {
        let rest = self.rest();
        let word = &rest[..rest.find(|c| !belongs(c)).unwrap_or(rest.len())];
        if word.is_empty() {
            return Err(self.wrong("no word"));
        }
        self.at += word.len();
        Ok(word)
    }

    /// The text between here and the next `quote`, which is taken too; the opening one is behind us.
    fn quoted(&mut self, quote: char) -> Result<&'a str, String> {
        let rest = self.rest();
        let end = rest
            .find(quote)
            .ok_or_else(|| self.wrong(&format!("no closing {quote}")))?;
        self.at += end + quote.len_utf8();
        Ok(&rest[..end])
    }

    /// Arguments up to a closing bracket, a bar or the end.
    fn sequence(&mut self) -> Result<Vec<Arg>, String> {
        let mut args = Vec::new();
        while self
            .peek()
            .is_some_and(|next| !matches!(next, ']' | ')' | '}' | '|'))
        {
            args.push(self.argument()?);
        }
        Ok(args)
    }

    /// One argument, with the brackets of an optional one.
    fn argument(&mut self) -> Result<Arg, String> {
        if !self.take("[") {
            return self.bare();
        }
        self.peek();
        let mut arg = self.bare()?;
        self.expect("]")?;
        arg.optional = true;
        if self.take("...") {
            if arg.multiple || arg.token.is_none() {
                return Err(self.wrong("repeated brackets without a token to repeat"));
            }
            arg.multiple = true;
            arg.multiple_token = true;
        }
        Ok(arg)
    }

    /// One argument with its token and suffixes.
    fn bare(&mut self) -> Result<Arg, String> {
        let token = match self.rest().chars().next() {
            Some('"') => {
                self.at += 1;
                Some(self.quoted('"')?)
            }
            Some(c) if c.is_ascii_uppercase() => {
                Some(self.word(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-')?)
            }
            _ => None,
        };
        // A token takes the name that follows it; suffixes of its own stand directly behind it.
        let names = |c: char| c.is_ascii_lowercase() || c == '`';
        let alone = self.at;
        let named = match token {
            Some(_) => self.rest().starts_with(' ') && self.peek().is_some_and(names),
            None => true,
        };
        let mut arg = match token {
            Some(word) if !named => {
                self.at = alone;
                let mut arg = Arg::new(&word.to_ascii_lowercase(), Kind::PureToken);
                arg.token = Some(word.to_owned());
                arg
            }
            _ => {
                let mut arg = self.named()?;
                if let Some(word) = token {
                    if arg.token.is_some() {
                        return Err(self.wrong("a token behind a token"));
                    }
                    arg.token = Some(word.to_owned());
                }
                arg
            }
        };
        self.suffixes(&mut arg)?;
        if arg.kind == Kind::Key {
            arg.key_spec.get_or_insert(0);
        }
        Ok(arg)
    }

    /// A name and its type.
    fn named(&mut self) -> Result<Arg, String> {
        let name = if self.take("`") {
            self.quoted('`')?
        } else {
            self.word(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_'))?
        };
        let mut arg = Arg::new(name, Kind::String);
        if !self.take(":") {
            if let Some(kind @ (Kind::Key | Kind::Pattern)) = Kind::by_name(name) {
                arg.kind = kind;
            }
        } else if self.take("\"") {
            arg.kind = Kind::PureToken;
            arg.token = Some(self.quoted('"')?.to_owned());
        } else if self.take("{") {
            arg.kind = Kind::Block;
            arg.args = self.sequence()?;
            self.expect("}")?;
        } else if self.take("(") {
            arg.kind = Kind::OneOf;
            arg.args = self.choices()?;
        } else {
            let kind = self.word(|c| c.is_ascii_lowercase() || c == '-')?;
            arg.kind = Kind::by_name(kind).ok_or_else(|| self.wrong("no such type before this"))?;
        }
        Ok(arg)
    }

    /// The alternatives of a [`Kind::OneOf`], up to and with its closing bracket.
    fn choices(&mut self) -> Result<Vec<Arg>, String> {
        let mut choices = Vec::new();
        loop {
            self.peek();
            choices.push(self.argument()?);
            self.peek();
            if self.take(")") {
                return Ok(choices);
            }
            self.expect("|")?;
        }
    }

    fn suffixes(&mut self, arg: &mut Arg) -> Result<(), String> {
        let version = |c: char| c.is_ascii_digit() || c == '.';
        loop {
            let again = if self.take("...") {
                std::mem::replace(&mut arg.multiple, true)
            } else if self.take("#") {
                let index = self.word(|c| c.is_ascii_digit())?;
                let index = index
                    .parse()
                    .map_err(|_| self.wrong("too large a number"))?;
                arg.key_spec.replace(index).is_some()
            } else if self.take("@") {
                arg.since.replace(self.word(version)?.to_owned()).is_some()
            } else if self.take("!") {
                arg.deprecated_since
                    .replace(self.word(version)?.to_owned())
                    .is_some()
            } else if self.take("'") {
                arg.display_text
                    .replace(self.quoted('\'')?.to_owned())
                    .is_some()
            } else {
                return Ok(());
            };
            if again {
                return Err(self.wrong("a suffix given twice"));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arg(name: &str, kind: Kind) -> Arg {
        Arg::new(name, kind)
    }

    fn key(name: &str, index: usize) -> Arg {
        Arg {
            key_spec: Some(index),
            ..arg(name, Kind::Key)
        }
    }

    fn token(name: &str, token: &str) -> Arg {
        Arg {
            token: Some(token.to_owned()),
            ..arg(name, Kind::PureToken)
        }
    }

    fn optional(arg: Arg) -> Arg {
        Arg {
            optional: true,
            ..arg
        }
    }

    fn multiple(arg: Arg) -> Arg {
        Arg {
            multiple: true,
            ..arg
        }
    }

    fn after(word: &str, arg: Arg) -> Arg {
        Arg {
            token: Some(word.to_owned()),
            ..arg
        }
    }

    fn since(version: &str, arg: Arg) -> Arg {
        Arg {
            since: Some(version.to_owned()),
            ..arg
        }
    }

    fn with(args: Vec<Arg>, arg: Arg) -> Arg {
        Arg { args, ..arg }
    }

    #[track_caller]
    fn check(notation: &str, tree: &[Arg]) {
        assert_eq!(parse(notation).as_deref(), Ok(tree), "{notation}");
    }

    #[test]
    fn names_and_types() {
        check("", &[]);
        check("key value", &[key("key", 0), arg("value", Kind::String)]);
        check("pattern", &[arg("pattern", Kind::Pattern)]);
        check("pattern:string", &[arg("pattern", Kind::String)]);
        check(
            "n:integer x:double t_1:unix-time destination:key#1",
            &[
                arg("n", Kind::Integer),
                arg("x", Kind::Double),
                arg("t_1", Kind::UnixTime),
                key("destination", 1),
            ],
        );
        check("`ip:port`", &[arg("ip:port", Kind::String)]);
        check(
            "pattern#1",
            &[Arg {
                key_spec: Some(1),
                ..arg("pattern", Kind::Pattern)
            }],
        );
    }

    #[test]
    fn tokens() {
        check(
            "[LEN] [AUTH2]",
            &[
                optional(token("len", "LEN")),
                optional(token("auth2", "AUTH2")),
            ],
        );
        check(
            "change:\"CH\" none:\"\"",
            &[token("change", "CH"), token("none", "")],
        );
        check(
            "EX seconds:integer",
            &[after("EX", arg("seconds", Kind::Integer))],
        );
        check(
            "\"lib-name\" libname",
            &[after("lib-name", arg("libname", Kind::String))],
        );
        check("NO-EVICT", &[token("no-evict", "NO-EVICT")]);
        check(
            "A B c",
            &[token("a", "A"), after("B", arg("c", Kind::String))],
        );
        check(
            "A [b]",
            &[token("a", "A"), optional(arg("b", Kind::String))],
        );
        check("STORE `a b`", &[after("STORE", arg("a b", Kind::String))]);
        check(
            "GET@6.2.0 x",
            &[since("6.2.0", token("get", "GET")), arg("x", Kind::String)],
        );
    }

    #[test]
    fn suffixes() {
        check("key...", &[multiple(key("key", 0))]);
        check("[key#2...]", &[optional(multiple(key("key", 2)))]);
        check(
            "a...@1.2.3!4.5.6'what people see'",
            &[Arg {
                deprecated_since: Some("4.5.6".to_owned()),
                display_text: Some("what people see".to_owned()),
                ..since("1.2.3", multiple(arg("a", Kind::String)))
            }],
        );
        check("a'x'@7.2.0", &parse("a@7.2.0'x'").unwrap());
        check(
            "[GET pattern#1]...",
            &[optional(multiple(Arg {
                key_spec: Some(1),
                multiple_token: true,
                ..after("GET", arg("pattern", Kind::Pattern))
            }))],
        );
    }

    #[test]
    fn nesting() {
        check(
            "data:{score:double member}...",
            &[multiple(with(
                vec![arg("score", Kind::Double), arg("member", Kind::String)],
                arg("data", Kind::Block),
            ))],
        );
        check(
            "[LIMIT offset_count:{offset:integer count:integer}]",
            &[optional(after(
                "LIMIT",
                with(
                    vec![arg("offset", Kind::Integer), arg("count", Kind::Integer)],
                    arg("offset_count", Kind::Block),
                ),
            ))],
        );
        check(
            "key [condition:(NX | XX)@2.6.12] [expiration:( EX seconds:integer|KEEPTTL@6.0.0 )]",
            &[
                key("key", 0),
                optional(since(
                    "2.6.12",
                    with(
                        vec![token("nx", "NX"), token("xx", "XX")],
                        arg("condition", Kind::OneOf),
                    ),
                )),
                optional(with(
                    vec![
                        after("EX", arg("seconds", Kind::Integer)),
                        since("6.0.0", token("keepttl", "KEEPTTL")),
                    ],
                    arg("expiration", Kind::OneOf),
                )),
            ],
        );
        check(
            "a:(b:{[c] D} | e)",
            &[with(
                vec![
                    with(
                        vec![optional(arg("c", Kind::String)), token("d", "D")],
                        arg("b", Kind::Block),
                    ),
                    arg("e", Kind::String),
                ],
                arg("a", Kind::OneOf),
            )],
        );
    }

    #[test]
    fn flags_in_order() {
        let args = parse("[GET pattern]... [a] b... c").unwrap();
        let flags: Vec<Vec<_>> = args.iter().map(|arg| arg.flags().collect()).collect();
        assert_eq!(
            flags,
            [
                vec!["optional", "multiple", "multiple_token"],
                vec!["optional"],
                vec!["multiple"],
                vec![]
            ]
        );
    }

    #[test]
    fn mistakes() {
        for notation in [
            "]",
            "a)",
            "a | b",
            "[a",
            "[a b]",
            "[]",
            "a:(b",
            "a:(b c)",
            "a:()",
            "a:{b",
            "a:number",
            "a:",
            "a:\"X",
            "`a",
            "\"X",
            "a...@",
            "a@1@2",
            "a#",
            "a......",
            "a#99999999999999999999",
            "[a]...",
            "[GET a...]...",
            "X y:\"Z\"",
            "a=b",
            "é",
        ] {
            assert!(parse(notation).is_err(), "{notation}");
        }
        let error = parse("key [value").unwrap_err();
        assert_eq!(error, "no `]` at byte 10 of `key [value`");
    }
}
