//! Glob-style matching as `KEYS`, `SCAN MATCH`, `PSUBSCRIBE`, `CONFIG GET` and
//! ACL key patterns use it. Pure: bytes in, a yes or no out.
//!
//! The language is Redis' own, quirks included: `?` takes one byte, `*` any run
//! of bytes, `[...]` one byte out of a class (`^` first negates it, `a-z` is a
//! range, a class may lack its closing bracket), and a backslash makes the next
//! byte literal. Bytes are compared as bytes; there is no notion of UTF-8.

/// Whether the whole of `text` matches `pattern`; with `nocase`, ASCII letters
/// match in either case.
///
/// Takes at most `pattern.len() * text.len()` steps: when a later part fails,
/// only the most recent `*` is ever retried, because whatever an earlier `*`
/// could reach by taking more, the latest one can reach as well.
///
/// An empty text is matched by the empty pattern alone, not by `*`: Redis never
/// looks at the pattern when there is no text, and clients can see that.
///
/// ```text
/// h?llo     hello hallo
/// h[^e]llo  hallo hbllo, not hello
/// h[a-b]llo hallo hbllo
/// h\*       h*
/// ```
pub fn matches(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    if text.is_empty() {
        return pattern.is_empty();
    }
    let (mut p, mut t) = (0, 0);
    // The element after the latest `*`, and where in the text it was last tried.
    let mut retry: Option<(usize, usize)> = None;
    while t < text.len() {
        if p < pattern.len() {
            if pattern[p] == b'*' {
                p = skip_stars(pattern, p);
                if p == pattern.len() {
                    return true;
                }
                retry = Some((p, t));
                continue;
            }
            if let Some(next) = match_one(pattern, p, text[t], nocase) {
                p = next;
                t += 1;
                continue;
            }
        }
        let Some((element, tried)) = retry else {
            return false;
        };
        (p, t) = (element, tried + 1);
        retry = Some((p, t));
    }
    skip_stars(pattern, p) == pattern.len()
}

/// The literal bytes that every match must begin with: all of the pattern up to
/// its first special byte. Lets a caller rule out most candidates cheaply.
pub fn literal_prefix(pattern: &[u8]) -> &[u8] {
    let end = pattern
        .iter()
        .position(|b| matches!(b, b'*' | b'?' | b'[' | b'\\'))
        .unwrap_or(pattern.len());
    &pattern[..end]
}

fn skip_stars(pattern: &[u8], from: usize) -> usize {
    from + pattern[from..].iter().take_while(|&&b| b == b'*').count()
}

/// Matches the single-byte element at `p` against `byte`; the position after
/// the element if it matches.
fn match_one(pattern: &[u8], p: usize, byte: u8, nocase: bool) -> Option<usize> {
    let (literal, next) = match pattern[p] {
        b'?' => return Some(p + 1),
        b'[' => return match_class(pattern, p + 1, byte, nocase),
        b'\\' if p + 1 < pattern.len() => (pattern[p + 1], p + 2),
        other => (other, p + 1),
    };
    same(literal, byte, nocase).then_some(next)
}

fn same(a: u8, b: u8, nocase: bool) -> bool {
    a == b || (nocase && a.eq_ignore_ascii_case(&b))
}

/// As [`match_one`] for a class whose `[` has been passed. A class that is never
/// closed ends with the pattern; `[]` matches nothing and `[^]` everything.
fn match_class(pattern: &[u8], mut p: usize, byte: u8, nocase: bool) -> Option<usize> {
    let negated = pattern.get(p) == Some(&b'^');
    if negated {
        p += 1;
    }
    let mut found = false;
    while p < pattern.len() {
        let left = pattern.len() - p;
        match pattern[p] {
            // An escaped byte is compared exactly even under `nocase`, as in Redis.
            b'\\' if left >= 2 => {
                found |= pattern[p + 1] == byte;
                p += 2;
            }
            b']' => break,
            start if left >= 3 && pattern[p + 1] == b'-' => {
                found |= in_range(start, pattern[p + 2], byte, nocase);
                p += 3;
            }
            member => {
                found |= same(member, byte, nocase);
                p += 1;
            }
        }
    }
    (found != negated).then(|| pattern.len().min(p + 1))
}

/// Ranges compare bytes as signed, as Redis on x86-64 does, so that bytes from
/// 0x80 up sort below the ASCII ones. The ends are swapped before they are
/// lowered: under `nocase` a range such as `[Z-a]` can therefore be empty.
fn in_range(start: u8, end: u8, byte: u8, nocase: bool) -> bool {
    let fold = |b: u8| {
        if nocase {
            b.to_ascii_lowercase() as i8
        } else {
            b as i8
        }
    };
    let (low, high) = if start as i8 > end as i8 {
        (end, start)
    } else {
        (start, end)
    };
    (fold(low)..=fold(high)).contains(&fold(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn yes(pattern: &str, text: &str) {
        assert!(
            matches(pattern.as_bytes(), text.as_bytes(), false),
            "{pattern} {text}"
        );
    }

    fn no(pattern: &str, text: &str) {
        assert!(
            !matches(pattern.as_bytes(), text.as_bytes(), false),
            "{pattern} {text}"
        );
    }

    #[test]
    fn literals_and_question_marks() {
        yes("hello", "hello");
        no("hello", "hell");
        no("hell", "hello");
        no("hello", "Hello");
        yes("h?llo", "hallo");
        no("h?llo", "hllo");
        no("?", "");
        yes("???", "abc");
    }

    #[test]
    fn stars() {
        yes("*", "anything");
        yes("a*", "a");
        yes("a*c", "abbbc");
        no("a*c", "abbbcd");
        yes("*a*b*", "xxaxxbxx");
        yes("a**b", "ab");
        yes("a***", "a");
        yes("*aab", "aaaab");
        yes("*abc*abd", "xabcabcabd");
        no("*abc*abd", "xabcabcabe");
        no("*?", "");
        yes("*?", "a");
        no("a*?", "a");
    }

    #[test]
    fn empty_text_is_matched_by_the_empty_pattern_only() {
        yes("", "");
        no("*", "");
        no("**", "");
        no("", "a");
    }

    #[test]
    fn classes() {
        yes("h[ae]llo", "hallo");
        no("h[ae]llo", "hillo");
        yes("h[^e]llo", "hallo");
        no("h[^e]llo", "hello");
        yes("[a-c]x", "bx");
        yes("[c-a]x", "bx");
        no("[a-c]x", "dx");
        yes("[a-cx-z0]", "y");
        yes("[a-cx-z0]", "0");
        yes("[\\]]", "]");
        yes("[\\-a]", "-");
        yes("[a\\-z]", "-");
        no("[a\\-z]", "b");
        yes("*[0-9]", "key7");
        no("[]", "a");
        no("[]a]", "a");
        yes("[^]", "a");
        yes("[^]a", "xa");
        no("a[^]", "a");
    }

    #[test]
    fn unterminated_classes_end_with_the_pattern() {
        yes("[abc", "b");
        no("[abc", "d");
        no("[", "[");
        yes("[^", "z");
        yes("[^abc", "z");
        yes("[a-", "-");
        yes("[a-", "a");
        no("[a-", "b");
        // Here the bracket is the end of a range, so nothing closes the class.
        yes("[a-]", "^");
        no("[a-]", "-");
        yes("[a\\", "\\");
    }

    #[test]
    fn escapes() {
        yes("\\*", "*");
        no("\\*", "a");
        yes("a\\", "a\\");
        yes("\\\\", "\\");
        yes("\\a", "a");
        yes("\\[a]", "[a]");
        no("\\?", "x");
    }

    #[test]
    fn case_is_ignored_on_request() {
        assert!(matches(b"HeLLo*", b"hEllO there", true));
        assert!(matches(b"[A-C]", b"b", true));
        assert!(matches(b"[xyz]", b"Y", true));
        assert!(matches(b"\\A", b"a", true));
        assert!(!matches(b"[\\A]", b"a", true));
        // Z to a is in order, so it is not swapped; lowered, it is z to a: empty.
        assert!(!matches(b"[Z-a]", b"z", true));
        assert!(matches(b"[Z-a]", b"Z", false));
    }

    #[test]
    fn high_bytes_are_negative_in_ranges() {
        assert!(matches(b"[\x80-\xff]", b"\x90", false));
        assert!(!matches(b"[a-\xff]", b"b", false));
        assert!(matches(b"[a-\xff]", b"B", false));
        assert!(matches(b"\xff?", b"\xff\x00", false));
    }

    #[test]
    fn prefix_of_plain_bytes() {
        assert_eq!(literal_prefix(b"user:*"), b"user:");
        assert_eq!(literal_prefix(b"user\\:"), b"user");
        assert_eq!(literal_prefix(b"plain"), b"plain");
        assert_eq!(literal_prefix(b"?x"), b"");
    }

    /// Trying every `*` at every place would not end in a lifetime; this takes
    /// milliseconds, so the test needs no clock to tell the two apart.
    #[test]
    fn many_stars_take_polynomial_time() {
        let text = vec![b'a'; 20_000];
        let mut pattern = b"a*".repeat(100);
        pattern.push(b'b');
        assert!(!matches(&pattern, &text, false));
        pattern.pop();
        assert!(matches(&pattern, &text, false));
        let classes = b"*[ab]".repeat(50);
        assert!(matches(&classes, &text, false));
    }

    /// A direct restatement of the definition, slow and obvious, as the oracle.
    fn by_definition(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.first() {
            None => text.is_empty(),
            Some(b'*') => (0..=text.len()).any(|n| by_definition(&pattern[1..], &text[n..])),
            Some(b'?') => !text.is_empty() && by_definition(&pattern[1..], &text[1..]),
            Some(&c) => text.first() == Some(&c) && by_definition(&pattern[1..], &text[1..]),
        }
    }

    #[test]
    fn agrees_with_the_definition_on_all_small_inputs() {
        let words = |alphabet: &[u8], max: usize| -> Vec<Vec<u8>> {
            let mut all = vec![vec![]];
            let mut last = all.clone();
            for _ in 0..max {
                last = last
                    .iter()
                    .flat_map(|w| alphabet.iter().map(move |&c| [w.as_slice(), &[c]].concat()))
                    .collect();
                all.extend(last.iter().cloned());
            }
            all
        };
        let texts = words(b"ab", 6);
        for pattern in words(b"ab*?", 5) {
            for text in texts.iter().filter(|t| !t.is_empty()) {
                assert_eq!(
                    matches(&pattern, text, false),
                    by_definition(&pattern, text),
                    "{} {}",
                    String::from_utf8_lossy(&pattern),
                    String::from_utf8_lossy(text)
                );
            }
        }
    }
}
