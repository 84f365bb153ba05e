//! One message on a stream: two lengths, JSON, and bytes that go with it.
//!
//! Not here: what the messages are (`message`). Invariant: nothing is allocated that was not bounded first.

use std::io;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// An append is cut at 2 MiB after its first entry, and an entry is a batch of at most 2 MiB.
const JSON_BYTES_MAX: usize = 8 * 1_024 * 1_024;
/// What goes with a message: a piece of a snapshot.
pub(crate) const TAIL_BYTES_MAX: usize = 1_024 * 1_024;

/// Why a message could not be exchanged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the connection failed")]
    Io(#[from] io::Error),
    #[error("a message is longer than this version takes")]
    TooLong,
    #[error("a message is not one this version knows")]
    Json(#[from] serde_json::Error),
}

pub(crate) async fn send<S: AsyncWrite + Unpin>(
    stream: &mut S,
    message: &impl Serialize,
    tail: &[u8],
) -> Result<(), FrameError> {
    let json = serde_json::to_vec(message)?;
    if json.len() > JSON_BYTES_MAX || tail.len() > TAIL_BYTES_MAX {
        return Err(FrameError::TooLong);
    }
    let length = |part: &[u8]| {
        u32::try_from(part.len()).map(u32::to_be_bytes).map_err(|_| FrameError::TooLong)
    };
    // In one piece: each write would be a TLS record and a packet of its own, and wake the other side.
    let message = [&length(&json)?, &length(tail)?, json.as_slice(), tail].concat();
    stream.write_all(&message).await?;
    stream.flush().await?;
    Ok(())
}

pub(crate) async fn receive<S: AsyncRead + Unpin, T: DeserializeOwned>(
    stream: &mut S,
) -> Result<(T, Vec<u8>), FrameError> {
    let (json, tail) = (stream.read_u32().await?, stream.read_u32().await?);
    let json = read(stream, json, JSON_BYTES_MAX).await?;
    let tail = read(stream, tail, TAIL_BYTES_MAX).await?;
    Ok((serde_json::from_slice(&json)?, tail))
}

async fn read<S: AsyncRead + Unpin>(
    stream: &mut S,
    length: u32,
    max: usize,
) -> Result<Vec<u8>, FrameError> {
    let length = usize::try_from(length).ok().filter(|length| *length <= max);
    let mut bytes = vec![0; length.ok_or(FrameError::TooLong)?];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_length_beyond_the_bound_is_refused_before_anything_is_read() {
        let mut long: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0];
        let refused = receive::<_, String>(&mut long).await;
        assert!(matches!(refused, Err(FrameError::TooLong)));
    }

    #[tokio::test]
    async fn what_is_sent_is_what_is_received() {
        let (mut here, mut there) = tokio::io::duplex(64);
        let tail = vec![7; 1_000];
        let (sent, received) =
            tokio::join!(send(&mut here, &"text", &tail), receive::<_, String>(&mut there));
        sent.unwrap();
        assert_eq!(received.unwrap(), ("text".to_owned(), tail));
    }
}
