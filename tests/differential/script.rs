//! Reads a script: the syntax that the head of `tests/differential.rs` describes.

use std::path::Path;

use crate::wire::Rule;

/// One script, ready to run.
pub struct Script {
    /// The file's name without its ending.
    pub name: String,
    /// Commands without which the script is skipped.
    pub needs: Vec<String>,
    /// Extra arguments for both servers.
    pub args: Vec<String>,
    /// The protocol versions it runs in.
    pub protocols: &'static [u8],
    /// What to do, in order.
    pub steps: Vec<Step>,
}

/// One thing to do.
pub struct Step {
    /// The line it stands on, counted from 1.
    pub line: usize,
    /// What it is.
    pub action: Action,
}

/// What a line asks for.
pub enum Action {
    /// Go on with this connection.
    Client(usize),
    /// Send a command and compare so many replies.
    Command {
        args: Vec<Vec<u8>>,
        rule: Rule,
        replies: usize,
    },
    /// Compare so many further messages.
    Read { rule: Rule, replies: usize },
    /// Send bytes; with a barrier, the connection may live on.
    Raw { bytes: Vec<u8>, barrier: bool },
    /// The connection must be closed.
    Closed,
    /// Wait for so many blocked clients.
    Blocked(u64),
}

/// What directives have said about the next command.
struct Next {
    rule: Rule,
    replies: usize,
    each: Option<(i64, i64)>,
}

impl Next {
    const PLAIN: Next = Next {
        rule: Rule::Exact,
        replies: 1,
        each: None,
    };
}

/// Reads the script in `file`. An error names the file, the line and the reason.
pub fn load(file: &Path) -> Result<Script, String> {
    let name = file
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let text = std::fs::read_to_string(file).map_err(|why| format!("{name}: {why}"))?;
    let mut script = Script {
        name,
        needs: vec![],
        args: vec![],
        protocols: &[2, 3],
        steps: vec![],
    };
    let mut next = Next::PLAIN;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        read_line(&mut script, &mut next, number + 1, line)
            .map_err(|why| format!("{}, line {}: {why}", script.name, number + 1))?;
    }
    Ok(script)
}

fn read_line(script: &mut Script, next: &mut Next, line: usize, text: &str) -> Result<(), String> {
    let Some(directive) = text.strip_prefix('@') else {
        return read_command(script, next, line, text);
    };
    let (name, rest) = directive.split_once(' ').unwrap_or((directive, ""));
    let rest = rest.trim();
    let mut push = |action| script.steps.push(Step { line, action });
    // What stands after a directive about the next command is that command, or a directive.
    let after = match name {
        "unordered" => {
            next.rule = Rule::Unordered;
            rest
        }
        "shape" => {
            next.rule = Rule::Shape;
            rest
        }
        "type" => {
            next.rule = Rule::Type;
            rest
        }
        "approx" => {
            let (by, rest) = number(rest)?;
            next.rule = Rule::Approx(by);
            rest
        }
        "replies" => {
            let (count, rest) = number(rest)?;
            next.replies = count;
            rest
        }
        "seq" => {
            let (first, rest) = number(rest)?;
            let (last, rest) = number(rest)?;
            next.each = Some((first, last));
            rest
        }
        "needs" => {
            script.needs = rest.split_whitespace().map(str::to_string).collect();
            ""
        }
        "args" => {
            for arg in split(rest)? {
                script.args.push(String::from_utf8_lossy(&arg).into_owned());
            }
            ""
        }
        "resp2only" => {
            script.protocols = &[2];
            ""
        }
        "resp3only" => {
            script.protocols = &[3];
            ""
        }
        "client" => {
            push(Action::Client(number(rest)?.0));
            ""
        }
        "read" => {
            let rule = std::mem::replace(next, Next::PLAIN).rule;
            push(Action::Read {
                rule,
                replies: number(rest)?.0,
            });
            ""
        }
        "blocked" => {
            push(Action::Blocked(number(rest)?.0));
            ""
        }
        "raw" => {
            push(Action::Raw {
                bytes: split(rest)?.concat(),
                barrier: true,
            });
            ""
        }
        "rawclose" => {
            push(Action::Raw {
                bytes: split(rest)?.concat(),
                barrier: false,
            });
            ""
        }
        "closed" => {
            push(Action::Closed);
            ""
        }
        _ => return Err(format!("unknown directive @{name}")),
    };
    match after {
        "" => Ok(()),
        text => read_line(script, next, line, text),
    }
}

fn read_command(
    script: &mut Script,
    next: &mut Next,
    line: usize,
    text: &str,
) -> Result<(), String> {
    let args = split(text)?;
    let Next {
        rule,
        replies,
        each,
    } = std::mem::replace(next, Next::PLAIN);
    let Some((first, last)) = each else {
        script.steps.push(Step {
            line,
            action: Action::Command {
                args,
                rule,
                replies,
            },
        });
        return Ok(());
    };
    for i in first..=last {
        let args = args.iter().map(|arg| fill(arg, &i.to_string())).collect();
        script.steps.push(Step {
            line,
            action: Action::Command {
                args,
                rule,
                replies,
            },
        });
    }
    Ok(())
}

/// `arg` with each `{}` replaced.
fn fill(arg: &[u8], by: &str) -> Vec<u8> {
    let mut filled = Vec::with_capacity(arg.len());
    let mut rest = arg;
    while let Some((&byte, tail)) = rest.split_first() {
        match rest.strip_prefix(b"{}") {
            Some(tail) => {
                filled.extend_from_slice(by.as_bytes());
                rest = tail;
            }
            None => {
                filled.push(byte);
                rest = tail;
            }
        }
    }
    filled
}

/// The number `text` starts with, and what follows it.
fn number<T: std::str::FromStr>(text: &str) -> Result<(T, &str), String> {
    let (number, rest) = text.split_once(' ').unwrap_or((text, ""));
    match number.parse() {
        Ok(number) => Ok((number, rest.trim())),
        Err(_) => Err(format!("{number:?} is not a number this directive takes")),
    }
}

/// Splits a line into arguments as redis-cli does, with `"…"*N` for repetition.
pub fn split(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let bytes = text.as_bytes();
    let mut args = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        if bytes[at] == b' ' {
            at += 1;
            continue;
        }
        let (arg, end) = match bytes[at] {
            b'"' => double_quoted(bytes, at + 1)?,
            b'\'' => single_quoted(bytes, at + 1)?,
            _ => {
                let end = bytes[at..]
                    .iter()
                    .position(|b| *b == b' ')
                    .map_or(bytes.len(), |n| at + n);
                (bytes[at..end].to_vec(), end)
            }
        };
        let (times, end) = repetition(bytes, end)?;
        args.push(arg.repeat(times));
        at = end;
    }
    Ok(args)
}

/// The count of a `*N` at `at`, which must end the argument; 1 without one.
fn repetition(bytes: &[u8], at: usize) -> Result<(usize, usize), String> {
    let end = bytes[at..]
        .iter()
        .position(|b| *b == b' ')
        .map_or(bytes.len(), |n| at + n);
    match &bytes[at..end] {
        b"" => Ok((1, end)),
        [b'*', digits @ ..] => match String::from_utf8_lossy(digits).parse() {
            Ok(times) => Ok((times, end)),
            Err(_) => Err("a repetition needs a count".into()),
        },
        _ => Err("a closing quote is followed by a space".into()),
    }
}

fn double_quoted(bytes: &[u8], mut at: usize) -> Result<(Vec<u8>, usize), String> {
    let mut arg = Vec::new();
    loop {
        match bytes[at..] {
            [b'"', ..] => return Ok((arg, at + 1)),
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
                arg.push(digit(high) * 16 + digit(low));
                at += 4;
            }
            [b'\\', letter, ..] => {
                arg.push(match letter {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 8,
                    b'a' => 7,
                    other => other,
                });
                at += 2;
            }
            [byte, ..] => {
                arg.push(byte);
                at += 1;
            }
            [] => return Err("unbalanced quotes".into()),
        }
    }
}

fn single_quoted(bytes: &[u8], mut at: usize) -> Result<(Vec<u8>, usize), String> {
    let mut arg = Vec::new();
    loop {
        match bytes[at..] {
            [b'\'', ..] => return Ok((arg, at + 1)),
            [b'\\', b'\'', ..] => {
                arg.push(b'\'');
                at += 2;
            }
            [byte, ..] => {
                arg.push(byte);
                at += 1;
            }
            [] => return Err("unbalanced quotes".into()),
        }
    }
}

#[test]
fn arguments_are_split_as_redis_cli_does() {
    let args = split(r#"SET  "a\x00\"b" 'it\'s' "xy"*3 "" plain"quote"#).expect("well formed");
    let wanted: [&[u8]; 6] = [b"SET", b"a\0\"b", b"it's", b"xyxyxy", b"", b"plain\"quote"];
    assert_eq!(args, wanted);
    assert!(split(r#""open"#).is_err());
    assert!(split(r#""a"b"#).is_err());
    assert!(split(r#""a"*x"#).is_err());
}
