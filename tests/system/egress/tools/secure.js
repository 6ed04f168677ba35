// HTTP/2 and HTTP/1.1 over TLS, on port 443: says what it was asked, and what was sent to it.
// Usage: secure.js FOLDER, which has key.pem and certificate.pem. Says "ready" first.
const fs = require("node:fs");
const crypto = require("node:crypto");
const http2 = require("node:http2");

const [folder] = process.argv.slice(2);
const read = (name) => fs.readFileSync(`${folder}/${name}.pem`);
const options = { key: read("key"), cert: read("certificate"), allowHTTP1: true };
// Says in some way what it was told.
function again(response, { ":path": path, authorization, range, "accept-encoding": forms }) {
  const url = path ?? response.req.url;
  const known = authorization.split(" ").pop();
  if (url.endsWith("packed")) response.setHeader("Content-Encoding", "gzip");
  if (url.endsWith("header")) response.setHeader("X-Again", known);
  response.write("so it was: ");
  if (url.endsWith("pieces")) {
    for (const letter of known) response.write(letter);
    return response.end();
  }
  const said = { body: known, coded: known, asked: `${range} ${forms}` };
  response.end(said[url.split("/").pop()] ?? "nothing");
}

const server = http2.createSecureServer(options, (request, response) => {
  const digest = crypto.createHash("sha256");
  request.on("data", (piece) => digest.update(piece));
  request.on("end", () => {
    const { authorization } = request.headers;
    if (authorization) fs.appendFileSync(`${folder}/arrived`, `secret ${authorization} ${request.url} ${request.headers["x-key"] ?? ""}`.trim() + "\n");
    if (request.url.startsWith("/again")) return again(response, request.headers);
    const host = request.authority ?? request.headers.host;
    response.end(JSON.stringify({ host, path: request.url, sha256: digest.digest("hex") }));
  });
});
server.listen({ port: 443, host: "::" }, () => console.log("ready"));
