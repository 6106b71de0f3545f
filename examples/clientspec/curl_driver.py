"""curl as a driver: h2wsgi-clientspec --driver -- python examples/clientspec/curl_driver.py

GETs that come together, and those that an order says are next, are one run of curl with several
URLs: it makes them at once, or one after the other on a connection that it keeps.
"""

import hashlib
import json
import os
import queue
import select
import subprocess
import tempfile
import threading
from collections import defaultdict
from pathlib import Path

# To standard error, which curl does not keep back until it ends.
STAMP = "%{stderr}@ %{urlnum} %{exitcode} %{http_code} %{errormsg}\n"
CURL = ["curl", "-q", "--http2", "--no-progress-meter", "-m", "8", "-w", STAMP]
TOGETHER = 0.02
"""Seconds in which orders come together."""
answers = defaultdict(queue.SimpleQueue)
"""What came of each URL that curl was told of."""


def run(order, urls, *more):
    """Run curl with these URLs, all as the order says."""
    with tempfile.TemporaryDirectory() as folder:
        upload, files = Path(folder) / "upload", [Path(folder) / str(n) for n in range(len(urls))]
        argv = [*CURL, *more, "--cacert", order["ca"]]
        if order["do"] == "post":
            upload.write_bytes(b"x" * order["size"])
            argv += ["--data-binary", f"@{upload}"]
        argv += ["-I"] if order["do"] == "head" else []
        for file, url in zip(files, urls, strict=True):
            argv += ["-o", str(file), url]
        left = dict(enumerate(urls))
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True, errors="replace") as curl:
            for line in curl.stderr:
                if line.startswith("@ "):
                    number, code, status, error = line[2:].split(" ", 3)
                    answer = {"error": f"exit code {code}: {error}"} if code != "0" else None
                    is_content = files[int(number)].exists() and order["do"] != "head"
                    content = files[int(number)].read_bytes() if is_content else b""
                    told = {"status": int(status), "length": len(content)}
                    told["digest"] = hashlib.sha256(content).hexdigest()
                    answers[left.pop(int(number))].put(answer or told)
        for url in left.values():
            answers[url].put({"error": "curl ended"})


def reply(order):
    answer = {} if order["do"] == "close" else answers[order["url"]].get()
    os.write(1, json.dumps({"id": order["id"], **answer}).encode() + b"\n")


def main():
    octets, came = b"", b"-"
    while came:
        orders = []
        while select.select([0], [], [], TOGETHER if orders else None)[0]:
            came = os.read(0, 65536)
            *lines, octets = (octets + came).split(b"\n")
            orders += [json.loads(line) for line in lines]
            if not came:
                break
        new = [order for order in orders if order.get("url") and order["url"] not in answers]
        gets = [order for order in new if order["do"] == "get"]
        work = [(order, [order["url"]]) for order in new if order["do"] != "get"]
        if len(gets) == 1:
            work.append((gets[0], [gets[0]["url"], *gets[0].get("next", "").split()]))
        elif gets:
            work.append((gets[0], [order["url"] for order in gets], "-Z"))
        for target, argument in [(run, words) for words in work] + [(reply, (o,)) for o in orders]:
            threading.Thread(target=target, args=argument, daemon=True).start()


main()
