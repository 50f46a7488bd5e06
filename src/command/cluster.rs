//! The commands of a cluster, which this server does not form: all are refused as Redis refuses them
//! with `cluster-enabled no`, so that clients find out what they are talking to.
//! <https://redis.io/docs/latest/commands/?group=cluster>

use super::error::{Error, Outcome};
use super::spec::*;
use super::{Args, Ctx};

/// The rows of this family.
pub const COMMANDS: &[Command] = &[
    Command::new("asking", 1, refuse)
        .flags(FAST)
        .acl(CAT_CONNECTION)
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(1)",
            "Follows a redirection to a node that is taking the slot over",
        ),
    Command::new("cluster", -2, super::container)
        .docs(
            Group::Cluster,
            "3.0.0",
            "Depends on the subcommand",
            "Groups the commands about the cluster",
        )
        .subcommands(SUBCOMMANDS),
    Command::new("readonly", 1, refuse)
        .flags(LOADING.or(STALE).or(FAST))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(1)",
            "Lets the connection read from a replica of a cluster",
        ),
    Command::new("readwrite", 1, refuse)
        .flags(LOADING.or(STALE).or(FAST))
        .acl(CAT_CONNECTION)
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(1)",
            "Has reads of the connection go to primaries again",
        ),
];

const SUBCOMMANDS: &[Command] = &[
    Command::new("addslots", -3, refuse)
        .flags(ADMIN.or(STALE).or(NO_ASYNC_LOADING))
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(N), N the number of slots",
            "Takes hash slots over",
        )
        .args("slot:integer..."),
    Command::new("addslotsrange", -4, refuse)
        .flags(ADMIN.or(STALE).or(NO_ASYNC_LOADING))
        .docs(
            Group::Cluster,
            "7.0.0",
            "O(N), N the number of slots",
            "Takes ranges of hash slots over",
        )
        .args("start-slot_end-slot:{start-slot:integer end-slot:integer}..."),
    Command::new("bumpepoch", 2, refuse)
        .flags(ADMIN.or(STALE).or(NO_ASYNC_LOADING))
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(1)",
            "Raises the epoch of the configuration",
        )
        .tips(&["nondeterministic_output"]),
    Command::new("count-failure-reports", 3, refuse)
        .flags(ADMIN.or(STALE))
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(N), N the number of reports",
            "Counts the reports that a node has failed",
        )
        .args("node-id")
        .tips(&["nondeterministic_output"]),
    Command::new("countkeysinslot", 3, refuse)
        .flags(STALE)
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(1)",
            "Counts the keys of a hash slot",
        )
        .args("slot:integer"),
    Command::new("delslots", -3, refuse)
        .flags(ADMIN.or(STALE).or(NO_ASYNC_LOADING))
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(N), N the number of slots",
            "Gives hash slots up",
        )
        .args("slot:integer..."),
    Command::new("delslotsrange", -4, refuse)
        .flags(ADMIN.or(STALE).or(NO_ASYNC_LOADING))
        .docs(
            Group::Cluster,
            "7.0.0",
            "O(N), N the number of slots",
            "Gives ranges of hash slots up",
        )
        .args("start-slot_end-slot:{start-slot:integer end-slot:integer}..."),
    Command::new("failover", -2, refuse)
        .flags(ADMIN.or(STALE).or(NO_ASYNC_LOADING))
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(1)",
            "Has a replica take its primary's place",
        )
        .args("[options:(FORCE | TAKEOVER)]"),
    Command::new("flushslots", 2, refuse)
        .flags(ADMIN.or(STALE).or(NO_ASYNC_LOADING))
        .docs(Group::Cluster, "3.0.0", "O(1)", "Gives all hash slots up"),
    Command::new("forget", 3, refuse)
        .flags(ADMIN.or(STALE).or(NO_ASYNC_LOADING))
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(1)",
            "Removes a node from those known",
        )
        .args("node-id"),
    Command::new("getkeysinslot", 4, refuse)
        .flags(STALE)
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(log(N)), N the number of keys asked for",
            "Tells keys of a hash slot",
        )
        .args("slot:integer count:integer")
        .tips(&["nondeterministic_output"]),
    Command::new("help", 2, refuse)
        .flags(LOADING.or(STALE))
        .docs(
            Group::Cluster,
            "5.0.0",
            "O(1)",
            "Lists the CLUSTER subcommands",
        ),
    Command::new("info", 2, refuse)
        .flags(STALE)
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(1)",
            "Tells the state of the cluster",
        )
        .tips(&["nondeterministic_output"]),
    Command::new("keyslot", 3, refuse)
        .flags(STALE)
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(N), N the length of the key",
            "Tells the hash slot of a key",
        )
        .args("key:string"),
    Command::new("links", 2, refuse)
        .flags(STALE)
        .docs(
            Group::Cluster,
            "7.0.0",
            "O(N), N the number of nodes",
            "Lists the connections to other nodes",
        )
        .tips(&["nondeterministic_output"]),
    Command::new("meet", -4, refuse)
        .flags(ADMIN.or(STALE).or(NO_ASYNC_LOADING))
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(1)",
            "Brings a node into the cluster",
        )
        .args("ip port:integer [cluster_bus_port:integer@4.0.0]")
        .history(&[("4.0.0", "Option cluster_bus_port")]),
    Command::new("myid", 2, refuse).flags(STALE).docs(
        Group::Cluster,
        "3.0.0",
        "O(1)",
        "Tells the name of the node",
    ),
    Command::new("myshardid", 2, refuse)
        .flags(STALE)
        .docs(
            Group::Cluster,
            "7.2.0",
            "O(1)",
            "Tells the name of the node's shard",
        )
        .tips(&["nondeterministic_output"]),
    Command::new("nodes", 2, refuse)
        .flags(STALE)
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(N), N the number of nodes",
            "Tells the configuration of the cluster, a line each node",
        )
        .tips(&["nondeterministic_output"]),
    Command::new("replicas", 3, refuse)
        .flags(ADMIN.or(STALE))
        .docs(
            Group::Cluster,
            "5.0.0",
            "O(N), N the number of replicas",
            "Lists the replicas of a node",
        )
        .args("node-id")
        .tips(&["nondeterministic_output"]),
    Command::new("replicate", 3, refuse)
        .flags(ADMIN.or(STALE).or(NO_ASYNC_LOADING))
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(1)",
            "Makes the node a replica of another",
        )
        .args("node-id"),
    Command::new("reset", -2, refuse)
        .flags(ADMIN.or(NOSCRIPT).or(STALE))
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(N), N the number of nodes",
            "Starts the node over",
        )
        .args("[hard_soft:(HARD | SOFT)]"),
    Command::new("saveconfig", 2, refuse)
        .flags(ADMIN.or(STALE).or(NO_ASYNC_LOADING))
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(1)",
            "Writes the state of the cluster to disk",
        ),
    Command::new("set-config-epoch", 3, refuse)
        .flags(ADMIN.or(STALE).or(NO_ASYNC_LOADING))
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(1)",
            "Sets the epoch of a new node",
        )
        .args("config-epoch:integer"),
    Command::new("setslot", -4, refuse)
        .flags(ADMIN.or(STALE).or(NO_ASYNC_LOADING))
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(1)",
            "Changes the state of a hash slot",
        )
        .args(
            "slot:integer \
             subcommand:(IMPORTING node-id | MIGRATING node-id | NODE node-id | STABLE)",
        ),
    Command::new("shards", 2, refuse)
        .flags(STALE)
        .docs(
            Group::Cluster,
            "7.0.0",
            "O(N), N the number of nodes",
            "Tells which shards have which hash slots",
        )
        .tips(&["nondeterministic_output"]),
    Command::new("slaves", 3, refuse)
        .flags(ADMIN.or(STALE))
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(N), N the number of replicas",
            "Lists the replicas of a node",
        )
        .args("node-id")
        .tips(&["nondeterministic_output"])
        .deprecated("5.0.0", "`CLUSTER REPLICAS`"),
    Command::new("slots", 2, refuse)
        .flags(STALE)
        .docs(
            Group::Cluster,
            "3.0.0",
            "O(N), N the number of nodes",
            "Tells which nodes have which hash slots",
        )
        .history(&[
            ("4.0.0", "Tells the names of nodes"),
            ("7.0.0", "Tells more about their network"),
        ])
        .tips(&["nondeterministic_output"])
        .deprecated("7.0.0", "`CLUSTER SHARDS`"),
];

const NO_CLUSTER: Error = Error::new("ERR This instance has cluster support disabled");

/// All of them, `CLUSTER HELP` among them.
fn refuse(_: &mut Ctx<'_>, _: &mut Args<'_>) -> Outcome {
    Err(NO_CLUSTER)
}
