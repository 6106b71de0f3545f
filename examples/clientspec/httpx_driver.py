"""httpx as a driver: h2wsgi-clientspec --driver -- python examples/clientspec/httpx_driver.py"""

import contextlib
import ssl

import httpx
from anyio.from_thread import start_blocking_portal
from json_lines import drive, told


def make_client(ca):
    context = ssl.create_default_context(cafile=ca)
    # Threads that share a connection of httpx.Client spoil it now and then; tasks do not.
    stack = contextlib.ExitStack()
    portal = stack.enter_context(start_blocking_portal())
    client = httpx.AsyncClient(http2=True, verify=context, timeout=5, trust_env=False)
    stack.callback(lambda: portal.call(client.aclose))

    def request(method, url, content):
        response = portal.call(lambda: client.request(method, url, content=content))
        return told(response.status_code, response.content, response.headers)

    return request, stack.close


drive(make_client)
