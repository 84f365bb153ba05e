// An agent that gets a DPoP-bound token with openid-client, as its documentation says: discovery, private_key_jwt, DPoP.
// Usage: token.mjs ISSUER CLIENT_ID KEY_FILE SCOPE [URL]. Prints the answer as JSON, with the thumbprint of the proof's key;
// with a URL, calls it with token and proof, and adds the status of what came back as `called`.
import { createHash, createPrivateKey, webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import * as client from "openid-client";

const [issuer, clientId, keyFile, scope, url] = process.argv.slice(2);
const { kty, crv, x, d } = createPrivateKey(readFileSync(keyFile)).export({ format: "jwk" });
const key = await webcrypto.subtle.importKey("jwk", { kty, crv, x, d }, "Ed25519", false, ["sign"]);

const config = await client.discovery(
  new URL(issuer),
  clientId,
  undefined,
  client.PrivateKeyJwt(key),
  // The issuer of this test is on loopback, without TLS; the metadata is RFC 8414's.
  { algorithm: "oauth2", execute: [client.allowInsecureRequests] },
);
const proofKey = await client.randomDPoPKeyPair("ES256");
const DPoP = client.getDPoPHandle(config, proofKey);
const token = await client.clientCredentialsGrant(config, { scope }, { DPoP });

const jwk = await webcrypto.subtle.exportKey("jwk", proofKey.publicKey);
const members = JSON.stringify({ crv: jwk.crv, kty: jwk.kty, x: jwk.x, y: jwk.y });
const jkt = createHash("sha256").update(members).digest("base64url");
const call = () =>
  client.fetchProtectedResource(config, token.access_token, new URL(url), "GET", undefined, undefined, { DPoP });
const called = url && (await call()).status;
console.log(JSON.stringify({ ...token, jkt, called }));
