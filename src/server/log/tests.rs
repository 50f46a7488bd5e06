//! Tests of the log: what its two readers get, and when they are told.

use super::*;

fn batch(commands: &[(usize, &str)]) -> Batch {
    let mut batch = Batch::default();
    for (db, line) in commands {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        batch.push(*db, words.into_iter());
    }
    batch
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let words = text
        .split("\r\n")
        .filter(|line| !line.starts_with(['*', '$']));
    words.collect::<Vec<_>>().join(" ").trim().to_owned()
}

#[test]
fn several_effects_are_one_step() {
    let log = Log::default();
    assert!(!log.is_on());
    log.switch(1);
    assert!(log.is_on());
    log.append(&batch(&[(0, "SET a 1")]), 0);
    let end = log.append(&batch(&[(0, "SET b 1"), (2, "DEL c")]), 0);
    let taken = log.take(Vec::new());
    let (file, bytes) = taken.after.unwrap();
    assert_eq!((file, taken.end, bytes.len() as u64), (1, end, end.file));
    assert_eq!(
        text(&bytes),
        "SELECT 0 SET a 1 MULTI SET b 1 SELECT 2 DEL c EXEC"
    );
    log.append(&batch(&[(2, "SET c 1")]), 0);
    assert_eq!(text(&log.take(Vec::new()).before), "SET c 1");
}

#[test]
fn a_new_file_begins_between_two_appends() {
    let log = Log::default();
    log.switch(1);
    drop(log.take(Vec::new()));
    log.append(&batch(&[(3, "SET a 1")]), 0);
    log.switch(2);
    log.append(&batch(&[(3, "SET a 2")]), 0);
    let taken = log.take(Vec::new());
    assert_eq!(text(&taken.before), "SELECT 3 SET a 1");
    let (file, bytes) = taken.after.unwrap();
    assert_eq!((file, text(&bytes).as_str()), (2, "SELECT 3 SET a 2"));
}

#[test]
fn replicas_are_asked_once_for_all_that_wait() {
    let log = Log::default();
    log.begin_stream(1000);
    let cursor = log.open_cursor(0).unwrap();
    let end = log.append(&batch(&[(0, "SET a 1")]), 0);
    log.want_acks(end.stream);
    log.want_acks(end.stream);
    let mut read = Vec::new();
    log.read(cursor, 1000, &mut read, Duration::ZERO);
    assert_eq!(text(&read), "SELECT 0 SET a 1 REPLCONF GETACK");
    assert_eq!(log.stream_end(), read.len() as u64);
    // What was there when they were asked, they have been asked for.
    log.want_acks(end.stream);
    assert_eq!(log.read(cursor, 1000, &mut read, Duration::ZERO), 0);
    let end = log.append(&batch(&[(0, "SET a 2")]), 0);
    log.want_acks(end.stream);
    read.clear();
    log.read(cursor, 1000, &mut read, Duration::ZERO);
    assert_eq!(text(&read), "SET a 2 REPLCONF GETACK");
    log.close_cursor(cursor);
}

#[test]
fn the_question_itself_can_be_asked_for() {
    let log = Log::default();
    log.begin_stream(1000);
    let cursor = log.open_cursor(0).unwrap();
    let end = log.append(&batch(&[(0, "SET a 1")]), 0);
    log.want_acks(end.stream);
    let mut read = Vec::new();
    log.read(cursor, 1000, &mut read, Duration::ZERO);
    // What they have told does not count the question.
    read.clear();
    log.want_acks(log.stream_end());
    log.read(cursor, 1000, &mut read, Duration::ZERO);
    assert_eq!(text(&read), "REPLCONF GETACK");
}

#[test]
fn nothing_comes_into_a_sealed_stream() {
    let log = Log::default();
    assert!(!log.seal_stream(0));
    log.begin_stream(1000);
    let end = log.append(&batch(&[(0, "SET a 1")]), 0).stream;
    assert!(!log.seal_stream(end - 1));
    assert!(log.seal_stream(end) && !log.seal_stream(end));
    log.append(&batch(&[(0, "PUBLISH a 1")]), 0);
    assert_eq!(log.say([&b"PING"[..]].into_iter()), None);
    log.want_acks(end);
    let cursor = log.open_cursor(end).unwrap();
    let mut read = Vec::new();
    assert_eq!(log.read(cursor, 1000, &mut read, Duration::ZERO), 0);
    log.follow(7, end, true, 1000);
    assert_eq!(log.stream_end(), end);
}

#[test]
fn all_is_sent_when_readers_come_back() {
    let log = Log::default();
    log.begin_stream(1000);
    // There is nobody.
    log.drain(Duration::from_secs(60));
    let cursor = log.open_cursor(0).unwrap();
    log.append(&batch(&[(0, "SET a 1")]), 0);
    log.drain(Duration::ZERO);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut read = Vec::new();
            while !log.is_closed() {
                log.read(cursor, 10, &mut read, Duration::from_secs(60));
            }
        });
        log.drain(Duration::from_secs(60));
        assert_eq!(log.behind(cursor), 0);
        log.close();
    });
}

#[test]
fn seconds_are_noted_once() {
    let log = Log::default();
    log.set_annotations(true);
    log.switch(1);
    for now in [5000, 5999, 6000] {
        log.append(&batch(&[(0, "PING")]), now);
    }
    let (_, bytes) = log.take(Vec::new()).after.unwrap();
    assert_eq!(text(&bytes), "#TS:5 SELECT 0 PING PING #TS:6 PING");
}
