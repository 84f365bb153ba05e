//! The control API of this process, from its first request to its last.
//!
//! Not here: what it serves (`control`). Invariant: it outlives every change that came through it, and is closed before the
//! journal that changes are recorded in.

use std::sync::Arc;

use aegis_control::{Control, Serving};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::chronicle::Journalled;

/// Ends with its value.
#[derive(Debug)]
pub(crate) struct ControlDoor {
    chronicle: Arc<Journalled>,
    stop: oneshot::Sender<()>,
    served: Served,
}

/// Serving ends with this.
#[derive(Debug)]
struct Served(JoinHandle<()>);

impl Drop for Served {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl ControlDoor {
    pub(crate) fn open(
        listener: TcpListener,
        (control, serving): (Arc<Control>, Serving),
        chronicle: Arc<Journalled>,
        runtime: &Handle,
    ) -> Self {
        let (stop, stopped) = oneshot::channel();
        let served = runtime.spawn(async move {
            let stopped = async {
                // Whoever lets go of the other end aborts this task.
                stopped.await.ok();
            };
            if let Err(error) = aegis_control::serve(listener, control, serving, stopped).await {
                tracing::error!(%error, "the control API is not served");
            }
        });
        Self { chronicle, stop, served: Served(served) }
    }

    /// Changes first: those that this voter makes by itself come through no connection.
    pub(crate) async fn close(self) {
        let Self { chronicle, stop, mut served } = self;
        chronicle.close().await;
        // A door that is not served has nobody to tell.
        stop.send(()).ok();
        if let Err(error) = (&mut served.0).await {
            tracing::error!(%error, "the control API did not end in order");
        }
    }
}
