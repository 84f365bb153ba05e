//! Nanoseconds to read one request head, strictly and with httparse alone; `cargo bench -p aegis-gate` prints them.
#![expect(clippy::print_stdout, reason = "the figures are what this is for")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::hint::black_box;
use std::time::Instant;

use aegis_gate::{BodyGate, Framing, Head, Limits};

/// What an SDK sends to a model provider through a base URL.
const SDK: &[u8] = b"POST /openai/v1/chat/completions HTTP/1.1\r\n\
    Host: gateway.eu-west-1.example.com\r\nAccept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\
    Accept: application/json\r\nContent-Type: application/json\r\nUser-Agent: OpenAI/Python 1.99.0\r\n\
    X-Stainless-Lang: python\r\nX-Stainless-Package-Version: 1.99.0\r\nX-Stainless-OS: Linux\r\n\
    Authorization: Bearer 0123456789abcdef0123456789abcdef\r\nContent-Length: 412\r\n\r\n";

const ROUNDS: u32 = 500;

/// The best of a thousand short runs, in nanoseconds a round: other programs disturb the long ones.
fn nanoseconds(mut act: impl FnMut()) -> u128 {
    let run = || {
        let start = Instant::now();
        (0..ROUNDS).for_each(|_| act());
        start.elapsed().as_nanos() / u128::from(ROUNDS)
    };
    std::iter::repeat_with(run).take(1_000).min().unwrap_or_default()
}

fn main() {
    let strict = nanoseconds(|| {
        black_box(Head::read(black_box(SDK), Limits::REQUEST).is_ok());
    });
    let alone = nanoseconds(|| {
        let mut slots = [httparse::EMPTY_HEADER; 100];
        black_box(httparse::Request::new(&mut slots).parse(black_box(SDK)).is_ok());
    });
    println!("a head of {} bytes: strict {strict} ns, httparse alone {alone} ns", SDK.len());
    let chunk = [b"1000\r\n", vec![b'x'; 4_096].as_slice(), b"\r\n"].concat();
    let body = [chunk.repeat(16).as_slice(), b"0\r\n\r\n"].concat();
    let chunked = nanoseconds(|| {
        black_box(BodyGate::new(Framing::Chunked).push(black_box(&body)).is_ok());
    });
    println!("a chunked body of 64 KiB in 4 KiB chunks: {chunked} ns");
}
