//! What a stream around a connection says and does by that connection: writing, closing, and whose it is.
//!
//! Not here: reading, and what a tunnel was opened with; those are what each stream is for. Invariant: a byte that is
//! written goes to the connection as it is.

/// Everything of Pingora's `IO` that the `inner` stream of a type does for it.
macro_rules! passes_on {
    ($stream:ident) => {
        const _: () = {
            use std::io::{IoSlice, Result};
            use std::pin::Pin;
            use std::sync::Arc;
            use std::task::{Context, Poll};

            use pingora_core::protocols::{
                GetSocketDigest, GetTimingDigest, Shutdown, SocketDigest, TimingDigest, UniqueID,
                UniqueIDType,
            };
            use tokio::io::AsyncWrite;

            impl AsyncWrite for $stream {
                fn poll_write(
                    mut self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    bytes: &[u8],
                ) -> Poll<Result<usize>> {
                    Pin::new(&mut self.inner).poll_write(cx, bytes)
                }

                fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
                    Pin::new(&mut self.inner).poll_flush(cx)
                }

                fn poll_shutdown(
                    mut self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                ) -> Poll<Result<()>> {
                    Pin::new(&mut self.inner).poll_shutdown(cx)
                }

                fn poll_write_vectored(
                    mut self: Pin<&mut Self>,
                    cx: &mut Context<'_>,
                    slices: &[IoSlice<'_>],
                ) -> Poll<Result<usize>> {
                    Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
                }

                fn is_write_vectored(&self) -> bool {
                    self.inner.is_write_vectored()
                }
            }

            #[async_trait::async_trait]
            impl Shutdown for $stream {
                async fn shutdown(&mut self) {
                    Shutdown::shutdown(&mut *self.inner).await;
                }
            }

            impl UniqueID for $stream {
                fn id(&self) -> UniqueIDType {
                    self.inner.id()
                }
            }

            impl GetTimingDigest for $stream {
                fn get_timing_digest(&self) -> Vec<Option<TimingDigest>> {
                    self.inner.get_timing_digest()
                }
            }

            impl GetSocketDigest for $stream {
                fn get_socket_digest(&self) -> Option<Arc<SocketDigest>> {
                    self.inner.get_socket_digest()
                }
            }
        };
    };
}

pub(crate) use passes_on;
