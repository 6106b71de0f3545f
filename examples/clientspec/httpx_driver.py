"""httpx as a driver: h2wsgi-clientspec --driver -- python examples/clientspec/httpx_driver.py"""

import ssl

import httpx
from json_lines import drive, told


def make_client(ca):
    context = ssl.create_default_context(cafile=ca)
    client = httpx.Client(http2=True, verify=context, timeout=5, trust_env=False)

    def request(method, url, content):
        response = client.request(method, url, content=content)
        return told(response.status_code, response.content, response.headers)

    return request, client.close


drive(make_client)
