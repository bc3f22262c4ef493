// A service that offers HTTP/2 by TLS. It answers each request with how many connections and requests there were before.
// Arguments: the files of a certificate and its key. Says its port, and ends with its standard input.
"use strict";

const http2 = require("node:http2");
const { readFileSync } = require("node:fs");

const [cert, key] = process.argv.slice(2).map((file) => readFileSync(file));
const server = http2.createSecureServer({ cert, key, allowHTTP1: true });
let connections = 0;
let requests = 0;
server.on("secureConnection", () => connections++);
server.on("request", (request, response) => {
  requests++;
  response.setHeader("content-type", "application/json");
  request.resume().on("end", () => response.end(JSON.stringify({ version: request.httpVersion, connections, requests })));
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
process.stdin.resume().on("end", () => process.exit(0));
