// One call with Node's fetch, which is undici; the proxy comes from HTTPS_PROXY, the authority from NODE_EXTRA_CA_CERTS.
import { EnvHttpProxyAgent, fetch } from "undici";

const dispatcher = new EnvHttpProxyAgent({ allowH2: process.argv[3] === "h2" });
const answer = await fetch(process.argv[2], {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ text: "hello" }),
  dispatcher,
});
console.log(answer.status, await answer.text());
await dispatcher.close();
