//! Tests of rules and users: what each rule does, how users read as rules again, and changes as a
//! whole.

use super::catalogue::Entry;
use super::rule::Refusal;
use super::selector::Selector;
use super::*;
use crate::server::config::Caller;
use crate::util::random::Rng;

const READ: u32 = 1;
const WRITE: u32 = 2;
const CONNECTION: u32 = 4;

/// Numbers of commands in the catalogue.
const GET: usize = 0;
const SET: usize = 1;
const CONFIG: usize = 2;
const CONFIG_GET: usize = 3;
const CONFIG_SET: usize = 4;
const SELECT: usize = 5;

fn catalogue() -> Catalogue {
    let entry = |name: &str, categories, subcommands| Entry {
        name: name.to_owned(),
        categories,
        subcommands,
    };
    Catalogue::new(
        vec![
            entry("get", READ, 0),
            entry("set", WRITE, 0),
            entry("config", 0, 2),
            entry("config|get", READ, 0),
            entry("config|set", WRITE, 0),
            entry("select", CONNECTION, 0),
        ],
        vec![(READ, "read"), (WRITE, "write"), (CONNECTION, "connection")],
    )
}

fn with_rules(rules: &[&str]) -> Result<Rights, Refusal> {
    let catalogue = catalogue();
    let terms = Terms {
        catalogue: &catalogue,
        all_channels: false,
    };
    let mut rights = Rights::new(terms);
    let merged = merge_selectors(rules).expect("every parenthesis is closed");
    for rule in merged {
        rights.apply(terms, &rule)?;
    }
    Ok(rights)
}

/// The root selector of a user with these rules.
fn root(rules: &[&str]) -> Selector {
    with_rules(rules).expect("rules").selectors()[0].clone()
}

fn described(rules: &[&str]) -> String {
    let text = with_rules(rules).expect("rules").describe();
    String::from_utf8(text).expect("text")
}

fn allowed(selector: &Selector) -> Vec<usize> {
    let all = GET..=SELECT;
    all.filter(|&id| selector.allows_command(id, None))
        .collect()
}

#[test]
fn commands_and_categories() {
    for (rules, ids) in [
        (&[][..], &[][..]),
        (&["+get"], &[GET]),
        (&["+@read"], &[GET, CONFIG_GET]),
        (&["+@all", "-@write"], &[GET, CONFIG, CONFIG_GET, SELECT]),
        (&["+config"], &[CONFIG, CONFIG_GET, CONFIG_SET]),
        (&["+config|GET"], &[CONFIG_GET]),
        (&["+config", "-config|set"], &[CONFIG, CONFIG_GET]),
        (&["allcommands", "-CONFIG"], &[GET, SET, SELECT]),
        (&["+get", "nocommands"], &[]),
        (&["+select|0"], &[]),
    ] {
        assert_eq!(allowed(&root(rules)), ids, "{rules:?}");
    }
}

#[test]
fn first_arguments() {
    let selector = root(&["+select|0", "+select|ab"]);
    let select = |argument: &str| selector.allows_command(SELECT, Some(argument.as_bytes()));
    assert!(select("0") && select("AB") && !select("1") && !select(""));
    assert!(!selector.allows_command(SELECT, None));
    assert!(selector.allows_command_somehow(SELECT) && !selector.allows_command_somehow(GET));
    for later in ["-select", "+select", "-@connection", "-@all", "+@all"] {
        let selector = root(&["+select|0", later]);
        let whole = later.starts_with('+');
        assert_eq!(
            selector.allows_command(SELECT, Some(b"0")),
            whole,
            "{later}"
        );
    }
}

#[test]
fn keys() {
    let selector = root(&["%R~r*", "%W~w*", "%rW~b*", "~a"]);
    let may = |key: &str, read, write| selector.allows_key(key.as_bytes(), read, write);
    assert!(may("r1", true, false) && !may("r1", false, true) && may("r1", false, false));
    assert!(may("w1", false, true) && !may("w1", true, false));
    assert!(may("b1", true, true) && may("a", true, true) && !may("x", false, false));
    assert!(!selector.allows_reading_all_keys());
    assert!(root(&["%R~*"]).allows_reading_all_keys());
    assert!(!root(&["%W~*"]).allows_reading_all_keys());
    assert!(root(&["%R~*", "%W~*"]).allows_key(b"x", true, true));
    // What may be read under one pattern and written under another may not be both.
    assert!(!root(&["%R~x*", "%W~*x"]).allows_key(b"xx", true, true));
    assert!(!root(&["allkeys", "resetkeys"]).allows_key(b"x", false, false));
}

#[test]
fn channels() {
    let selector = root(&["&news:*", "&a"]);
    assert!(selector.allows_channel(b"news:1", false) && selector.allows_channel(b"a", false));
    assert!(!selector.allows_channel(b"b", false));
    assert!(selector.allows_channel(b"news:*", true) && !selector.allows_channel(b"news:1", true));
    assert!(root(&["&*"]).allows_channel(b"x*", true));
    assert!(!root(&["&*", "resetchannels"]).allows_channel(b"x", false));
}

#[test]
fn refusals() {
    for (rules, refusal) in [
        (&["+nope"][..], Refusal::Unknown),
        (&["-nope"], Refusal::Unknown),
        (&["+@nope"], Refusal::Unknown),
        (&["+config|nope"], Refusal::Unknown),
        (&["-select|0"], Refusal::Unknown),
        (&["+get|a|b"], Refusal::Unknown),
        (&["+config|get|x"], Refusal::FirstArgument),
        (&["+config|"], Refusal::Syntax),
        (&["+select|a b"], Refusal::Syntax),
        (&["nonsense"], Refusal::Syntax),
        (&["%~x"], Refusal::Syntax),
        (&["%RR~x"], Refusal::Syntax),
        (&["%X~x"], Refusal::Syntax),
        (&["%"], Refusal::Syntax),
        (&["~a b"], Refusal::Syntax),
        (&["&a\tb"], Refusal::Syntax),
        (&["~a\0b"], Refusal::Syntax),
        (&["~*", "~a"], Refusal::AllKeys),
        (&["&*", "&a"], Refusal::AllChannels),
        (&["<x"], Refusal::NoSuchPassword),
        (&["#12"], Refusal::BadDigest),
        (&["!zz"], Refusal::BadDigest),
        (&["(+nope)"], Refusal::Unknown),
        (&["(>x)"], Refusal::Syntax),
        (&[")"], Refusal::Syntax),
        (&[" () "], Refusal::Syntax),
    ] {
        assert_eq!(with_rules(rules), Err(refusal), "{rules:?}");
    }
    // Without quotes that match, a selector holds no rules.
    assert_eq!(described(&["(~a\"b)"]), described(&["()"]));
}

#[test]
fn descriptions() {
    let start = "off sanitize-payload";
    for (rules, text) in [
        (&[][..], "resetchannels -@all"),
        (&["+@all", "~*", "&*"], "~* &* +@all"),
        (
            &["+get", "+@write", "-set"],
            "resetchannels -@all +get +@write -set",
        ),
        // A later rule makes up for an earlier one about the same or a part of it.
        (&["+get", "+set", "-get"], "resetchannels -@all +set -get"),
        (
            &["+config|get", "+set", "+config"],
            "resetchannels -@all +set +config",
        ),
        (&["+get", "+@ALL"], "resetchannels +@all"),
        (&["+@all", "+CONFIG|Get"], "resetchannels +@all +config|get"),
        (
            &["%R~a", "%W~a", "%W~b", "&x", "&x"],
            "~a %W~b resetchannels &x -@all",
        ),
        (
            &["(+get", "~a)", "(&*)"],
            "resetchannels -@all (~a resetchannels -@all +get) (&* -@all)",
        ),
    ] {
        assert_eq!(described(rules), format!("{start} {text}"), "{rules:?}");
    }
    let flags = described(&["on", "nopass", "skip-sanitize-payload"]);
    assert_eq!(flags, "on nopass skip-sanitize-payload resetchannels -@all");
}

#[test]
fn passwords() {
    let rights = with_rules(&["on", ">a", ">b", ">a"]).expect("rules");
    assert_eq!(rights.passwords().len(), 2);
    assert!(rights.admits(&digest(b"a")) && rights.admits(&digest(b"b")));
    assert!(!rights.admits(&digest(b"c")) && !rights.admits(&digest(b"")));
    let text = String::from_utf8(digest(b"a").to_vec()).expect("digits");
    let added = with_rules(&["on", &format!("#{text}")]).expect("rules");
    assert!(added.admits(&digest(b"a")));
    let removed = with_rules(&["on", ">a", &format!("!{text}")]).expect("rules");
    assert!(!removed.admits(&digest(b"a")));
    assert!(!with_rules(&[">a"]).expect("rules").admits(&digest(b"a")));
    let any = with_rules(&["on", ">a", "nopass"]).expect("rules");
    assert!(any.admits(&digest(b"x")) && any.passwords().is_empty());
    // To have a password is to need one.
    let one = with_rules(&["on", "nopass", ">a"]).expect("rules");
    assert!(!one.admits(&digest(b"x")));
}

#[test]
fn channels_that_are_lost() {
    let lost = |before: &[&str], after: &[&str]| {
        let (before, after) = (with_rules(before), with_rules(after));
        let (before, after) = (before.expect("rules"), after.expect("rules"));
        after.channels_left(&before).map(|left| left.len())
    };
    assert_eq!(lost(&["&a"], &["&a", "&b"]), None);
    assert_eq!(lost(&["&a"], &["&*"]), None);
    assert_eq!(lost(&["&a", "&b"], &["&a"]), Some(1));
    assert_eq!(lost(&["&*"], &["&a", "(&b)"]), Some(2));
    assert_eq!(lost(&["(&*)"], &[]), Some(0));
    assert_eq!(lost(&[], &[]), None);
}

fn acl(config: &Config) -> Acl {
    Acl::new(catalogue(), config)
}

#[test]
fn changes_are_whole() {
    let config = Config::new();
    let acl = acl(&config);
    let version = acl.version();
    assert!(
        acl.set_user(&config, b"alice", &["on", "nonsense"])
            .is_err()
    );
    assert!(acl.get(b"alice").is_none());
    assert_eq!(acl.version(), version);
    assert!(
        acl.set_user(&config, b"alice", &["on", ">x"])
            .is_ok_and(|change| change.is_none())
    );
    assert!(acl.version() > version);
    let alice = acl.get(b"alice").expect("a user");
    let before = alice.rights();
    let error = acl.set_user(&config, b"alice", &["off", "<y"]).err();
    let text = "Error in ACL SETUSER modifier '<y': The password you are trying to remove from the user \
                does not exist";
    assert_eq!(error.as_deref(), Some(text.as_bytes()));
    assert_eq!(alice.rights(), before);
    let error = acl
        .set_user(&config, b"alice", &["off", "(+get", "~x"])
        .err();
    let text = "Unmatched parenthesis in acl selector starting at '(+get'.";
    assert_eq!(error.as_deref(), Some(text.as_bytes()));
    assert!(acl.log_in(b"alice", b"x").is_some() && acl.log_in(b"alice", b"y").is_none());
    assert!(acl.log_in(b"bob", b"x").is_none());
    assert!(acl.delete(b"default").is_none() && acl.delete(b"alice").is_some());
    assert!(alice.is_deleted() && acl.log_in(b"alice", b"x").is_none());
}

#[test]
fn the_default_user_and_its_password() {
    let config = Config::new();
    let pairs = [(&b"requirepass"[..], &b"sesame"[..])];
    let set = config.set(&pairs, Caller::default(), &mut |_| Ok(()));
    assert!(set.is_ok());
    let acl = acl(&config);
    assert!(acl.is_closed());
    assert!(acl.log_in(b"default", b"sesame").is_some());
    assert!(acl.log_in(b"default", b"").is_none());
    acl.set_default_password(b"");
    assert!(!acl.is_closed());
    assert!(acl.default_user().rights().is_unrestricted());
    assert!(acl.set_user(&config, b"default", &["off"]).is_ok());
    assert!(acl.is_closed());
}

#[test]
fn declarations() {
    let check = |lines: &[&str]| {
        let words = |line: &&str| {
            let words = line.split(' ');
            words.map(|word| word.as_bytes().to_vec()).collect()
        };
        file::check(&lines.iter().map(words).collect::<Vec<_>>())
    };
    assert_eq!(check(&["user a on +anything", "user b (+get ~x)"]), Ok(()));
    let twice = "Error in user declaration 'a': Duplicate user found. A user can only be defined once \
                 in config files";
    assert_eq!(
        check(&["user a", "user b", "user a"]),
        Err((2, twice.to_owned()))
    );
    let wrong = "Error in user declaration 'a': Syntax error";
    assert_eq!(check(&["user a on nonsense"]), Err((0, wrong.to_owned())));
}

/// What a user is listed as makes the same user again.
#[test]
fn listed_users_read_back() {
    const SEED: [u64; 2] = [42, 7];
    const ROUNDS: usize = 4000;
    const RULES: &[&str] = &[
        "on",
        "off",
        "nopass",
        "resetpass",
        ">one",
        ">two",
        "<one",
        "sanitize-payload",
        "skip-sanitize-payload",
        "clearselectors",
        "reset",
        "~*",
        "allkeys",
        "resetkeys",
        "~a*",
        "%R~a*",
        "%W~a*",
        "%R~*",
        "%rw~b",
        "~[x-z]?",
        "&*",
        "allchannels",
        "resetchannels",
        "&a",
        "&news:*",
        "+@all",
        "-@all",
        "allcommands",
        "nocommands",
        "+@read",
        "-@read",
        "+@write",
        "-@write",
        "-@connection",
        "+get",
        "-get",
        "+set",
        "-SET",
        "+config",
        "-config",
        "+config|get",
        "-config|get",
        "+config|set",
        "-config|set",
        "+select",
        "-select",
        "+select|0",
        "+select|One",
        "+get|k",
        "+nope",
        "nonsense",
        "(+@all ~s* &s)",
        "(%W~w +config|set resetchannels)",
        "()",
        "(+select|0 -@connection)",
    ];
    let catalogue = catalogue();
    let mut rng = Rng::new(SEED);
    for round in 0..ROUNDS {
        let terms = Terms {
            catalogue: &catalogue,
            all_channels: rng.below(2) == 0,
        };
        let mut rights = Rights::new(terms);
        for _ in 0..rng.below(12) {
            // One that is refused changes nothing.
            let before = rights.clone();
            let rule = RULES[rng.index(RULES.len())];
            if rights.apply(terms, rule.as_bytes()).is_err() {
                assert_eq!(rights, before, "{rule}");
            }
        }
        let text = rights.describe();
        let words: Vec<&[u8]> = text.split(|&b| b == b' ').collect();
        let merged = merge_selectors(&words).expect("parentheses that match");
        let mut again = Rights::new(terms);
        for rule in merged {
            let applied = again.apply(terms, &rule);
            let shown = String::from_utf8_lossy(&text);
            assert_eq!(applied, Ok(()), "round {round}: {shown}");
        }
        assert_eq!(
            String::from_utf8_lossy(&again.describe()),
            String::from_utf8_lossy(&text),
            "round {round}"
        );
        for (a, b) in rights.selectors().iter().zip(again.selectors()) {
            for id in 0..catalogue.len() {
                for argument in [None, Some(&b"0"[..]), Some(b"k"), Some(b"one")] {
                    let both = [a, b].map(|one| one.allows_command(id, argument));
                    assert_eq!(both[0], both[1], "round {round}: {id} {argument:?}");
                }
            }
        }
    }
}
