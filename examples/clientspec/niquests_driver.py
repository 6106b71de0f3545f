"""niquests as a driver.

h2wsgi-clientspec --driver -- python examples/clientspec/niquests_driver.py
"""

import niquests
from json_lines import drive, told


def make_client(ca):
    session = niquests.Session(disable_http1=False, disable_http3=True)
    session.verify = ca
    session.trust_env = False

    def request(method, url, content):
        response = session.request(method, url, data=content, timeout=5, allow_redirects=False)
        return told(response.status_code, response.content or b"", response.headers)

    return request, session.close


drive(make_client)
