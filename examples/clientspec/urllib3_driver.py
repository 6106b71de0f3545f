"""urllib3 as a driver: h2wsgi-clientspec --driver -- python examples/clientspec/urllib3_driver.py

Its HTTP/2 is an experiment, says urllib3, and has to be put in by hand.
"""

import urllib3
import urllib3.http2
from json_lines import drive, told

urllib3.http2.inject_into_urllib3()


def make_client(ca):
    pool = urllib3.PoolManager(ca_certs=ca, timeout=5, retries=False)

    def request(method, url, content):
        response = pool.request(method, url, body=content)
        return told(response.status, response.data, response.headers)

    return request, pool.clear


drive(make_client)
