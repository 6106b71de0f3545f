"""The site's views and where they are."""

import csv
import hashlib

from django.http import HttpResponseBadRequest, JsonResponse, StreamingHttpResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST


def index(request):
    """Say how the request came."""
    return JsonResponse(
        {
            "framework": "Django",
            "protocol": request.META["SERVER_PROTOCOL"],
            "host": request.get_host(),
            "secure": request.is_secure(),
        }
    )


@csrf_exempt  # no cookie gives anybody rights here; leave it out where one does
@require_POST
def upload(request):
    """Digest an uploaded file, which is a temporary file by now."""
    if (uploaded := request.FILES.get("file")) is None:
        return HttpResponseBadRequest("Send a form with a file in its field 'file'.\n")
    with open(uploaded.temporary_file_path(), "rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return JsonResponse({"name": uploaded.name, "size": uploaded.size, "sha256": sha256})


class Line:
    """A file for csv.writer that hands each line back instead of keeping it."""

    def write(self, text):
        """Return what writerow() shall return."""
        return text


def rows(request):
    """Stream a table; it is never whole in memory, and a slow client slows the loop down."""
    try:
        number_of_rows = int(request.GET.get("rows", 1000))
    except ValueError:
        return HttpResponseBadRequest("rows is not a number.\n")
    writer = csv.writer(Line())

    def lines():
        yield writer.writerow(["number", "square"])
        for number in range(number_of_rows):
            yield writer.writerow([number, number * number])

    return StreamingHttpResponse(lines(), content_type="text/csv")


urlpatterns = [
    path("", index),
    path("upload", upload),
    path("rows.csv", rows),
]
