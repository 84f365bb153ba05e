//! An answer that is written while it is sent, because it may be larger than what should be in memory.
//!
//! Not here: what is written. Invariant: the writer waits for the reader, so a few pieces are held and no more; one that fails
//! breaks the answer off, and whoever reads can tell that it is not whole.

use std::io::{self, BufWriter, Write};

use axum::body::{Body, Bytes};
use tokio::sync::mpsc::{Sender, channel};

const PIECE_BYTES: usize = 64 * 1_024;
const PIECES_AHEAD: usize = 4;

/// The body that `write` writes, on a thread that may wait.
pub fn written<F>(write: F) -> Body
where
    F: FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
{
    let (pieces, mut sent) = channel(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut to = BufWriter::with_capacity(PIECE_BYTES, Pieces(pieces.clone()));
        if let Err(error) = write(&mut to).and_then(|()| to.flush()) {
            // Whoever hung up has no use for it.
            pieces.blocking_send(Err(error)).ok();
        }
    });
    Body::from_stream(futures::stream::poll_fn(move |context| sent.poll_recv(context)))
}

struct Pieces(Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        let gone = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.0.blocking_send(Ok(Bytes::copy_from_slice(piece))).map_err(gone)?;
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: usize = usize::MAX;

    #[tokio::test]
    async fn a_body_of_many_pieces_comes_whole_and_in_order() {
        let lines: Vec<String> = (0..100_000).map(|number| format!("line {number}\n")).collect();
        let wanted = lines.concat();
        let body =
            written(move |to| lines.iter().try_for_each(|line| to.write_all(line.as_bytes())));
        assert_eq!(axum::body::to_bytes(body, WHOLE).await.unwrap(), wanted);
    }

    #[tokio::test]
    async fn a_writer_that_fails_breaks_the_body_off() {
        let body = written(|to| {
            to.write_all(&[b'x'; 3 * PIECE_BYTES])?;
            Err(io::Error::other("the disk is gone"))
        });
        axum::body::to_bytes(body, WHOLE).await.unwrap_err();
    }

    #[tokio::test]
    async fn a_writer_ends_when_its_reader_is_gone() {
        let (ended, told) = tokio::sync::oneshot::channel();
        let body = written(move |to| {
            let mut pieces = std::iter::repeat_with(|| to.write_all(&[b'x'; PIECE_BYTES]));
            let end = pieces.find_map(Result::err).unwrap();
            ended.send(end.kind()).unwrap();
            Err(end)
        });
        drop(body);
        assert_eq!(told.await.unwrap(), io::ErrorKind::BrokenPipe);
    }
}
