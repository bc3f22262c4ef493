// A handler that does as it is told, for the tests of the double itself. It is told by its environment how to start,
// and by a message, which is JSON, how to answer.
"use strict";
const http = require("node:http");

const told = JSON.parse(process.env.START || "{}");
if (told.exit !== undefined) {
  process.exit(told.exit);
}

const parent = process.ppid;
setInterval(() => process.ppid === parent || process.exit(1), 20);

const server = http.createServer((request, response) => {
  let body = "";
  request.on("data", (piece) => (body += piece));
  request.on("end", () => {
    const answer = (status, text) => {
      response.writeHead(status, { "Content-Type": "application/json" });
      response.end(text);
    };
    if (request.url === "/") {
      return answer(200, "{}");
    }
    console.log(`${request.url} ${request.headers["x-azure-functions-invocationid"]}`);
    if (request.url.startsWith("/api/drop")) {
      return request.socket.destroy();
    }
    if (request.url.startsWith("/api")) {
      return answer(200, "{}");
    }
    const message = JSON.parse(Buffer.from(JSON.parse(body).Data.message, "base64").toString());
    if (message.exit !== undefined) {
      process.exit(message.exit);
    }
    if (message.status !== undefined) {
      return answer(message.status, "{}");
    }
    if (message.silent === undefined) {
      return answer(200, JSON.stringify({ ReturnValue: process.env }));
    }
  });
});
if (told.listen !== false) {
  server.listen(Number(process.env.FUNCTIONS_CUSTOMHANDLER_PORT), "127.0.0.1");
}
