// Node's http2 as a driver: h2wsgi-clientspec --driver -- node examples/clientspec/node_driver.mjs
//
// A response has ended when its stream says "end", and failed when it says "error" or "aborted", or
// closes without either.
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { connect } from "node:http2";
import { createInterface } from "node:readline";

const sessions = new Map();
const say = (answer) => process.stdout.write(JSON.stringify(answer) + "\n");

function sessionOf(origin, ca) {
  const known = sessions.get(origin);
  if (known && !known.closed && !known.destroyed) return known;
  const session = connect(origin, { ca: readFileSync(ca) });
  session.on("error", () => {}); // each of its streams says so too
  sessions.set(origin, session);
  return session;
}

function carryOut(order) {
  const url = new URL(order.url);
  const hash = createHash("sha256");
  const answer = { id: order.id, length: 0 };
  let answered = false;
  const done = (error) => {
    if (answered) return;
    answered = true;
    say(error ? { id: order.id, error: String(error) } : { ...answer, digest: hash.digest("hex") });
  };
  try {
    const session = sessionOf(url.origin, order.ca);
    session.on("error", done);
    session.on("close", () => done("the session closed"));
    const stream = session.request(
      { ":method": order.do.toUpperCase(), ":path": url.pathname + url.search },
      { endStream: order.do !== "post" },
    );
    if (order.do === "post") stream.end(Buffer.alloc(order.size, "x"));
    stream.on("response", (fields) => {
      answer.status = fields[":status"];
      if ("x-check" in fields) answer.check = fields["x-check"];
    });
    stream.on("trailers", (fields) => {
      if ("x-trailer" in fields) answer.trailer = fields["x-trailer"];
    });
    stream.on("data", (piece) => {
      hash.update(piece);
      answer.length += piece.length;
    });
    stream.on("aborted", () => done("aborted"));
    stream.on("error", done);
    stream.on("end", () => setImmediate(done));
    stream.on("close", () => setImmediate(done, "closed"));
  } catch (error) {
    done(error);
  }
}

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const order = JSON.parse(line);
    if (order.do !== "close") return carryOut(order);
    for (const session of sessions.values()) session.destroy();
    sessions.clear();
    say({ id: order.id });
  })
  .on("close", () => process.exit());
