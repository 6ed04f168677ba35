// HTTP/2 and HTTP/1.1 over TLS, on port 443: says what it was asked, and what was sent to it.
// Usage: secure.js FOLDER, which has key.pem and certificate.pem. Says "ready" first.
const fs = require("node:fs");
const crypto = require("node:crypto");
const http2 = require("node:http2");

const [folder] = process.argv.slice(2);
const read = (name) => fs.readFileSync(`${folder}/${name}.pem`);
const options = { key: read("key"), cert: read("certificate"), allowHTTP1: true };
const server = http2.createSecureServer(options, (request, response) => {
  const digest = crypto.createHash("sha256");
  request.on("data", (piece) => digest.update(piece));
  request.on("end", () => {
    const host = request.authority ?? request.headers.host;
    response.end(JSON.stringify({ host, path: request.url, sha256: digest.digest("hex") }));
  });
});
server.listen({ port: 443, host: "::" }, () => console.log("ready"));
