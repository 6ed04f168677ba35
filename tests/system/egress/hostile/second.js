// Reads what was recorded as the server of HTTP reads it that runs this.
// Usage: second.js FILE, which has a JSON list of texts. Prints a list of what each is: [method, target, content].
const fs = require("node:fs");
const http = require("node:http");
const net = require("node:net");

const texts = JSON.parse(fs.readFileSync(process.argv[2], "utf8"));
// How many are read at once, and for how many milliseconds nothing comes of one that is over.
const ABREAST = 64;
const SILENCE = 300;
// By the port of whoever says it.
const heard = new Map();
const hear = (request, content) => heard.get(request.socket.remotePort)?.push([request.method, request.url, content]);

const server = http.createServer((request, response) => {
  const pieces = [];
  request.on("data", (piece) => pieces.push(piece));
  request.on("end", () => {
    hear(request, Buffer.concat(pieces).toString("latin1"));
    response.end();
  });
});
server.on("clientError", (error, socket) => socket.destroy());
// What asks to go on as something else has no content.
server.on("upgrade", (request, socket) => {
  hear(request, "");
  socket.destroy();
});

function read(text) {
  return new Promise((resolve) => {
    const list = [];
    let timer;
    const end = net.connect(server.address().port, "127.0.0.1", () => {
      heard.set(end.localPort, list);
      end.write(Buffer.from(text, "latin1"));
      later();
    });
    const over = () => {
      clearTimeout(timer);
      end.destroy();
      resolve(list);
    };
    const later = () => {
      clearTimeout(timer);
      timer = setTimeout(over, SILENCE);
    };
    end.on("data", later);
    end.on("error", () => {});
    end.on("close", over);
  });
}

server.listen(0, "127.0.0.1", async () => {
  const all = [];
  while (all.length < texts.length) {
    const some = texts.slice(all.length, all.length + ABREAST);
    all.push(...(await Promise.all(some.map(read))));
  }
  console.log(JSON.stringify(all));
  process.exit(0);
});
