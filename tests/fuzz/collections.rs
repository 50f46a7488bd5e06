//! Requests for the collections, bitmaps and HyperLogLogs, as a client would send them: from
//! patterns, so that most of them reach the data, and then nearly right.
//!
//! Keys come from a small pool of each type and counts below zero are small, so that neither data
//! nor replies outgrow what a test may take.

use crate::generate;
use crate::support::Random;

/// One request a line. `[ … ]` is there or not, `a|b` is one of these, `*` repeats what it stands
/// behind up to five times, and a word with `$` stands for something that [`word`] draws.
const PATTERNS: &str = "
    LPUSH|RPUSH|LPUSHX|RPUSHX $list $value $value*
    RPUSH $list $value $value $value* $big
    LPOP|RPOP $list [ $count ]
    LRANGE|LTRIM $list $index $index
    LINDEX $list $index
    LSET $list $index $value
    LINSERT $list BEFORE|AFTER $value $value
    LREM $list $count $value
    LLEN $list
    LPOS $list $value [ RANK $index ] [ COUNT $count ] [ MAXLEN $count ]
    LMOVE $list $list LEFT|RIGHT LEFT|RIGHT
    RPOPLPUSH $list $list
    LMPOP 2 $list $list LEFT|RIGHT [ COUNT $count ]
    SADD|SREM $set $member $member*
    SADD $set $number $number* $number*
    SADD $set $member $big
    SMEMBERS|SCARD $set
    SISMEMBER $set $member
    SMISMEMBER $set $member $member*
    SPOP|SRANDMEMBER $set [ $count ]
    SMOVE $set $set $member
    SINTER|SUNION|SDIFF $set $set*
    SINTERSTORE|SUNIONSTORE|SDIFFSTORE $set $set $set*
    SINTERCARD 2 $set $set [ LIMIT $count ]
    SSCAN $set $cursor [ MATCH $glob ] [ COUNT $count ]
    ZADD $zset [ NX|XX ] [ GT|LT ] [ CH ] $scored $scored*
    ZADD $zset INCR $scored
    ZADD $zset $score $big
    ZINCRBY $zset $scored
    ZREM|ZMSCORE $zset $member $member*
    ZSCORE $zset $member
    ZRANK|ZREVRANK $zset $member [ WITHSCORE ]
    ZCARD $zset
    ZCOUNT|ZREMRANGEBYSCORE $zset $bound $bound
    ZLEXCOUNT|ZREMRANGEBYLEX $zset $lex $lex
    ZREMRANGEBYRANK $zset $index $index
    ZRANGE $zset $index $index [ REV ] [ WITHSCORES ]
    ZRANGE $zset $bound $bound BYSCORE [ REV ] [ LIMIT $index $count ] [ WITHSCORES ]
    ZRANGE $zset $lex $lex BYLEX [ REV ] [ LIMIT $index $count ]
    ZREVRANGE $zset $index $index [ WITHSCORES ]
    ZRANGEBYSCORE|ZREVRANGEBYSCORE $zset $bound $bound [ WITHSCORES ] [ LIMIT $index $count ]
    ZRANGEBYLEX|ZREVRANGEBYLEX $zset $lex $lex [ LIMIT $index $count ]
    ZRANGESTORE $zset $zset $index $index [ REV ]
    ZRANGESTORE $zset $zset $bound $bound BYSCORE [ LIMIT $index $count ]
    ZPOPMIN|ZPOPMAX $zset [ $count ]
    ZMPOP 2 $zset $zset MIN|MAX [ COUNT $count ]
    ZRANDMEMBER $zset [ $count ]
    ZRANDMEMBER $zset $count WITHSCORES
    ZUNION|ZINTER 2 $zset $set [ WEIGHTS $score $score ] [ AGGREGATE SUM|MIN|MAX ] [ WITHSCORES ]
    ZUNIONSTORE|ZINTERSTORE $zset 2 $zset $zset [ WEIGHTS $score $score ] [ AGGREGATE SUM|MIN|MAX ]
    ZDIFF 2 $zset $zset [ WITHSCORES ]
    ZDIFFSTORE $zset 2 $zset $zset
    ZINTERCARD 2 $zset $zset [ LIMIT $count ]
    ZSCAN $zset $cursor [ MATCH $glob ] [ COUNT $count ]
    HSET|HMSET $hash $member $value
    HSET $hash $member $big $member $number
    HSETNX $hash $member $value
    HGET|HEXISTS|HSTRLEN $hash $member
    HMGET|HDEL $hash $member $member*
    HGETALL|HKEYS|HVALS|HLEN $hash
    HINCRBY $hash $member $number
    HINCRBYFLOAT $hash $member $score
    HRANDFIELD $hash [ $count ]
    HRANDFIELD $hash $count WITHVALUES
    HSCAN $hash $cursor [ MATCH $glob ] [ COUNT $count ] [ NOVALUES ]
    HEXPIRE|HPEXPIRE $hash $count [ NX|XX|GT|LT ] FIELDS 2 $member $member
    HTTL|HPTTL|HPERSIST|HEXPIRETIME $hash FIELDS 1 $member
    GEOADD $geo [ NX|XX ] [ CH ] $place
    GEOADD $geo $place $place $place
    GEODIST $geo $member $member [ $unit ]
    GEOHASH|GEOPOS $geo $member $member*
    GEOSEARCH $geo FROMMEMBER $member BYRADIUS $radius $unit [ ASC|DESC ] [ COUNT $count ] [ WITHCOORD ] [ WITHDIST ] [ WITHHASH ]
    GEOSEARCH $geo FROMLONLAT $lonlat BYBOX $radius $radius $unit [ COUNT $count ANY ]
    GEOSEARCHSTORE $geo $geo FROMLONLAT $lonlat BYRADIUS $radius $unit [ STOREDIST ]
    GEORADIUS $geo $lonlat $radius $unit [ WITHDIST ] [ COUNT $count ] [ STORE|STOREDIST $geo ]
    GEORADIUSBYMEMBER $geo $member $radius $unit [ ASC|DESC ]
    SETBIT $bits $bit 0|1
    GETBIT $bits $bit
    BITCOUNT $bits [ $index $index ]
    BITCOUNT $bits $index $index BIT|BYTE
    BITPOS $bits 0|1 [ $index ]
    BITPOS $bits 0|1 $index $index [ BIT|BYTE ]
    BITOP AND|OR|XOR $bits $bits $bits*
    BITOP NOT $bits $bits
    BITFIELD $bits $field*
    BITFIELD $bits OVERFLOW WRAP|SAT|FAIL $field $field
    BITFIELD_RO $bits GET $width $bit
    SETRANGE $bits $offset $value
    APPEND $bits $big
    GETRANGE $bits $index $index
    PFADD $hll $value*
    PFADD $hll $member $number $number*
    PFCOUNT $hll
    PFCOUNT $hll $hll $hll*
    PFMERGE $hll $hll*
    PFDEBUG GETREG|DECODE|ENCODING|TODENSE $hll
    SETRANGE $hll $index $member
    SETRANGE $hll 8 $big
    SORT $list|$set|$zset [ BY $glob ] [ LIMIT $index $count ] [ GET $glob ] [ ASC|DESC ] [ ALPHA ] [ STORE $list ]
    SORT_RO $list [ ALPHA ]
    OBJECT ENCODING $list|$set|$zset|$hash|$bits|$hll
    COPY|RENAME $list|$set|$zset|$hash $list|$set|$zset|$hash
    EXPIRE|PEXPIRE $list|$set|$zset|$hash $count
    PERSIST $list|$set|$zset|$hash
    DEL|UNLINK $list|$set|$zset|$hash|$geo|$bits|$hll
    MEMORY USAGE $list|$set|$zset|$hash
";

/// One request, now and then with something wrong in it.
pub fn request(random: &mut Random) -> Vec<Vec<u8>> {
    let patterns: Vec<&str> = PATTERNS.trim().lines().collect();
    let pattern = *random.pick(&patterns);
    if random.below(1000) == 0 {
        return vec![b"FLUSHALL".to_vec()];
    }
    let mut words = expand(random, pattern);
    if random.below(5) == 0 {
        let at = random.below(words.len() as u64) as usize;
        match random.below(4) {
            0 => drop(words.remove(at)),
            1 => words.insert(at, words[at].clone()),
            2 => words[at] = generate::argument(random),
            _ => words.push(generate::argument(random)),
        }
    }
    words
}

fn expand(random: &mut Random, pattern: &str) -> Vec<Vec<u8>> {
    let mut words = Vec::new();
    let mut skips = false;
    for token in pattern.split_whitespace() {
        match token {
            "[" => skips = random.below(2) == 0,
            "]" => skips = false,
            _ if skips => {}
            _ => {
                let (token, times) = match token.strip_suffix('*') {
                    Some(token) => (token, random.below(6)),
                    None => (token, 1),
                };
                for _ in 0..times {
                    let choices: Vec<&str> = token.split('|').collect();
                    let chosen = *random.pick(&choices);
                    // What stands for several words has spaces between them.
                    let drawn = word(random, chosen);
                    match chosen {
                        "$big" => words.push(drawn.into_bytes()),
                        _ => words.extend(drawn.split(' ').map(|one| one.as_bytes().to_vec())),
                    }
                }
            }
        }
    }
    words
}

fn of(random: &mut Random, choices: &str) -> String {
    let choices: Vec<&str> = choices.split(' ').collect();
    (*random.pick(&choices)).to_string()
}

/// What a word of a pattern stands for; one without `$` is meant as it is.
fn word(random: &mut Random, token: &str) -> String {
    const KINDS: [&str; 7] = ["list", "set", "zset", "hash", "geo", "bits", "hll"];
    let Some(name) = token.strip_prefix('$') else {
        return token.to_string();
    };
    match name {
        "value" | "member" => match random.below(3) {
            0 => of(random, "a b c d 1 -1 7"),
            _ => format!("m{}", random.below(300)),
        },
        "number" => match random.below(4) {
            0 => of(
                random,
                "0 -1 32767 32768 2147483648 9223372036854775807 -9223372036854775808",
            ),
            _ => random.below(2000).to_string(),
        },
        "big" => "x".repeat(random.below(3000) as usize),
        "count" => of(
            random,
            "0 1 2 3 10 100 1000 -1 -2 -30 9223372036854775807 -9223372036854775808",
        ),
        "index" => of(
            random,
            "0 1 2 3 8 15 16 100 -1 -2 -3 -100 9223372036854775807 -9223372036854775808",
        ),
        "score" => of(
            random,
            "0 1 -1 1.5 2 3 10 1e10 -1e300 1e300 inf -inf nan 0.1",
        ),
        "scored" => format!("{} {}", word(random, "$score"), word(random, "$member")),
        "bound" => of(random, "-inf +inf 0 (0 1 (1.5 3 (3 10 1e10 (inf nan ("),
        "lex" => of(random, "- + [a (a [m1 (m2 [m9 [ ( m"),
        "cursor" => of(random, "0 0 0 1 17 9223372036854775808"),
        "glob" => of(random, "* m* m?* [a-c] m[^1]* # nokey *->a h*->m1 \\"),
        "unit" => of(random, "m km mi ft yd"),
        "radius" => of(random, "0 1 100 5000.5 1e7 -1 inf"),
        "lonlat" => {
            let (longitude, latitude) = (random.below(400), random.below(200));
            let half = |number: u64, middle: f64| number as f64 - middle;
            format!("{} {}", half(longitude, 200.0), half(latitude, 100.0) * 0.9)
        }
        "place" => format!("{} {}", word(random, "$lonlat"), word(random, "$member")),
        "offset" => of(random, "0 1 100 70000 1048000 1048576 536870911 -1"),
        "bit" => of(
            random,
            "0 1 7 8 100 #3 5000 8388600 8388607 8388608 4294967295 4294967296 -1 #-1",
        ),
        "width" => of(random, "u1 u8 i8 i5 u63 i64 u64 i65 u0 i16"),
        "field" => {
            let (width, bit) = (word(random, "$width"), word(random, "$bit"));
            match random.below(3) {
                0 => format!("GET {width} {bit}"),
                1 => format!("SET {width} {bit} {}", word(random, "$number")),
                _ => format!("INCRBY {width} {bit} {}", word(random, "$number")),
            }
        }
        kind => {
            // Now and then a key that holds something else.
            let kind = match random.below(12) {
                0 => *random.pick(&KINDS),
                _ => kind,
            };
            format!("{kind}{}", random.below(3))
        }
    }
}
