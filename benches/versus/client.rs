//! A client for the measurements: just enough RESP to send commands, wait for replies, and load many keys fast.
//! Relies on std alone. Every wait is bounded, so that a server that hangs ends the measurement with an error.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use crate::Outcome;

/// Commands sent before their replies are awaited while loading.
const BATCH: u64 = 500;

/// One connection.
pub struct Client {
    stream: BufReader<TcpStream>,
    request: Vec<u8>,
}

impl Client {
    pub fn connect(port: u16) -> Outcome<Self> {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(120)))?;
        Ok(Self {
            stream: BufReader::with_capacity(16 * 1024, stream),
            request: Vec::new(),
        })
    }

    /// Appends a command to the request that `flush` sends.
    pub fn queue(&mut self, words: &[&str]) {
        push_command(&mut self.request, words);
    }

    /// Sends what was queued.
    pub fn flush(&mut self) -> Outcome {
        self.stream.get_mut().write_all(&self.request)?;
        self.request.clear();
        Ok(())
    }

    /// Waits for one reply: the first line without its end, and how many bytes of payload (of bulks and of the
    /// elements of an array) came after it. An error reply is an error.
    pub fn reply(&mut self) -> Outcome<(String, u64)> {
        let mut line = String::new();
        let mut payload = 0;
        self.line(&mut line)?;
        let first = line.clone();
        let mut pending: u64 = 1;
        loop {
            let (kind, rest) = line.split_at_checked(1).unwrap_or(("", ""));
            match kind {
                "-" => return Err(format!("the server answered {line}").into()),
                "$" => payload += self.skip_bulk(rest)?,
                "*" => pending += rest.parse::<u64>().unwrap_or(0),
                _ => {}
            }
            pending -= 1;
            if pending == 0 {
                return Ok((first, payload));
            }
            self.line(&mut line)?;
        }
    }

    /// Sends one command and waits for its reply; its first line.
    pub fn command(&mut self, words: &[&str]) -> Outcome<String> {
        self.queue(words);
        self.flush()?;
        Ok(self.reply()?.0)
    }

    /// One command, and how long its reply took, in microseconds.
    pub fn timed(&mut self, words: &[&str]) -> Outcome<u32> {
        let start = Instant::now();
        self.command(words)?;
        Ok(micros(start.elapsed()))
    }

    /// The number of keys in the database.
    pub fn dbsize(&mut self) -> Outcome<u64> {
        let reply = self.command(&["DBSIZE"])?;
        let size = reply.strip_prefix(':').and_then(|size| size.parse().ok());
        size.ok_or_else(|| format!("DBSIZE answered {reply}").into())
    }

    /// A number that INFO shows in a section.
    pub fn info(&mut self, section: &str, field: &str) -> Outcome<u64> {
        let value = self.field(section, field)?;
        let number = value.parse().ok();
        number.ok_or_else(|| format!("INFO {section} has no number {field}").into())
    }

    /// What INFO shows in a section; nothing for a field that is not there.
    pub fn field(&mut self, section: &str, field: &str) -> Outcome<String> {
        self.queue(&["INFO", section]);
        self.flush()?;
        let mut line = String::new();
        self.line(&mut line)?;
        let length = line.strip_prefix('$').and_then(|text| text.parse().ok());
        let length: usize = length.ok_or_else(|| format!("INFO answered {line}"))?;
        let mut text = vec![0; length + 2];
        self.stream.read_exact(&mut text)?;
        let text = String::from_utf8_lossy(&text);
        let mut values = text.lines().filter_map(|line| line.split_once(':'));
        let value = values.find(|(name, _)| *name == field);
        Ok(value.map_or(String::new(), |(_, value)| value.trim().to_owned()))
    }

    /// Sets keys 0 to `count`, each once and in a scattered order, with values of `size` bytes; `extra` gives the
    /// words after the value for the key of that number.
    pub fn fill(
        &mut self,
        count: u64,
        size: usize,
        mut extra: impl FnMut(u64) -> Vec<String>,
    ) -> Outcome {
        let value = "x".repeat(size);
        let mut replies = vec![0; BATCH as usize * OK.len()];
        let mut sent = 0;
        while sent < count {
            let batch = BATCH.min(count - sent);
            for number in sent..sent + batch {
                // A prime above any number of keys used here: a permutation that is not in order.
                let number = number.wrapping_mul(2_147_483_647) % count;
                let (key, extra) = (key(number), extra(number));
                let mut words = vec!["SET", &key, &value];
                words.extend(extra.iter().map(String::as_str));
                self.queue(&words);
            }
            self.flush()?;
            let replies = &mut replies[..batch as usize * OK.len()];
            self.stream.read_exact(replies)?;
            if replies.chunks(OK.len()).any(|reply| reply != OK) {
                let text = String::from_utf8_lossy(replies).into_owned();
                let odd = text.lines().find(|line| *line != "+OK").unwrap_or("?");
                return Err(format!("SET answered {odd}").into());
            }
            sent += batch;
        }
        Ok(())
    }

    /// Sets keys 0 to `count` to the values given, in order.
    pub fn fill_with(&mut self, count: u64, mut value: impl FnMut() -> String) -> Outcome {
        let mut sent = 0;
        while sent < count {
            let batch = BATCH.min(count - sent);
            for number in sent..sent + batch {
                self.queue(&["SET", &key(number), &value()]);
            }
            self.flush()?;
            for _ in 0..batch {
                self.reply()?;
            }
            sent += batch;
        }
        Ok(())
    }

    fn line(&mut self, line: &mut String) -> Outcome {
        line.clear();
        if self.stream.read_line(line)? == 0 {
            return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into());
        }
        line.truncate(line.trim_end().len());
        Ok(())
    }

    /// Reads past a bulk whose announced length is given, and its line end.
    fn skip_bulk(&mut self, length: &str) -> Outcome<u64> {
        let Ok(length) = length.parse::<u64>() else {
            return Ok(0); // the null bulk
        };
        let mut left = usize::try_from(length)? + 2;
        while left > 0 {
            let have = self.stream.fill_buf()?.len().min(left);
            if have == 0 {
                return Err(std::io::Error::from(ErrorKind::UnexpectedEof).into());
            }
            self.stream.consume(have);
            left -= have;
        }
        Ok(length)
    }
}

const OK: &[u8] = b"+OK\r\n";

/// The key of 16 bytes that redis-benchmark uses for this number.
pub fn key(number: u64) -> String {
    format!("key:{number:012}")
}

/// A duration in whole microseconds.
pub fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

fn push_command(request: &mut Vec<u8>, words: &[&str]) {
    request.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
    for word in words {
        request.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
}
