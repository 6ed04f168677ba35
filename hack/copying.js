// A proxy as small ones are: one process with one event loop, which copies each byte through its own
// memory. It decides by a list of hosts, about the first request of a connection.
//
// Usage: bun copying.js PORT HOST...
import net from "node:net";

const [port, ...allowed] = process.argv.slice(2);

function permits(host) {
  const name = host.toLowerCase().replace(/\.$/, "");
  return allowed.some((rule) => rule === name || (rule.startsWith("*.") && name.endsWith(rule.slice(1))));
}

function carry(client, request) {
  const end = request.indexOf("\r\n\r\n");
  const head = request.subarray(0, end).toString("latin1");
  const [method, target, version] = head.split("\r\n", 1)[0].split(" ");
  const isTunnel = method === "CONNECT";
  const url = new URL(isTunnel ? `http://${target}` : target);
  if (!permits(url.hostname)) {
    client.end("HTTP/1.1 403 Forbidden\r\nConnection: close\r\n\r\n");
    return;
  }
  const server = net.connect({ host: url.hostname, port: Number(url.port || 80), noDelay: true }, () => {
    if (isTunnel) {
      client.write("HTTP/1.1 200 Connection established\r\n\r\n");
      server.write(request.subarray(end + 4));
    } else {
      server.write(`${method} ${url.pathname}${url.search} ${version}` + head.slice(head.indexOf("\r\n")));
      server.write(request.subarray(end));
    }
    client.pipe(server);
    server.pipe(client);
  });
  server.on("error", () => client.destroy());
  client.on("error", () => server.destroy());
}

function serve(client) {
  client.setNoDelay(true);
  let read = Buffer.alloc(0);
  function hear(piece) {
    read = Buffer.concat([read, piece]);
    if (read.includes("\r\n\r\n")) {
      client.off("data", hear);
      client.pause();
      carry(client, read);
    }
  }
  client.on("data", hear);
  client.on("error", () => client.destroy());
}

net.createServer({ allowHalfOpen: true }, serve).listen(Number(port), "127.0.0.1", () => console.log("ready"));
