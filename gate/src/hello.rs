//! The first message of a TLS client, read for the one name it asks for.
//!
//! Not here: any other part of TLS; a tunnel that is opened is a matter for rustls. Invariant: what passes names exactly one
//! server, in plain sight; a hello that hides a second name (RFC 9849) is refused, not guessed at.

use crate::Refusal;

/// How long a whole hello may be: room for post-quantum key shares several times over.
const HELLO_BYTES_MAX: usize = 16 * 1_024;
/// How long one record's content may be (RFC 8446 §5.1).
const RECORD_BYTES_MAX: usize = 16 * 1_024;
const RECORD_HEADER_BYTES: usize = 5;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
/// Extensions by number: `server_name` (RFC 6066 §3) and `encrypted_client_hello` (RFC 9849 §5).
const SERVER_NAME: u16 = 0;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;

/// What has come of a hello so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hello {
    /// More bytes are needed.
    Partial,
    /// It is whole, and this is the name it asks for; addresses are not asked for by name (RFC 6066 §3).
    Whole { server_name: Option<String> },
}

/// Reads what a client sent at the start of a tunnel.
pub fn read_hello(bytes: &[u8]) -> Result<Hello, Refusal> {
    let mut message = Vec::new();
    let mut rest = Reader(bytes);
    loop {
        if let Some(length) = length_of(&message)?
            && message.len() >= length
        {
            let body = message.get(4..length).ok_or(Refusal::ClientHello)?;
            return Ok(Hello::Whole { server_name: server_name(body)? });
        }
        // A wrong first byte is told before the rest of the record's head has come.
        if rest.0.first().is_some_and(|kind| *kind != HANDSHAKE) {
            return Err(Refusal::ClientHello);
        }
        if rest.0.len() < RECORD_HEADER_BYTES {
            return Ok(Hello::Partial);
        }
        let (_kind, major, _minor) = (rest.u8()?, rest.u8()?, rest.u8()?);
        let length = usize::from(rest.u16()?);
        if major != 3 || length == 0 || length > RECORD_BYTES_MAX {
            return Err(Refusal::ClientHello);
        }
        let there = length.min(rest.0.len());
        message.extend_from_slice(rest.take(there)?);
        if message.len() > HELLO_BYTES_MAX {
            return Err(Refusal::ClientHello);
        }
        if there < length && length_of(&message)?.is_none_or(|whole| message.len() < whole) {
            return Ok(Hello::Partial);
        }
    }
}

/// How long the whole message is, once that has been said.
fn length_of(message: &[u8]) -> Result<Option<usize>, Refusal> {
    let &[kind, high, middle, low, ..] = message else {
        return match message.first() {
            Some(&kind) if kind != CLIENT_HELLO => Err(Refusal::ClientHello),
            Some(_) | None => Ok(None),
        };
    };
    let length = u32::from_be_bytes([0, high, middle, low]);
    let length = usize::try_from(length).map_err(|_| Refusal::ClientHello)?.saturating_add(4);
    if kind != CLIENT_HELLO || length > HELLO_BYTES_MAX {
        return Err(Refusal::ClientHello);
    }
    Ok(Some(length))
}

/// The name in a whole hello (RFC 8446 §4.1.2).
fn server_name(body: &[u8]) -> Result<Option<String>, Refusal> {
    let mut hello = Reader(body);
    let _version_and_random = hello.take(2 + 32)?;
    let _session = hello.block8()?;
    let _ciphers = hello.block16()?;
    let _compressions = hello.block8()?;
    if hello.0.is_empty() {
        // TLS 1.2 without any extension.
        return Ok(None);
    }
    let mut extensions = Reader(hello.block16()?);
    if !hello.0.is_empty() {
        return Err(Refusal::ClientHello);
    }
    let mut name = None;
    while !extensions.0.is_empty() {
        let (kind, content) = (extensions.u16()?, extensions.block16()?);
        match kind {
            ENCRYPTED_CLIENT_HELLO => return Err(Refusal::HiddenName),
            SERVER_NAME if name.is_some() => return Err(Refusal::ClientHello),
            SERVER_NAME => name = Some(only_name(content)?),
            _ => {}
        }
    }
    Ok(name)
}

/// A list of one host name; TLS knows no other kind, and servers differ on which of several they take.
fn only_name(content: &[u8]) -> Result<String, Refusal> {
    let mut content = Reader(content);
    let mut names = Reader(content.block16()?);
    let kind = names.u8()?;
    let name = names.block16()?;
    let is_alone = kind == 0 && names.0.is_empty() && content.0.is_empty();
    let is_name = !name.is_empty() && name.iter().all(u8::is_ascii_graphic);
    match std::str::from_utf8(name) {
        Ok(name) if is_alone && is_name => Ok(name.to_ascii_lowercase()),
        Ok(_) | Err(_) => Err(Refusal::ClientHello),
    }
}

/// What is left to read.
struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take(&mut self, count: usize) -> Result<&'b [u8], Refusal> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Refusal::ClientHello)?;
        self.0 = rest;
        Ok(taken)
    }

    fn u8(&mut self) -> Result<u8, Refusal> {
        self.take(1)?.first().copied().ok_or(Refusal::ClientHello)
    }

    fn u16(&mut self) -> Result<u16, Refusal> {
        let bytes = self.take(2)?.try_into().map_err(|_| Refusal::ClientHello)?;
        Ok(u16::from_be_bytes(bytes))
    }

    fn block8(&mut self) -> Result<&'b [u8], Refusal> {
        let count = usize::from(self.u8()?);
        self.take(count)
    }

    fn block16(&mut self) -> Result<&'b [u8], Refusal> {
        let count = usize::from(self.u16()?);
        self.take(count)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn block16(bytes: &[u8]) -> Vec<u8> {
        [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
    }

    /// A hello with these extensions, in records of at most `record` bytes.
    fn hello(extensions: &[(u16, Vec<u8>)], record: usize) -> Vec<u8> {
        let extensions: Vec<u8> = extensions
            .iter()
            .flat_map(|(kind, content)| [&kind.to_be_bytes()[..], &block16(content)].concat())
            .collect();
        let mut body = vec![3, 3];
        body.extend([7; 32]);
        body.extend([0]);
        body.extend(block16(&[0x13, 0x01]));
        body.extend([1, 0]);
        body.extend(block16(&extensions));
        let mut message = vec![CLIENT_HELLO];
        message.extend(&u32::try_from(body.len()).unwrap().to_be_bytes()[1..]);
        message.extend(body);
        let records = message.chunks(record);
        records.flat_map(|piece| [&[HANDSHAKE, 3, 1][..], &block16(piece)].concat()).collect()
    }

    fn named(name: &str) -> (u16, Vec<u8>) {
        (SERVER_NAME, block16(&[&[0][..], &block16(name.as_bytes())].concat()))
    }

    fn whole(name: &str) -> Result<Hello, Refusal> {
        Ok(Hello::Whole { server_name: Some(name.to_owned()) })
    }

    #[test]
    fn the_one_name_of_a_hello_is_read_however_it_is_cut_into_records() {
        let extensions = [(43, vec![2, 3, 4]), named("Bank.example"), (16, vec![0; 300])];
        for record in [1, 5, 40, 4_000] {
            let bytes = hello(&extensions, record);
            assert_eq!(read_hello(&bytes), whole("bank.example"), "{record}");
            for cut in 0..bytes.len() - 1 {
                assert_eq!(read_hello(&bytes[..cut]), Ok(Hello::Partial), "{record} {cut}");
            }
        }
    }

    #[test]
    fn what_comes_behind_a_hello_is_not_looked_at() {
        let mut bytes = hello(&[named("a.example")], 4_000);
        bytes.extend(b"early data, or anything");
        assert_eq!(read_hello(&bytes), whole("a.example"));
    }

    #[test]
    fn a_hello_that_hides_a_name_or_says_two_is_refused() {
        let hidden = hello(&[named("front.example"), (ENCRYPTED_CLIENT_HELLO, vec![0; 40])], 4_000);
        assert_eq!(read_hello(&hidden), Err(Refusal::HiddenName));
        let twice = hello(&[named("a.example"), named("b.example")], 4_000);
        assert_eq!(read_hello(&twice), Err(Refusal::ClientHello));
        let names = ["a.example", "b.example"];
        let two = names.map(|name| [&[0][..], &block16(name.as_bytes())].concat()).concat();
        let two = hello(&[(SERVER_NAME, block16(&two))], 4_000);
        assert_eq!(read_hello(&two), Err(Refusal::ClientHello));
    }

    #[test]
    fn a_hello_without_a_name_says_so() {
        let bytes = hello(&[(43, vec![2, 3, 4])], 4_000);
        assert_eq!(read_hello(&bytes), Ok(Hello::Whole { server_name: None }));
    }

    #[test]
    fn what_is_no_hello_is_refused_at_its_first_byte() {
        for bytes in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"SSH-2.0",
            b"\x80\x2e\x01\x03\x01",
            b"\x15\x03\x01\x00\x02\x01\x00",
        ] {
            assert_eq!(read_hello(bytes), Err(Refusal::ClientHello), "{bytes:?}");
            assert_eq!(read_hello(&bytes[..1]), Err(Refusal::ClientHello), "{bytes:?}");
        }
        let mut server = hello(&[], 4_000);
        server[5] = 2;
        assert_eq!(read_hello(&server), Err(Refusal::ClientHello));
        let endless = [&[HANDSHAKE, 3, 1, 0, 4, 1, 0xff, 0xff, 0xff][..]].concat();
        assert_eq!(read_hello(&endless), Err(Refusal::ClientHello));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic_and_more_of_them_never_undo_a_verdict(
            bytes in proptest::collection::vec(any::<u8>(), 0..600),
            extra in proptest::collection::vec(any::<u8>(), 0..40),
            spoiled in 0_usize..200,
        ) {
            let mut near = hello(&[named("a.example"), (43, vec![2, 3, 4])], 64);
            if let Some(byte) = near.get_mut(spoiled) {
                *byte ^= 0x55;
            }
            for bytes in [bytes, near] {
                let verdict = read_hello(&bytes);
                let longer = [&bytes[..], &extra].concat();
                if verdict != Ok(Hello::Partial) {
                    prop_assert_eq!(read_hello(&longer), verdict);
                }
            }
        }
    }
}
