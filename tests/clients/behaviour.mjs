// Node's http2 module does what it is told: node behaviour.mjs < orders.json
// Orders and results are those of python_client.py. The module neither pools connections nor sends
// anything again; this program connects anew when a session can take no more requests.
import { readFileSync } from "node:fs";
import http2 from "node:http2";

const orders = JSON.parse(readFileSync(0, "utf8"));
const SETTLE = 500; // milliseconds that "close" may come after the end or an error

function connect() {
  const session = http2.connect(orders.url, { ca: readFileSync(orders.ca_file) });
  session.on("error", () => {}); // its streams tell
  return session;
}

function request(session, step) {
  return new Promise((resolve) => {
    const headers = { ":method": step.method, ":path": step.path };
    const result = { octets: 0 };
    let stream;
    try {
      stream = session.request(headers, { endStream: step.size === 0 });
    } catch (error) {
      resolve({ error: error.code });
      return;
    }
    let ended = false;
    let settling = null;
    const done = () => {
      clearTimeout(settling);
      if (stream.rstCode) result.note = `rstCode ${stream.rstCode}`;
      if (stream.aborted) result.error ??= "aborted";
      if (!ended) result.error ??= "close without end";
      if (result.status === undefined) result.error ??= "end without response";
      resolve(result);
    };
    const settle = () => { settling ??= setTimeout(done, SETTLE); };
    stream.on("response", (fields) => { result.status = fields[":status"]; });
    stream.on("headers", (fields) => { result.seen = String(fields[":status"]); });
    stream.on("trailers", () => { result.seen = "trailers"; });
    stream.on("data", (chunk) => { result.octets += chunk.length; });
    stream.on("end", () => { ended = true; settle(); });
    stream.on("error", (error) => { result.error = error.code; settle(); });
    stream.on("close", done);
    stream.setTimeout(step.timeout * 1000, () => {
      result.error = "timeout";
      stream.close(http2.constants.NGHTTP2_CANCEL);
    });
    if (step.size) stream.end(Buffer.alloc(step.size));
  });
}

const results = {};
for (const [name, steps] of Object.entries(orders.scenarios)) {
  const sessions = [];
  results[name] = [];
  for (const step of steps) {
    let session = sessions.at(-1);
    if (!session || session.closed || session.destroyed) sessions.push((session = connect()));
    const all = Array.from({ length: step.times }, () => request(session, step));
    results[name].push(await Promise.all(all));
  }
  for (const session of sessions) session.destroy();
}
const { node, nghttp2 } = process.versions;
process.stdout.write(JSON.stringify({ versions: { node, nghttp2 }, results }), () => process.exit());
