// Scenarios of a Node client: node node_client.mjs SCENARIO URL CA_FILE
// Prints one JSON object. Whatever goes wrong ends the process with an error.
import { createHash } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import http2 from "node:http2";

const [scenario, url, caFile] = process.argv.slice(2);

function connect(options = { ca: readFileSync(caFile) }) {
  const session = http2.connect(url, options);
  session.on("goaway", (code) => { if (code !== 0) throw new Error(`GOAWAY ${code}`); });
  return session;
}

/** Send one request and return its whole response. */
async function fetch(session, headers, content = null) {
  const stream = session.request(headers, { endStream: content === null });
  const chunks = [];
  const closed = once(stream, "close");
  stream.on("data", (chunk) => chunks.push(chunk));
  const responded = once(stream, "response");
  if (content !== null) stream.end(content);
  const [response] = await responded;
  await closed;
  return {
    status: response[":status"],
    fields: response,
    body: Buffer.concat(chunks),
    code: stream.rstCode,
  };
}

const scenarios = {
  async verified() {
    const session = connect();
    await once(session, "connect");
    const { authorized, alpnProtocol } = session.socket;
    const { status, body } = await fetch(session, { ":path": "/hi" });
    session.close();
    return { authorized, alpnProtocol, status, body: body.toString() };
  },

  async untrusted() {
    const session = http2.connect(url);
    const [error] = await once(session, "error");
    return { code: error.code };
  },

  async concurrent() {
    const session = connect();
    const requests = Array.from({ length: 50 }, () => fetch(session, { ":path": "/together?50" }));
    const responses = await Promise.all(requests);
    session.close();
    return { statuses: responses.map(({ status }) => status) };
  },

  async upload() {
    const content = Buffer.alloc(8 * 1024 * 1024);
    for (let i = 0; i < content.length; i++) content[i] = (i * 31 + (i >> 8)) & 255;
    const expected = createHash("sha256").update(content).digest("hex");
    const session = connect();
    const headers = { ":method": "POST", ":path": "/digest" };
    const { status, body } = await fetch(session, headers, content);
    session.close();
    return { status, body: body.toString(), expected: `${content.length} ${expected}` };
  },

  async download() {
    const session = connect();
    const { status, body, code } = await fetch(session, { ":path": "/zeros?5000000" });
    session.close();
    return { status, length: body.length, code };
  },

  async refused() {
    // The server answers without reading. Node may never say "close" here: it waits for a write
    // that nobody takes any more. The response is whole at "end", unless "aborted" came first.
    const session = connect();
    const stream = session.request({ ":method": "POST", ":path": "/refuse" });
    const chunks = [];
    stream.on("data", (chunk) => chunks.push(chunk));
    stream.end(Buffer.alloc(8 * 1024 * 1024));
    const ended = once(stream, "end");
    const [response] = await once(stream, "response");
    await ended;
    const { aborted, rstCode: code } = stream;
    const after = await fetch(session, { ":path": "/hi" });
    session.destroy();
    const body = Buffer.concat(chunks).toString();
    return { status: response[":status"], body, aborted, code, after: after.status };
  },

  async cancelled() {
    const session = connect();
    const stream = session.request({ ":path": "/endless" });
    await once(stream, "data");
    stream.close(http2.constants.NGHTTP2_CANCEL);
    await once(stream, "close");
    const after = await fetch(session, { ":path": "/hi" });
    session.close();
    return { code: stream.rstCode, after: after.status };
  },

  async pinged() {
    const session = connect();
    await once(session, "connect");
    const sent = Buffer.from("12345678");
    const answer = await new Promise((resolve, reject) => {
      session.ping(sent, (error, _time, payload) => (error ? reject(error) : resolve(payload)));
    });
    session.close();
    return { answer: answer.toString() };
  },
};

const result = await scenarios[scenario]();
process.stdout.write(JSON.stringify(result) + "\n");
