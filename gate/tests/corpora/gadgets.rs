//! te-gadgets: 504 disguises of `Transfer-Encoding`, each beside a `Content-Length`.

use crate::replay::{Door, End, replay, unsafe_because};
use crate::{BestPeer, base64, corpus, hold_above, json_lines};

#[test]
fn every_disguise_of_transfer_encoding_is_refused_or_plainly_no_framing() {
    let Some(folder) = corpus("te-gadgets") else { return };
    let tail = "0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let gadgets = json_lines(folder.join("te_gadgets.jsonl"));
    let mut refused = 0;
    for gadget in &gadgets {
        let mut bytes = b"POST /g HTTP/1.1\r\nHost: localhost\r\n".to_vec();
        bytes.extend_from_slice(&base64(&gadget["header_b64"]));
        bytes.extend_from_slice(
            format!("\r\nContent-Length: {}\r\n\r\n{tail}", tail.len()).as_bytes(),
        );
        let (heads, end) = replay(&bytes, Door::ToolRoute);
        for head in &heads {
            assert_eq!(unsafe_because(head), None, "{}", gadget["id"]);
            assert!(head.starts_with(b"POST /g "), "{}: a hidden request runs", gadget["id"]);
        }
        match end {
            End::Refused(_) => refused += 1,
            End::Clean => println!("passes with its one Content-Length: {}", gadget["id"]),
            End::Unfinished | End::NotServed | End::ClosedBefore => {
                panic!("{}: {end:?}", gadget["id"])
            }
        }
    }
    let best = BestPeer { name: "Envoy", refused: 664, of: 668 };
    hold_above("TE obfuscations", refused, gadgets.len(), best);
    assert_eq!(gadgets.len(), 504);
}
