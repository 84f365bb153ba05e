//! The names by which gateways know a call that came past them before (RFC 9110 §7.6.3).
//!
//! Not here: addresses of our own, which `forward` never dials. Invariant: of what an agent writes into `Via` only the
//! names of gateways travel on, and a call comes past a region once.

use aegis_domain::{Reason, Region};
use http::HeaderMap;
use http::header::VIA;
use sha2::{Digest as _, Sha256};

/// How many gateways one call may pass.
const GATEWAYS_MAX: usize = 8;
const PRODUCT: &str = "aegis-";

/// What all gateways of one region call themselves: a pseudonym, since upstreams need not know where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via(String);

impl Via {
    pub fn new(domain: &str, region: &Region) -> Self {
        let digest = Sha256::digest(format!("aegis-via-v1\0{domain}\0{region}"));
        let name: String = digest.iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{PRODUCT}{name}"))
    }

    /// The value for a call that leaves: the gateways that it passed, and this one.
    pub fn onward(&self, headers: &HeaderMap) -> Result<String, Reason> {
        let mut passed = passed(headers);
        if passed.len() >= GATEWAYS_MAX || passed.contains(&self.0.as_str()) {
            return Err(Reason::ProxyLoop);
        }
        passed.push(&self.0);
        Ok(passed.into_iter().map(|name| format!("1.1 {name}")).collect::<Vec<_>>().join(", "))
    }
}

/// The names of gateways, in the order in which they were passed.
fn passed(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all(VIA).iter().filter_map(|value| value.to_str().ok());
    let entries = values.flat_map(|value| value.split(','));
    let names = entries.filter_map(|entry| entry.split_whitespace().nth(1));
    names.filter(|name| is_gateway(name)).collect()
}

fn is_gateway(name: &str) -> bool {
    let id = name.strip_prefix(PRODUCT);
    id.is_some_and(|id| id.len() == 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn via(region: &str) -> Via {
        Via::new("audit.example.com", &region.parse().unwrap())
    }

    fn said(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(VIA, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_call_that_comes_back_is_known() {
        let (here, there) = (via("eu-west-1"), via("us-east-1"));
        let first = here.onward(&HeaderMap::new()).unwrap();
        assert_eq!(first, format!("1.1 {}", here.0));
        let second = there.onward(&said(&first)).unwrap();
        assert_eq!(second, format!("{first}, 1.1 {}", there.0));
        assert_eq!(here.onward(&said(&second)), Err(Reason::ProxyLoop));
    }

    #[test]
    fn only_names_of_gateways_travel_on() {
        let value =
            said("1.0 fred, 1.1 p.example.com (inside), 1.1 aegis-0123456789ab, 1.1 aegis-x");
        let here = via("eu-west-1");
        let onward = here.onward(&value).unwrap();
        assert_eq!(onward, format!("1.1 aegis-0123456789ab, 1.1 {}", here.0));
    }

    #[test]
    fn a_call_passes_so_many_gateways_and_no_more() {
        let names: Vec<String> = (0..8).map(|n| format!("1.1 aegis-00000000000{n}")).collect();
        assert!(via("eu-west-1").onward(&said(&names[..7].join(","))).is_ok());
        assert_eq!(via("eu-west-1").onward(&said(&names.join(", "))), Err(Reason::ProxyLoop));
    }
}
