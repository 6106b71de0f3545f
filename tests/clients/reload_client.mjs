// Asks again and again at a pace, on one session as long as that is good; says what came of it.
// What Node itself refuses to send, as GOAWAY has come since it was asked for, is asked anew.
// node reload_client.mjs URL SECONDS_BETWEEN ; ends when its standard input does.
import http2 from "node:http2";

const [url, pause] = [process.argv[2], Number(process.argv[3]) * 1000];
const result = { answered: 0, refused: 0, sessions: 0, failures: [], pids: {} };
let session = null;
let over = false;

function current() {
  if (session === null || session.closed || session.destroyed) {
    const mine = http2.connect(url);
    result.sessions += 1;
    mine.on("error", (error) => result.failures.push(`session: ${error.code}`));
    mine.on("goaway", () => { if (session === mine) session = null; });
    session = mine;
  }
  return session;
}

function ask() {
  return new Promise((resolve) => {
    const stream = current().request({ ":path": "/?client=node" });
    let body = "", status = 0;
    stream.on("response", (headers) => { status = headers[":status"]; });
    stream.setEncoding("utf8");
    stream.on("data", (text) => { body += text; });
    stream.on("error", (error) => {
      if (stream.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM) {
        result.refused += 1;
        resolve(ask());
        return;
      }
      result.failures.push(error.message);
      resolve();
    });
    stream.on("end", () => {
      if (status !== 200) result.failures.push(`status ${status}`);
      else { result.answered += 1; result.pids[JSON.parse(body).pid] = true; }
      resolve();
    });
  });
}

process.stdin.on("data", () => {}).on("end", () => { over = true; });
const open = new Set();
while (!over) {
  const asked = ask().finally(() => open.delete(asked));
  open.add(asked);
  await new Promise((resolve) => setTimeout(resolve, pause));
}
await Promise.all(open);
session?.close();
console.log(JSON.stringify(result));
process.exit(0);
