//! Clients that take their time: heads, bodies, handshakes and answers that never get whole are closed, all of them, and
//! others do not notice.
//!
//! Not here: floods (`floods`) and a single slow head (`probes`). Invariant: who closes is the gateway, counted one by one;
//! how fast the others were is printed.

use std::time::{Duration, Instant};

use aegis_domain::Reason;
use aegis_testkit::frames::{self, END_HEADERS, END_STREAM};
use aegis_testkit::{Answer, Building, FrameLine, Line, Plan, Raw, Script, Wire};
use futures::future::join_all;
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::GATEWAY;

/// Connections of each kind of attack.
const EACH: usize = 400;
/// How often a slow client says one byte more.
const TRICKLE: Duration = Duration::from_millis(500);
