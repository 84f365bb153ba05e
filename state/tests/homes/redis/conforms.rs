//! The suite over Redis and Valkey: single, under Sentinels, and as a Cluster.
//!
//! Not here: the cases (`conformance`). Invariant: see `conformance`.

use std::path::PathBuf;
use std::time::Duration;

use aegis_state::Deployment;
use aegis_testkit::hot::{Cluster, Replicated, Software};

use super::stand::{Stand, address, make_old, on_single};
use crate::conformance::hot_state_conforms;

fn under_sentinels(program: PathBuf) -> Stand<Replicated> {
    let servers = Replicated::start(&program, Duration::from_secs(5), &[]);
    make_old(&servers.servers[0], "acme");
    make_old(&servers.servers[0], "other");
    let sentinels = servers.sentinels.iter().map(address).collect();
    let name = Replicated::NAME.to_owned();
    Stand::new(Deployment::Sentinel { sentinels, name, login: None }, servers)
}

fn on_cluster(program: PathBuf) -> Stand<Cluster> {
    let cluster = Cluster::start(&program, 3);
    for tenant in ["acme", "other"] {
        let owner = cluster.owner(cluster.slot_of(&format!("ag:{{{tenant}}}:e")));
        make_old(&cluster.nodes[owner], tenant);
    }
    // One node is told; the others are learnt.
    Stand::new(Deployment::Cluster(vec![address(&cluster.nodes[0])]), cluster)
}

mod redis_single {
    use super::*;
    hot_state_conforms!(Software::Redis.installed().map(on_single));
}

mod valkey_single {
    use super::*;
    hot_state_conforms!(Software::Valkey.installed().map(on_single));
}

mod redis_sentinels {
    use super::*;
    hot_state_conforms!(Software::Redis.installed().map(under_sentinels));
}

mod valkey_cluster {
    use super::*;
    hot_state_conforms!(Software::Valkey.installed().map(on_cluster));
}

mod redis_cluster {
    use super::*;
    hot_state_conforms!(Software::Redis.installed().map(on_cluster));
}
