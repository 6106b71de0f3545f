"""A project in Django with its admin, a database, and static files from WhiteNoise."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command
from django.http import FileResponse, HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.urls import path

FOLDER = Path.cwd()
DEBUG = "DJANGO_DEBUG" in os.environ
"""Whether it is a developer's: then without WhiteNoise, as ``startproject`` makes it."""

settings.configure(
    DEBUG=DEBUG,
    SECRET_KEY="only for tests",
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["localhost"],
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": FOLDER / "db.sqlite3"}
    },
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    INSTALLED_APPS=[
        "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
        "django.contrib.messages", "django.contrib.sessions", "django.contrib.staticfiles",
    ],
    MIDDLEWARE=[
        "django.middleware.security.SecurityMiddleware",
        *([] if DEBUG else ["whitenoise.middleware.WhiteNoiseMiddleware"]),
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.middleware.gzip.GZipMiddleware",
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
        "django.contrib.messages.middleware.MessageMiddleware",
    ],
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "APP_DIRS": True,
            "OPTIONS": {
                "context_processors": [
                    "django.template.context_processors.request",
                    "django.contrib.auth.context_processors.auth",
                    "django.contrib.messages.context_processors.messages",
                ],
            },
        },
    ],
    STATIC_URL="/static/",
    STATIC_ROOT=FOLDER / "static",
    STORAGES={
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
    } if not DEBUG else {
        "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
        "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    },
    SESSION_COOKIE_SECURE=True,
    CSRF_COOKIE_SECURE=True,
)  # fmt: skip
django.setup()

from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application
from django.views.decorators.csrf import csrf_exempt


@csrf_exempt
def upload(request: HttpRequest) -> JsonResponse:
    """Say what came as a form's file, or as the whole content."""
    if "file" in request.FILES:
        return JsonResponse({"octets": request.FILES["file"].size})
    return JsonResponse({"octets": len(request.body)})


def download(request: HttpRequest) -> FileResponse:
    return FileResponse((FOLDER / "db.sqlite3").open("rb"), filename="db.sqlite3")


def rows(request: HttpRequest) -> StreamingHttpResponse:
    def lines() -> Iterator[str]:
        return (f"{number}\n" for number in range(1000))

    return StreamingHttpResponse(lines(), content_type="text/csv")


def where(request: HttpRequest) -> HttpResponse:
    return HttpResponse(request.build_absolute_uri("/somewhere?x=1"))


urlpatterns: list[Any] = [
    path("admin/", admin.site.urls),
    path("upload", upload),
    path("download", download),
    path("rows", rows),
    path("where", where),
]

if not (FOLDER / "db.sqlite3").exists():
    # As a deployment does before it starts the server.
    call_command("migrate", verbosity=0)
    if not DEBUG:
        call_command("collectstatic", verbosity=0, interactive=False)
    User.objects.create_superuser("admin", "admin@localhost", "a secret")

app = get_wsgi_application()
if DEBUG:
    app = StaticFilesHandler(app)
