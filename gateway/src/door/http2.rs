//! One HTTP/2 connection, from its preface to its end.
//!
//! Not here: its calls (`tool_route`) and its frames (`conduit::Framed`, h2). Invariant: it is told to stop before it is
//! stopped, whether we drain or lose patience with it, and then has as long as a drain grants.

use std::future::pending;
use std::sync::Arc;

use aegis_conduit::{Framed, Patience};
use pingora_core::apps::ServerApp as _;
use pingora_core::protocols::Stream;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::door::front::Proxy;
use crate::wire::Gateway;

/// Serves calls until either side is done. The stream has not been read, or hands out again what was.
pub(super) async fn serve(
    proxy: &Arc<Proxy>,
    gateway: &Gateway,
    stream: Stream,
    patience: &Patience,
) {
    let limits = &gateway.corridor.config.limits;
    let framed = Framed::new(stream, limits.head_deadline);
    // Pingora's form of the news: it says GOAWAY and finishes the streams that are open.
    let (tell, told) = watch::channel(false);
    let mut draining = gateway.corridor.drain.shutdown();
    let stopping = async {
        let is_drain = tokio::select! {
            () = patience.lost() => false,
            _ = draining.wait_for(|is_draining| *is_draining) => true,
        };
        tell.send_replace(true);
        if is_drain {
            // The end of a drain ends everything.
            pending::<()>().await;
        }
        tokio::select! {
            () = sleep(limits.grace) => {}
            // It goes on all the same.
            () = patience.at_end() => {}
        }
    };
    tokio::select! {
        _ = proxy.process_new(Box::new(framed), &told) => {}
        () = stopping => {}
    }
}
