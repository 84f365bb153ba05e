//! Names by which clouds call their metadata services.
//!
//! Not here: their addresses (`registry`), which are refused whatever name led there. Invariant: such a name is not even
//! asked for, so nothing hangs on what the resolver of the moment says about it.

use aegis_domain::Host;

/// Google Cloud (two), AWS (EC2), Tencent Cloud.
const NAMES: [&str; 4] = [
    "metadata.google.internal",
    "metadata.goog",
    "instance-data.ec2.internal",
    "metadata.tencentyun.com",
];

/// Whether a name is that of a metadata service. A tool that needs one pins its address.
pub fn is_metadata_name(host: &Host) -> bool {
    NAMES.contains(&host.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metadata_service_is_known_by_name() {
        assert!(is_metadata_name(&Host::parse("metadata.google.internal").unwrap()));
        assert!(!is_metadata_name(&Host::parse("metadata.example.com").unwrap()));
    }

    #[test]
    fn every_listed_name_is_a_host_in_its_one_spelling() {
        assert!(NAMES.iter().all(|name| Host::parse(name).is_ok()));
    }
}
