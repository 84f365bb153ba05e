// Sends one signed request to Azurite and prints the status: node azurite.mjs PORT ACCOUNT KEY METHOD PLACE BODY
// https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
import { createHmac } from "node:crypto";

const [port, account, key, method, place, body] = process.argv.slice(2);
const url = new URL(`http://127.0.0.1:${port}/${account}/${place}`);
const headers = { "x-ms-date": new Date().toUTCString(), "x-ms-version": "2023-11-03" };
if (!url.search) headers["x-ms-blob-type"] = "BlockBlob";
const type = body ? "application/octet-stream" : "";
if (body) headers["content-type"] = type;

const own = Object.keys(headers).filter((name) => name.startsWith("x-ms-")).sort();
const query = [...url.searchParams].sort().map(([name, value]) => `\n${name}:${value}`).join("");
const standard = ["", "", body.length || "", "", type, "", "", "", "", "", ""];
const canonical = own.map((name) => `${name}:${headers[name]}`);
const text = [method, ...standard, ...canonical, `/${account}${url.pathname}${query}`].join("\n");
const signature = createHmac("sha256", Buffer.from(key, "base64")).update(text).digest("base64");
headers.authorization = `SharedKey ${account}:${signature}`;

const answer = await fetch(url, { method, headers, body: body || undefined });
console.log(answer.status);
