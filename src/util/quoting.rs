//! Splitting a line into arguments, as inline commands and the configuration
//! file need it, and quoting bytes so that people can read them.

use super::float::is_space;

/// Splits a line into arguments at white space. Within `"..."` the escapes
/// `\n \r \t \b \a` and `\xHH` work and a backslash makes any other byte
/// literal; within `'...'` only `\'` does. Quotes may start within a word but
/// must end it.
///
/// `None` for a quote that is never closed, or closed in the middle of a word.
/// A zero byte ends the line, as it does in Redis.
pub fn split_args(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let line = line.split(|&b| b == 0).next().unwrap_or(line);
    let mut args = Vec::new();
    let mut rest = line;
    loop {
        let blanks = rest.iter().take_while(|&&b| is_space(b)).count();
        rest = &rest[blanks..];
        if rest.is_empty() {
            return Some(args);
        }
        let (arg, after) = take_word(rest)?;
        args.push(arg);
        rest = after;
    }
}

/// Takes one argument off the line; what is left comes with it.
fn take_word(line: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut word = Vec::new();
    for (i, &byte) in line.iter().enumerate() {
        let rest = &line[i + 1..];
        match byte {
            // Not every white space: vertical tabs and form feeds stay in a word.
            b' ' | b'\n' | b'\r' | b'\t' => return Some((word, rest)),
            b'"' => return take_double_quoted(&mut word, rest).map(|rest| (word, rest)),
            b'\'' => return take_single_quoted(&mut word, rest).map(|rest| (word, rest)),
            _ => word.push(byte),
        }
    }
    Some((word, &[]))
}

fn take_double_quoted<'a>(word: &mut Vec<u8>, mut rest: &'a [u8]) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [b'\\', b'x', high, low, after @ ..]
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                word.push(hex_digit(*high) << 4 | hex_digit(*low));
                after
            }
            [b'\\', escaped, after @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                after
            }
            [b'"', after @ ..] => return ends_word(after),
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return None,
        };
    }
}

fn take_single_quoted<'a>(word: &mut Vec<u8>, mut rest: &'a [u8]) -> Option<&'a [u8]> {
    loop {
        rest = match rest {
            [b'\\', b'\'', after @ ..] => {
                word.push(b'\'');
                after
            }
            [b'\'', after @ ..] => return ends_word(after),
            [byte, after @ ..] => {
                word.push(*byte);
                after
            }
            [] => return None,
        };
    }
}

fn ends_word(rest: &[u8]) -> Option<&[u8]> {
    rest.first().is_none_or(|&b| is_space(b)).then_some(rest)
}

fn hex_digit(byte: u8) -> u8 {
    match byte {
        b'0'..=b'9' => byte - b'0',
        _ => (byte | 0x20) - b'a' + 10,
    }
}

/// Appends `bytes` in double quotes, so that [`split_args`] reads them back:
/// printable ASCII as it is, the usual escapes, and `\xhh` for the rest.
pub fn repr(out: &mut Vec<u8>, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0x07 => out.extend_from_slice(b"\\a"),
            0x08 => out.extend_from_slice(b"\\b"),
            b' '..=b'~' => out.push(byte),
            _ => {
                let (high, low) = (usize::from(byte >> 4), usize::from(byte & 15));
                out.extend_from_slice(&[b'\\', b'x', HEX[high], HEX[low]]);
            }
        }
    }
    out.push(b'"');
}

/// Whether bytes written without quotes would not read back as one argument, or
/// not be fit to show: the test Redis makes before it calls for [`repr`].
pub fn needs_repr(bytes: &[u8]) -> bool {
    bytes
        .iter()
        .any(|&b| !b.is_ascii_graphic() || b == b'\\' || b == b'"')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(line: &str) -> Option<Vec<String>> {
        let args = split_args(line.as_bytes())?;
        Some(
            args.iter()
                .map(|arg| arg.iter().map(|&b| b as char).collect())
                .collect(),
        )
    }

    #[track_caller]
    fn splits(line: &str, args: &[&str]) {
        assert_eq!(split(line).unwrap(), args, "{line:?}");
    }

    #[test]
    fn words() {
        splits("", &[]);
        splits(" \t\r\n ", &[]);
        splits("SET key value", &["SET", "key", "value"]);
        splits("  a  b\r\n", &["a", "b"]);
        splits("a\x0bb", &["a\x0bb"]);
        splits("\x0ba \x0cb", &["a", "b"]);
        splits("a\\nb", &["a\\nb"]);
        splits("save 900 1 \"\"", &["save", "900", "1", ""]);
        splits("a\0b c", &["a"]);
    }

    #[test]
    fn double_quotes() {
        splits("\"a b\" c", &["a b", "c"]);
        splits(r#""\n\r\t\b\a\q\"\\""#, &["\n\r\t\x08\x07q\"\\"]);
        splits(r#""\x00\xfF\x4""#, &["\0\u{ff}x4"]);
        splits("pre\"fix ed\"", &["prefix ed"]);
        splits("\"it's\"", &["it's"]);
    }

    #[test]
    fn single_quotes() {
        splits("'a b' c", &["a b", "c"]);
        splits(r"'it\'s' '\n'", &["it's", "\\n"]);
        splits("'\"'", &["\""]);
        splits("''", &[""]);
    }

    #[test]
    fn unbalanced_quotes() {
        for bad in [
            "\"",
            "'",
            "\"abc",
            "'abc",
            "\"a\"b",
            "'a'b",
            "\"a\\\"",
            "'a\\'",
            "x \"a\"\"b\"",
            "\"a\0\"",
            "\"\\",
        ] {
            assert_eq!(split(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn quoted_bytes() {
        let mut out = b">".to_vec();
        repr(&mut out, b"a\"\\\n\r\t\x07\x08\x00\x7f\xff z");
        assert_eq!(out, br#">"a\"\\\n\r\t\a\b\x00\x7f\xff z""#);
    }

    #[test]
    fn every_byte_reads_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        let mut out = Vec::new();
        repr(&mut out, &bytes);
        assert_eq!(split_args(&out), Some(vec![bytes]));
    }

    #[test]
    fn when_to_quote() {
        for plain in ["", "abc", "a'b", "~!"] {
            assert!(!needs_repr(plain.as_bytes()), "{plain}");
        }
        for odd in ["a b", "\"", "\\", "\n", "\x7f", "\u{e9}"] {
            assert!(needs_repr(odd.as_bytes()), "{odd}");
        }
    }
}
