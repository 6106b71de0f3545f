// Asks what its standard input says, a JSON object a line, on one session as long as that is good;
// says of each request what came of it, with the content that it takes for whole.
// node node_client.mjs URL PATIENCE_MS ; ends when its standard input does.
import http2 from "node:http2";
import readline from "node:readline";

const [url, patience] = [process.argv[2], Number(process.argv[3])];
let session = null;

function current() {
  if (session === null || session.closed || session.destroyed) {
    const mine = http2.connect(url);
    mine.on("error", (error) => { mine.failed = String(error.code || error.message); });
    mine.on("connect", () => { mine.port = mine.socket.localPort; });
    mine.on("goaway", () => { if (session === mine) session = null; mine.close(); });
    mine.on("close", () => { if (session === mine) session = null; });
    session = mine;
  }
  return session;
}

function ask(task) {
  const began = Date.now() / 1000;
  return new Promise((resolve) => {
    const mine = current();
    const headers = { ":path": task.path };
    if (task.content !== undefined) headers[":method"] = "POST";
    const stream = mine.request(headers);
    let body = "", status = 0, ended = false, aborted = false, error = null, late = false;
    const clock = setTimeout(() => { late = true; stream.close(http2.constants.NGHTTP2_CANCEL); }, patience);
    stream.setEncoding("latin1");
    stream.on("response", (fields) => { status = fields[":status"]; });
    stream.on("data", (text) => { body += text; });
    stream.on("end", () => { ended = true; });
    stream.on("aborted", () => { aborted = true; });
    stream.on("error", (what) => { error = what; });
    stream.on("close", () => {
      clearTimeout(clock);
      const said = { name: task.name, began, ended: Date.now() / 1000,
        port: mine.port || 0, status, why: "" };
      if (late) said.outcome = "HANGS";
      else if (error === null && !aborted && ended && stream.rstCode === 0) {
        said.outcome = "WHOLE";
        said.body = body;
      } else if (stream.rstCode === http2.constants.NGHTTP2_REFUSED_STREAM) {
        said.outcome = "REFUSED";  // by the server, or by Node, which had not sent it yet
      } else said.outcome = "FAILED";
      if (said.outcome !== "WHOLE") {
        said.why = `${error && (error.code + " " + error.message)}, aborted ${aborted}, `
          + `rstCode ${stream.rstCode}, session ${mine.failed}, ${body.length} octets`;
      }
      console.log(JSON.stringify(said));
      resolve();
    });
    stream.end(task.content);
  });
}

const open = new Set();
for await (const line of readline.createInterface({ input: process.stdin })) {
  const asked = ask(JSON.parse(line)).finally(() => open.delete(asked));
  open.add(asked);
}
await Promise.all(open);
process.stdout.write("", () => process.exit(0));  // once all is written
