"""A folder that WsgiDAV shares for reading and writing, with locks and properties."""

from __future__ import annotations

import os

from wsgidav.wsgidav_app import WsgiDAVApp

os.makedirs("shared", exist_ok=True)
app = WsgiDAVApp(
    {
        "provider_mapping": {"/": {"root": os.path.abspath("shared"), "readonly": False}},
        "simple_dc": {"user_mapping": {"*": {"eva": {"password": "a secret"}}}},
        "http_authenticator": {"accept_basic": True, "accept_digest": True},
        "lock_storage": True,
        "property_manager": True,
        "verbose": 1,
        "logging": {"enable": False},
    }
)
