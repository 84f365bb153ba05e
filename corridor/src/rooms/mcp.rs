//! What an MCP message asks for: one tool call, or something that calls no tool.
//!
//! Not here: whether the tool may be called (`decide`). Source: Model Context Protocol 2025-11-25, server/tools, over
//! JSON-RPC 2.0. Invariant: a body that calls a tool is judged as that call and nothing else; one that two readers could
//! understand differently is refused.

use aegis_domain::{McpCall, McpTool, Params, Reason, ToolName};
use serde_json::Value;

/// Members of `params` that are no argument: what the protocol adds for itself.
const OWN: [&str; 2] = ["_meta", "task"];

/// Takes a message apart: the tool it calls and the arguments, or nothing and the message as it is.
pub fn tool_call(
    server: &ToolName,
    mut message: Params,
) -> Result<(Option<McpCall>, Params), Reason> {
    if message.get("method").and_then(Value::as_str) != Some("tools/call") {
        return Ok((None, message));
    }
    let is_plain =
        message.keys().all(|key| ["jsonrpc", "id", "method", "params"].contains(&&**key));
    let asked = message.remove("params");
    let (Some(Value::Object(mut asked)), true) = (asked, is_plain) else {
        return Err(Reason::UnreadableBody);
    };
    let tool = match asked.remove("name") {
        Some(Value::String(name)) => McpTool::parse(&name).map_err(|_| Reason::UnreadableBody)?,
        Some(_) | None => return Err(Reason::UnreadableBody),
    };
    let arguments = match asked.remove("arguments") {
        Some(Value::Object(arguments)) => arguments,
        None => Params::new(),
        Some(_) => return Err(Reason::UnreadableBody),
    };
    if asked.keys().any(|key| !OWN.contains(&key.as_str())) {
        return Err(Reason::UnreadableBody);
    }
    Ok((Some(McpCall { server: server.clone(), tool }), arguments))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(message: Value) -> Result<(Option<McpCall>, Params), Reason> {
        let Value::Object(message) = message else { unreachable!("a test's message is an object") };
        tool_call(&ToolName::parse("files").unwrap(), message)
    }

    #[test]
    fn a_call_is_its_tool_and_its_arguments() {
        let (call, params) = read(json!({
            "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": "read_file", "arguments": { "path": "/a" }, "_meta": { "p": 1 } },
        }))
        .unwrap();
        let call = call.unwrap();
        assert_eq!((call.server.as_str(), call.tool.as_str()), ("files", "read_file"));
        assert_eq!(Value::Object(params), json!({ "path": "/a" }));
        let bare = json!({ "method": "tools/call", "params": { "name": "now" } });
        assert_eq!(read(bare).unwrap().1, Params::new());
    }

    #[test]
    fn other_messages_stay_as_they_are() {
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
        let (call, params) = read(message.clone()).unwrap();
        assert_eq!((call, Value::Object(params)), (None, message));
    }

    #[test]
    fn a_call_that_could_be_read_two_ways_is_refused() {
        for params in [
            json!(null),
            json!([]),
            json!({}),
            json!({ "name": 1 }),
            json!({ "name": "" }),
            json!({ "name": "a", "arguments": [] }),
            json!({ "name": "a", "arguments": "x" }),
            json!({ "name": "a", "args": {} }),
        ] {
            let message = json!({ "method": "tools/call", "params": params });
            assert_eq!(read(message.clone()).err(), Some(Reason::UnreadableBody), "{message}");
        }
        let more = json!({ "method": "tools/call", "params": { "name": "a" }, "tool": "b" });
        assert_eq!(read(more).err(), Some(Reason::UnreadableBody));
    }
}
