"""What the drivers in Python have in common: orders in, answers out, one JSON object a line.

The protocol is in docs/clientspec.md. Orders that come together are carried out at once.
"""

import hashlib
import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor


def told(status, content, fields):
    """Return what an answer says of a response."""
    answer = {"status": status, "digest": hashlib.sha256(content).hexdigest()}
    answer |= {"length": len(content)}
    return answer | ({"check": fields["x-check"]} if "x-check" in fields else {})


def drive(make_client):
    """Answer orders until there are no more.

    ``make_client(ca)`` returns two functions: ``request(method, url, content)``, which returns
    what :func:`told` does, and ``close()``.
    """
    lock = threading.Lock()
    clients = []

    def say(answer):
        with lock:
            print(json.dumps(answer), flush=True)

    def carry_out(order, request):
        content = b"x" * order["size"] if order["do"] == "post" else None
        try:
            answer = request(order["do"].upper(), order["url"], content)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        say({"id": order["id"], **answer})

    with ThreadPoolExecutor(20) as pool:
        for line in sys.stdin:
            order = json.loads(line)
            if order["do"] == "close":
                for _, close in clients:
                    close()
                clients.clear()
                say({"id": order["id"]})
                continue
            if not clients:
                clients.append(make_client(order["ca"]))
            pool.submit(carry_out, order, clients[0][0])
