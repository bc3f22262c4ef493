// Loaded before the tool. Its standard input is a pipe that only the test process holds: when that process ends,
// however it ends, the pipe closes and the tool follows. It is asked politely first, so that what it keeps on disk
// is whole.
"use strict";

process.stdin.resume();
process.stdin.on("end", () => {
  setTimeout(() => process.exit(1), 10_000).unref();
  process.emit("SIGTERM");
});
// Nobody is left to read what it says at the end.
process.stdout.on("error", () => {});
