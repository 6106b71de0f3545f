"""Settings of a site without a database; what is not here has Django's default."""

import os

from django.core.management.utils import get_random_secret_key

# A new key at each start signs everybody out; a real site keeps its own outside the repository.
SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or get_random_secret_key()

# What a client may ask for in :authority, the Host of HTTP/2.
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]"]

ROOT_URLCONF = "django_site.urls"
WSGI_APPLICATION = "django_site.wsgi.application"
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.common.CommonMiddleware",  # asks for the host, so that it is checked
    "django.middleware.csrf.CsrfViewMiddleware",
]
USE_TZ = True
TIME_ZONE = "UTC"  # Django makes it the whole process's, so the server logs in it too

# By default small files stay in memory; here every upload goes to disk as it comes in.
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]

# Without this an error is told to nobody unless DEBUG is on.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {
        "console": {"class": "logging.StreamHandler"},
        "nowhere": {"class": "logging.NullHandler"},
    },
    "root": {"handlers": ["console"], "level": "WARNING"},
    # A traceback for every scanner that comes along helps nobody; the access log has the 400.
    "loggers": {"django.security.DisallowedHost": {"handlers": ["nowhere"], "propagate": False}},
}
