//! Roles that change: promotion, demotion, chains, and the histories that go on.

use crate::array;
use crate::nodes::{
    assert_equal, attach, await_link, await_offsets, count, field, follow, node, offset, promote,
    replica_of,
};
use crate::support::{REPLY_TIMEOUT, Server, error, eventually, simple};

fn write(server: &Server, from: i64, to: i64) {
    let mut client = server.client();
    for n in from..to {
        client.run(&format!("SET key:{n} {n}"));
    }
}

#[test]
fn commands() {
    let server = node(&[]);
    let mut client = server.client();
    let syntax = error("ERR wrong number of arguments for 'replicaof' command");
    assert_eq!(client.run("REPLICAOF x"), syntax);
    let syntax = error("ERR wrong number of arguments for 'slaveof' command");
    assert_eq!(client.run("SLAVEOF x y z"), syntax);
    assert_eq!(client.run("REPLICAOF NO ONE"), simple("OK"));
    assert_eq!(client.run("replicaof no one"), simple("OK"));
    let port = error("ERR Invalid master port");
    for line in [
        "REPLICAOF host abc",
        "REPLICAOF host -1",
        "REPLICAOF host 65536",
    ] {
        assert_eq!(client.run(line), port, "{line}");
    }
    let primary = node(&[]);
    let line = format!("SLAVEOF 127.0.0.1 {}", primary.port());
    assert_eq!(client.run(&line), simple("OK"));
    let again = simple("OK Already connected to specified master");
    assert_eq!(client.run(&line), again);
    await_link(&server);
    assert_eq!(client.run(&line), again);
    let of = array!["replicaof", format!("127.0.0.1 {}", primary.port())];
    assert_eq!(client.run("CONFIG GET replicaof"), of);
    assert!(
        client
            .run("CONFIG SET replicaof x")
            .error()
            .starts_with("ERR ")
    );
    promote(&server);
    assert_eq!(client.run("CONFIG GET replicaof"), array!["replicaof", ""]);
}

/// REPLICAOF may stand in a transaction, as sentinels send it.
#[test]
fn in_a_transaction() {
    let server = node(&[]);
    let replica = replica_of(&server, &[]);
    let mut client = replica.client();
    client.run("MULTI");
    client.run("REPLICAOF NO ONE");
    client.run("CLIENT KILL TYPE normal SKIPME yes");
    client.run("SET a 1");
    let reply = client.run("EXEC");
    // Its first command made the third one possible, which was refused when it was queued.
    assert!(reply.error().starts_with("EXECABORT"), "{reply:?}");
    client.run("MULTI");
    client.run("REPLICAOF NO ONE");
    client.run("CLIENT KILL TYPE pubsub");
    let reply = client.run("EXEC");
    assert_eq!(reply, array![simple("OK"), 0]);
    assert_eq!(field(&replica, "role"), "master");
    let port = server.port().to_string();
    client.run("MULTI");
    client.cmd(&["REPLICAOF", "127.0.0.1", &port]);
    client.run("ROLE");
    let reply = client.run("EXEC");
    assert_eq!(reply.items()[0], simple("OK"));
    assert_eq!(reply.items()[1].items()[0], "slave");
    await_link(&replica);
}

/// After a promotion the others, and the old primary, go on from where they are.
#[test]
fn promotion() {
    let old = node(&[]);
    let new = replica_of(&old, &[]);
    let other = replica_of(&old, &[]);
    write(&old, 0, 100);
    await_offsets(&[&old, &new, &other]);
    let (id, end) = (field(&old, "master_replid"), offset(&old));
    promote(&new);
    assert_eq!(field(&new, "role"), "master");
    let fresh = field(&new, "master_replid");
    assert_ne!(fresh, id);
    assert_eq!(field(&new, "master_replid2"), id);
    let second: i64 = field(&new, "second_repl_offset")
        .parse()
        .expect("an offset");
    assert!(
        second > end && second <= offset(&new) + 1,
        "{second}, {end}"
    );
    write(&new, 100, 200);
    let full = count(&new, "sync_full");
    attach(&other, &new);
    attach(&old, &new);
    assert_equal(&[&new, &other, &old], "after a promotion");
    assert_eq!(count(&new, "sync_full"), full);
    assert_eq!(count(&new, "sync_partial_ok"), 2);
    assert_eq!(field(&old, "master_replid"), fresh);
    assert_eq!(old.client().run("GET key:150"), "150");
    // And again, the other way.
    promote(&old);
    write(&old, 200, 300);
    attach(&new, &old);
    attach(&other, &old);
    assert_equal(&[&old, &new, &other], "after a second promotion");
    assert_eq!(count(&old, "sync_partial_ok"), 2);
}

/// One that has written more than the new primary knows gets everything anew.
#[test]
fn histories_that_part() {
    let old = node(&[]);
    let new = replica_of(&old, &[]);
    write(&old, 0, 10);
    await_offsets(&[&old, &new]);
    promote(&new);
    write(&old, 10, 200);
    old.client().run("SET only-here 1");
    write(&new, 300, 310);
    let full = count(&new, "sync_full");
    attach(&old, &new);
    assert_equal(&[&new, &old], "histories");
    assert_eq!(count(&new, "sync_full"), full + 1);
    assert_eq!(old.client().run("EXISTS only-here key:100 key:305"), 1);
}

#[test]
fn a_chain_is_kept() {
    let first = node(&[]);
    let second = replica_of(&first, &[]);
    let third = replica_of(&second, &[]);
    let fourth = replica_of(&third, &[]);
    write(&first, 0, 100);
    assert_equal(&[&first, &second, &third, &fourth], "a chain of four");
    // Its middle becomes the head; what is below stays connected.
    let full = count(&third, "sync_full");
    promote(&third);
    write(&third, 100, 200);
    assert_equal(&[&third, &fourth], "the lower half");
    // The upper half comes below.
    attach(&first, &fourth);
    await_link(&second);
    write(&third, 200, 300);
    assert_equal(&[&third, &fourth, &first, &second], "turned around");
    assert_eq!(count(&third, "sync_full"), full);
    assert_eq!(count(&fourth, "sync_full"), 0);
}

/// A replica in the middle that loses its primary keeps those below.
#[test]
fn a_chain_without_its_head() {
    let mut first = node(&[]);
    let second = replica_of(&first, &[]);
    let third = replica_of(&second, &[]);
    write(&first, 0, 50);
    assert_equal(&[&first, &second, &third], "a chain");
    first.kill9();
    crate::nodes::await_link_down(&second);
    // A replica without a primary has a stream to give, though nothing new.
    assert_eq!(field(&third, "role"), "slave");
    let fourth = node(&[]);
    follow(&fourth, second.port());
    eventually("it has asked", REPLY_TIMEOUT, || {
        fourth.log().contains("NOMASTERLINK") || field(&fourth, "master_link_status") == "up"
    });
    promote(&second);
    await_link(&third);
    await_link(&fourth);
    write(&second, 50, 100);
    assert_equal(&[&second, &third, &fourth], "without its head");
}

/// A new primary: all below, down the chain, get its data.
#[test]
fn a_chain_under_another_head() {
    let one = node(&[]);
    let two = node(&[]);
    write(&one, 0, 50);
    write(&two, 100, 170);
    let middle = replica_of(&one, &[]);
    let last = replica_of(&middle, &[]);
    assert_equal(&[&one, &middle, &last], "the first head");
    follow(&middle, two.port());
    await_link(&middle);
    write(&two, 170, 200);
    assert_equal(&[&two, &middle, &last], "the second head");
    assert_eq!(last.client().run("DBSIZE"), 100);
    assert_eq!(field(&last, "master_replid"), field(&two, "master_replid"));
}

/// A server that is its own primary, and two that are each other's.
#[test]
fn circles() {
    let server = node(&[]);
    server.client().run("SET a 1");
    follow(&server, server.port());
    let mut client = server.client();
    assert_eq!(client.run("PING"), simple("PONG"));
    assert_eq!(client.run("GET a"), "1");
    assert_eq!(field(&server, "master_link_status"), "down");
    promote(&server);
    assert_eq!(client.run("SET a 2"), simple("OK"));
    let one = node(&[]);
    let two = node(&[]);
    write(&one, 0, 10);
    write(&two, 0, 20);
    follow(&one, two.port());
    follow(&two, one.port());
    // Neither has a link, or they go round; in no case do they stop answering.
    for server in [&one, &two] {
        assert_eq!(server.client().run("PING"), simple("PONG"));
    }
    promote(&one);
    await_link(&two);
    assert_equal(&[&one, &two], "out of the circle");
}
