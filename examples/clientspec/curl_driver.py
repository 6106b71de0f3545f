"""curl as a driver: h2wsgi-clientspec --driver -- python examples/clientspec/curl_driver.py

GETs that come together are one run of curl, which makes them at once; everything else is a run of
its own. So no connection outlives what came together.
"""

import hashlib
import json
import os
import select
import subprocess
import sys
import tempfile
from pathlib import Path

CURL = ["curl", "-q", "--http2", "-sS", "-Z", "-m", "8"]
STAMP = "%{urlnum} %{exitcode} %{http_code} %{errormsg}\n"
TOGETHER = 0.02
"""Seconds in which orders come together."""


def run(orders):
    """Carry out orders that are alike; return their answers."""
    with tempfile.TemporaryDirectory() as name:
        files = [Path(name) / str(number) for number in range(len(orders))]
        argv = [*CURL, "--cacert", orders[0]["ca"], "-w", STAMP]
        for order, file in zip(orders, files, strict=True):
            argv += ["-o", str(file), order["url"]]
        if orders[0]["do"] == "head":
            argv.append("-I")
        if orders[0]["do"] == "post":
            argv += ["--data-binary", "@-"]
        content = b"x" * orders[0]["size"]
        said = subprocess.run(argv, input=content, capture_output=True, check=False).stdout
        answers = [{"id": order["id"], "error": "curl ended"} for order in orders]
        for line in said.decode("utf-8", "replace").splitlines():
            number, code, status, error = (line.split(" ", 3) + [""] * 4)[:4]
            answers[int(number)] = {"id": orders[int(number)]["id"]}
            if code != "0":
                answers[int(number)]["error"] = f"exit code {code}: {error}"
                continue
            file = files[int(number)]
            is_content = file.exists() and orders[0]["do"] != "head"
            content = file.read_bytes() if is_content else b""
            digest = hashlib.sha256(content).hexdigest()
            answers[int(number)] |= {"status": int(status), "digest": digest}
            answers[int(number)] |= {"length": len(content)}
        return answers


def main():
    octets, ended = b"", False
    while not ended:
        *lines, octets = octets.split(b"\n")
        orders = [json.loads(line) for line in lines]
        # More may be on its way.
        while select.select([0], [], [], TOGETHER if orders else None)[0]:
            came = os.read(0, 65536)
            octets += came
            *lines, octets = octets.split(b"\n")
            orders += [json.loads(line) for line in lines]
            if not came:
                ended = True
                break
        gets = [order for order in orders if order["do"] == "get"]
        answers = run(gets) if gets else []
        for order in orders:
            if order["do"] == "close":
                answers.append({"id": order["id"]})
            elif order["do"] != "get":
                answers += run([order])
        for answer in answers:
            sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


main()
