//! Are the gateway's ports free, or does a gateway answer on them, and is it ready?
//!
//! Not here: calls through the gateway. Invariant: nothing waits longer than `PATIENCE`, and no more than `ANSWER_MAX`
//! bytes are read from whoever holds a port.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use super::Check;

const PATIENCE: Duration = Duration::from_secs(2);
const ANSWER_MAX: u64 = 4_096;

pub(super) fn check(listen: &BTreeMap<&'static str, SocketAddr>) -> Vec<Check> {
    let mut checks: Vec<Check> =
        listen.iter().map(|(name, address)| port(&format!("port {name}"), *address)).collect();
    checks.extend(listen.get("metrics").map(|address| ready(*address)));
    checks
}

fn port(name: &str, address: SocketAddr) -> Check {
    let in_use = match TcpListener::bind(address) {
        Ok(_) => return Check::ok(name, format!("{address} is free: no gateway runs here")),
        Err(error) => error,
    };
    if in_use.kind() != ErrorKind::AddrInUse {
        let advice = "listen on an address of this machine and a port this user may open";
        return Check::fail(name, format!("{address}: {in_use}"), advice);
    }
    match TcpStream::connect_timeout(&address, PATIENCE) {
        Ok(_) => Check::ok(name, format!("{address} answers")),
        Err(error) => {
            let found = format!("{address} is taken but does not answer: {error}");
            Check::fail(name, found, "see who holds it: ss -ltnp")
        }
    }
}

/// Asks the metrics listener whether the gateway serves calls.
fn ready(address: SocketAddr) -> Check {
    const NAME: &str = "/readyz";
    match status_line(address) {
        Ok(line) if line.split(' ').nth(1) == Some("200") => {
            Check::ok(NAME, "the gateway is ready")
        }
        Ok(line) => {
            let found = format!("{address} answers {line:?}");
            Check::fail(NAME, found, "see the gateway's log; if it is no gateway, change the port")
        }
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            Check::skip(NAME, "no gateway runs here")
        }
        Err(error) => {
            let found = format!("{address}: {error}");
            Check::fail(NAME, found, "see the gateway's log; if it is no gateway, change the port")
        }
    }
}

fn status_line(address: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
    let text = String::from_utf8_lossy(&answer);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::doctor::Status;

    fn server(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut head = [0; 1_024];
            let _read = stream.read(&mut head).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        });
        address
    }

    #[test]
    fn only_a_200_is_ready() {
        assert_eq!(ready(server("HTTP/1.1 200 OK\r\n\r\n")).status, Status::Ok);
        assert_eq!(ready(server("HTTP/1.1 503 Service Unavailable\r\n\r\n")).status, Status::Fail);
        assert_eq!(ready(server("SSH-2.0-OpenSSH\r\n")).status, Status::Fail);
    }

    #[test]
    fn a_free_port_and_one_that_answers_are_both_fine() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert!(port("p", address).found.ends_with("answers"));
        drop(listener);
        assert_eq!(port("p", address).status, Status::Ok);
        assert_eq!(ready(address).status, Status::Skip);
    }

    #[test]
    fn an_address_of_another_machine_fails() {
        // TEST-NET-3 of RFC 5737 is nobody's.
        assert_eq!(port("p", "203.0.113.1:8080".parse().unwrap()).status, Status::Fail);
    }
}
