"""A bare repository, served by dulwich for cloning and pushing."""

from __future__ import annotations

from dulwich.repo import Repo
from dulwich.server import DictBackend
from dulwich.web import make_wsgi_chain

repository = Repo.init_bare("shop.git", mkdir=True)
app = make_wsgi_chain(DictBackend({"/shop.git": repository}))
