//! The geo commands, over the wire: replies in both protocols, what is stored and how, searches of
//! every size. What is the same in Redis 7.0 byte for byte is in the differential scripts.
//! <https://redis.io/docs/latest/commands/?group=geo>

mod support;

use std::sync::OnceLock;
use support::{Client, NULL, Random, Server, Shared, Value, error};

static SERVER: OnceLock<Server> = OnceLock::new();

fn server() -> Shared {
    Shared::of(&SERVER, &[])
}

const SICILY: &str = "13.361389 38.115556 Palermo 15.087269 37.502669 Catania";

#[track_caller]
fn fails(c: &mut Client, line: &str, text: &str) {
    assert_eq!(c.run(line), error(text), "{line}");
}

/// Adds `count` members on a line along the equator, a hundredth of a degree from each other.
fn add_line(c: &mut Client, key: &str, count: usize) {
    for number in 0..count {
        let longitude = format!("{:.2}", number as f64 / 100.0);
        c.cmd(&["GEOADD", key, &longitude, "0", &format!("m{number}")]);
    }
}

#[test]
fn replies_in_both_protocols() {
    let s = server();
    let mut c = s.client();
    let mut c3 = s.client3();
    assert_eq!(c.run(&format!("GEOADD both {SICILY}")), 2);
    assert_eq!(
        c.cmd_raw(&["GEOPOS", "both", "Palermo", "none"]),
        b"*2\r\n*2\r\n$20\r\n13.36138933897018433\r\n$20\r\n38.11555639549629859\r\n*-1\r\n"
    );
    assert_eq!(
        c3.cmd_raw(&["GEOPOS", "both", "Palermo", "none"]),
        b"*2\r\n*2\r\n,13.36138933897018433\r\n,38.11555639549629859\r\n_\r\n"
    );
    // Distances are bulk strings in RESP3 as well.
    for c in [&mut c, &mut c3] {
        assert_eq!(
            c.cmd_raw(&["GEODIST", "both", "Palermo", "Catania"]),
            b"$11\r\n166274.1516\r\n"
        );
        assert_eq!(c.run("GEODIST both Palermo none"), NULL);
        assert_eq!(
            c.run("GEOHASH both Palermo none"),
            Value::Array(vec![Value::from("sqc8b49rny0"), NULL])
        );
        assert_eq!(
            c.run("GEOSEARCH both FROMLONLAT 15 37 BYRADIUS 200 km ASC COUNT 1 WITHDIST WITHHASH"),
            Value::Array(vec![Value::Array(vec![
                Value::from("Catania"),
                Value::from("56.4413"),
                Value::Int(3_479_447_370_796_909),
            ])])
        );
    }
}

#[test]
fn errors() {
    let s = server();
    let mut c = s.client();
    c.run(&format!("GEOADD errors {SICILY}"));
    for (line, text) in [
        (
            "GEOADD errors 200 100 a",
            "ERR invalid longitude,latitude pair 200.000000,100.000000",
        ),
        ("GEOADD errors NX XX 1 1 a", "ERR syntax error"),
        ("GEOADD errors 1 1 a 2", "ERR syntax error"),
        ("GEOADD errors 1 x a", "ERR value is not a valid float"),
        (
            "GEODIST errors a b yd",
            "ERR unsupported unit provided. please use M, KM, FT, MI",
        ),
        (
            "GEOSEARCH errors FROMMEMBER none BYRADIUS 1 m",
            "ERR could not decode requested zset member",
        ),
        (
            "gEOSearch errors BYRADIUS 1 m ASC ASC",
            "ERR exactly one of FROMMEMBER or FROMLONLAT can be specified for gEOSearch",
        ),
        (
            "GEOSEARCHSTORE to errors FROMLONLAT 1 1 BYRADIUS 1 m WITHDIST",
            "ERR GEOSEARCHSTORE is not compatible with WITHDIST, WITHHASH and WITHCOORD options",
        ),
        (
            "GEORADIUS errors 1 1 1 m STORE to WITHDIST",
            "ERR STORE option in GEORADIUS is not compatible with WITHDIST, WITHHASH and WITHCOORD \
                options",
        ),
        (
            "GEORADIUS errors 1 1 1 m ANY",
            "ERR the ANY argument requires COUNT argument",
        ),
        ("GEORADIUS errors 1 1 1 m COUNT 0", "ERR COUNT must be > 0"),
        ("GEORADIUS errors 1 1 -1 m", "ERR radius cannot be negative"),
        ("GEORADIUS errors 1 1 x m", "ERR need numeric radius"),
        ("GEORADIUS_RO errors 1 1 1 m STORE to", "ERR syntax error"),
    ] {
        fails(&mut c, line, text);
    }
}

#[test]
fn results_are_stored_packed_where_they_are_small() {
    // A server of its own: it changes the configuration.
    let s = Server::start();
    let mut c = s.client();
    add_line(&mut c, "line", 300);
    assert_eq!(c.run("OBJECT ENCODING line"), "skiplist");
    let store = "GEOSEARCHSTORE to line FROMLONLAT 0 0 BYRADIUS 1000 km ASC COUNT";
    for (count, encoding) in [(128, "listpack"), (129, "skiplist")] {
        assert_eq!(c.run(&format!("{store} {count}")), count);
        assert_eq!(c.run("OBJECT ENCODING to"), encoding, "{count}");
        assert_eq!(c.run("ZCARD to"), count);
    }
    c.run("CONFIG SET zset-max-listpack-value 3");
    assert_eq!(c.run(&format!("{store} 100")), 100);
    assert_eq!(c.run("OBJECT ENCODING to"), "listpack", "m99 is short");
    assert_eq!(c.run(&format!("{store} 101")), 101);
    assert_eq!(c.run("OBJECT ENCODING to"), "skiplist", "m100 is not");
    // What was stored can be searched again.
    assert_eq!(
        c.run("GEORADIUSBYMEMBER to m50 1.2 km").sorted(),
        ["m49", "m50", "m51"]
    );
}

#[test]
fn the_last_store_counts() {
    let s = server();
    let mut c = s.client();
    add_line(&mut c, "last", 10);
    // The keys lie in different shards, so this needs the lock of the right one.
    for number in 0..50 {
        let (first, second) = (format!("last:a{number}"), format!("last:b{number}"));
        let line = format!("GEORADIUS last 0 0 3 km STORE {first} STOREDIST x STORE {second}");
        assert_eq!(c.run(&line), 3);
        assert_eq!(c.cmd(&["EXISTS", &first, "x", &second]), 1);
        assert_eq!(c.cmd(&["ZCARD", &second]), 3);
        let line =
            format!("GEORADIUSBYMEMBER last m0 3 km COUNT 1 STOREDIST {second} STORE {first}");
        assert_eq!(c.run(&line), 1);
        assert_eq!(c.cmd(&["ZCARD", &first]), 1);
    }
}

#[test]
fn storing_keeps_no_expiry_and_an_empty_result_deletes() {
    let s = server();
    let mut c = s.client();
    add_line(&mut c, "ttl", 5);
    c.run("SET ttl:to x EX 1000");
    assert_eq!(
        c.run("GEOSEARCHSTORE ttl:to ttl FROMMEMBER m0 BYRADIUS 10 km"),
        5
    );
    assert_eq!(c.run("TTL ttl:to"), -1);
    assert_eq!(c.run("TYPE ttl:to"), "zset");
    assert_eq!(
        c.run("GEOSEARCHSTORE ttl:to ttl FROMLONLAT 90 0 BYRADIUS 10 km"),
        0
    );
    assert_eq!(c.run("EXISTS ttl:to"), 0);
}

#[test]
fn counts_beyond_everything() {
    let s = server();
    let mut c = s.client();
    add_line(&mut c, "counts", 20);
    let search = "GEOSEARCH counts FROMMEMBER m0 BYRADIUS 100 km";
    for count in ["4611686018427387904", "9223372036854775807"] {
        for any in ["", "ANY"] {
            let found = c.run(&format!("{search} COUNT {count} {any}"));
            assert_eq!(found.items().len(), 20);
        }
    }
}

/// The positions of random members, asked of the server, and the members within a circle.
#[test]
fn searches_find_what_is_there() {
    let s = server();
    let mut c = s.client();
    let mut random = Random::new(11);
    let mut degrees = |least: f64, most: f64| {
        let part = random.below(1_000_000) as f64 / 1e6;
        least + part * (most - least)
    };
    for number in 0..500 {
        let (longitude, latitude) = (degrees(5.0, 15.0), degrees(40.0, 50.0));
        let position = [format!("{longitude:.6}"), format!("{latitude:.6}")];
        let member = format!("m{number}");
        c.cmd(&["GEOADD", "all", &position[0], &position[1], &member]);
    }
    for number in 0..40 {
        let center = format!("m{number}");
        let radius = 10.0 * f64::from(number + 1);
        let mut expected: Vec<(f64, String)> = (0..500)
            .map(|other| format!("m{other}"))
            .map(|other| {
                let distance = c.cmd(&["GEODIST", "all", &center, &other, "km"]);
                (distance.text().parse().expect("a distance"), other)
            })
            .filter(|(distance, _)| *distance <= radius)
            .collect();
        expected.sort_by(|a, b| a.0.total_cmp(&b.0));
        let radius = radius.to_string();
        let search = [
            "GEOSEARCH",
            "all",
            "FROMMEMBER",
            &center,
            "BYRADIUS",
            &radius,
            "km",
        ];
        let found = c.cmd(&[&search[..], &["WITHDIST", "ASC"]].concat());
        let found: Vec<f64> = found
            .items()
            .iter()
            .map(|pair| pair.items()[1].text().parse().expect("a distance"))
            .collect();
        let distances: Vec<f64> = expected.iter().map(|pair| pair.0).collect();
        assert_eq!(found, distances, "{center} {radius}");
        let nearest = c.cmd(&[&search[..], &["COUNT", "3"]].concat()).texts();
        let names: Vec<&str> = expected.iter().map(|pair| &pair.1[..]).take(3).collect();
        assert_eq!(nearest, names);
    }
}
