"""A Django site in one file: sessions in Redis, users in SQLite. Arguments: PORT and a directory for its data.

DJANGO_SESSIONS is the address of its Redis, HOST:PORT.
"""

import io
import os
import pickle
import sys
import time
from unittest import mock
from wsgiref.simple_server import WSGIRequestHandler, make_server

import django
from django.conf import settings

port, data = int(sys.argv[1]), sys.argv[2]
host, _, redis_port = os.environ["DJANGO_SESSIONS"].partition(":")

settings.configure(
    SECRET_KEY=os.environ["DJANGO_SECRET_KEY"],
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "django.contrib.sessions"],
    MIDDLEWARE=[
        "django.contrib.sessions.middleware.SessionMiddleware",
        "django.contrib.auth.middleware.AuthenticationMiddleware",
    ],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.path.join(data, "django.db")}},
    # The first is for speed; the second makes what an import takes.
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher", "django.contrib.auth.hashers.PBKDF2PasswordHasher"],
    SESSION_ENGINE="redis_sessions.session",
    SESSION_REDIS={"host": host, "port": int(redis_port), "db": 3, "prefix": "session", "socket_timeout": 10},
)
django.setup()

from django.contrib.auth import authenticate, get_user_model, login, logout  # noqa: E402
from django.contrib.auth.hashers import make_password  # noqa: E402
from django.core import signing  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse  # noqa: E402
from django.test.utils import override_settings  # noqa: E402
from django.urls import path  # noqa: E402


def add(request):
    user = get_user_model()(username=request.GET["name"])
    user.password = make_password("secret", hasher=request.GET.get("hasher", "default"))
    user.save()
    return HttpResponse(user.pk)


def dump(request):
    export = io.StringIO()
    call_command("dumpdata", "auth.user", primary_keys=request.GET["id"], stdout=export)
    return HttpResponse(export.getvalue())


def sign_in(request):
    login(request, authenticate(request, username=request.GET["name"], password="secret"))
    if "expiry" in request.GET:
        request.session.set_expiry(int(request.GET["expiry"]))
    request.session["cart"] = ["ünïcödé", "x" * int(request.GET.get("more", 0))]
    return HttpResponse(request.user.username)


def whoami(request):
    return HttpResponse(request.user.username)


def save(request):
    request.session["seen"] = request.session.get("seen", 0) + 1
    return HttpResponse("saved")


def sign_out(request):
    logout(request)
    return HttpResponse("out")


def pickled(request):
    """What this session would be with the PickleSerializer, and with Django's cache backend."""
    with override_settings(SESSION_SERIALIZER="django.contrib.sessions.serializers.PickleSerializer"):
        signed = type(request.session)(request.session.session_key).encode(dict(request.session.items()))
    if "signed" in request.GET:
        return HttpResponse(signed)
    return HttpResponse(pickle.dumps(dict(request.session.items()), pickle.HIGHEST_PROTOCOL))


def resigned(request):
    """This session, signed for the salt in the address, and so many seconds ago."""
    then = time.time() - int(request.GET.get("ago", 0))
    with mock.patch("time.time", lambda: then):
        return HttpResponse(signing.dumps(dict(request.session.items()), salt=request.GET["salt"], compress=True))


urlpatterns = [path(view.__name__, view) for view in (add, dump, sign_in, whoami, save, sign_out, pickled, resigned)]


class Quiet(WSGIRequestHandler):
    def log_message(self, *args):
        pass


call_command("migrate", verbosity=0)
make_server("127.0.0.1", port, get_wsgi_application(), handler_class=Quiet).serve_forever()
