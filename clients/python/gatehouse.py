"""Gatehouse for Python: tells who is asking, from the session that Gatehouse keeps in Redis.

The contract is docs/session-format.md; the numbers in comments are its rules. One file; copy it. It needs
Python 3.9 or newer and the package redis (4 or newer); Flask and Django only where they are used.
"""

import base64
import functools
import hashlib
import json
import logging
import re
import threading
import time
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Callable, List, Optional
from urllib.parse import quote, urlsplit

SIGNED_IN, SIGNED_OUT, NOT_KNOWN = "signed in", "signed out", "user not cached"

_CHANNEL = "gatehouse:used"
_TIMEOUT = 2.0  # seconds for one lookup as a whole, however many replies of Redis it waits for
_PATIENCE = 1.0  # seconds of them for Gatehouse to fill the cache
_PUBLISH_TIMEOUT = 0.25  # seconds of them for saying that a session is in use
_MAX_RECORD = 8192
_MAX_COOKIES = 4
_MAX_WHOLE = 2**53 - 1
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?Z")


UNAVAILABLE = "Who is signed in cannot be looked up right now. Nobody was signed out; try again in a moment."


class Unavailable(Exception):
    """It cannot be told now who is asking: answer 503 with Retry-After, never "signed out"."""


@dataclass(frozen=True)
class User:
    """Who is asking. name may be empty, and so is email unless it is verified."""

    id: str
    username: str
    name: str = ""
    email: str = ""
    groups: List[str] = field(default_factory=list)
    permissions: List[str] = field(default_factory=list)

    def may(self, permission: str) -> bool:
        """Whether the user has the permission, of their own or through a group."""
        if permission in self.permissions:
            return True
        return permission == "users.view" and "users.manage" in self.permissions

    def is_in(self, group: str) -> bool:
        return group in self.groups


@dataclass(frozen=True)
class Answer:
    """What the records say: one of the three words, the user who is signed in, and the session's id."""

    word: str
    user: Optional[User] = None
    session_id: str = ""
    idle_left: float = 0.0  # seconds that the key has at most, were it used now


_NOBODY = Answer(SIGNED_OUT)


def check(cookie: str, look_up: Callable[[str], Optional[bytes]], now: Optional[datetime] = None) -> Answer:
    """Tells who has the cookie. look_up returns the bytes of "session:…" and "user:…", or None."""
    now = now or datetime.now(timezone.utc)
    if not _is_token(cookie):
        return _NOBODY  # 1
    session_id = session_id_of(cookie)
    session = _session(look_up("session:" + session_id), session_id, now)
    if session is None:
        return _NOBODY
    idle = min(session["idle_seconds"], (session["until"] - now).total_seconds())
    raw = look_up("user:" + session["user_id"])
    if raw is None or raw.startswith(b"lease:"):
        return Answer(NOT_KNOWN, None, session_id, idle)
    user = _user(raw, session)
    return Answer(SIGNED_IN, user, session_id, idle) if user else _NOBODY


def check_all(cookies: List[str], look_up: Callable[[str], Optional[bytes]], now: Optional[datetime] = None) -> Answer:
    """Checks the cookies in order and returns the answer for the first one that is not signed out."""
    answers = (check(cookie, look_up, now) for cookie in cookies)
    return next((answer for answer in answers if answer.word != SIGNED_OUT), _NOBODY)


def session_cookies(header: str, name: str) -> List[str]:
    """Returns the values in a Cookie header that may be the session's token: at most the first four of that name and the
    right shape. header has one character for each byte (Latin-1), as WSGI has it."""
    found = []
    for part in header.split(";"):
        # Only these two: strip() alone takes \xa0 from a name, with which a sibling host gets around the prefix __Host-.
        key, _, value = part.strip(" \t").partition("=")
        if key.rstrip(" \t") == name and _is_token(value):
            found.append(value)
    return found[:_MAX_COOKIES]


def session_id_of(cookie: str) -> str:
    """The H of "session:H"."""
    digest = hashlib.sha256(cookie.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _is_token(value: Any) -> bool:
    return isinstance(value, str) and _TOKEN.fullmatch(value) is not None


def _session(raw: Optional[bytes], session_id: str, now: datetime) -> Optional[dict]:
    if raw is None or len(raw) > _MAX_RECORD:
        return None  # 2
    record = _object(raw)
    if record is None or not _is_whole(record.get("v"), 1, 1) or record.get("id") != session_id:
        return None  # 3, 4
    if not _is_name(record.get("user_id")) or not _is_whole(record.get("epoch"), 0, _MAX_WHOLE):
        return None  # 5, 6
    if not _is_whole(record.get("idle_seconds"), 1, 315_360_000):
        return None  # 7
    until = _moment(record.get("deadline"))
    if until is None or until <= now:
        return None  # 8
    record["until"] = until
    return record


def _user(raw: bytes, session: dict) -> Optional[User]:
    record = _object(raw)
    if record is None or not _is_whole(record.get("v"), 1, 1) or record.get("id") != session["user_id"]:
        return None  # 9, 10
    epoch = record.get("epoch")
    if record.get("active") is not True or not _is_whole(epoch, 0, _MAX_WHOLE) or epoch != session["epoch"]:
        return None  # 11
    name, email = record.get("name", ""), record.get("email", "")
    groups, permissions = _names(record.get("groups")), _names(record.get("permissions"))
    if not _is_name(record.get("username")) or not isinstance(name, str) or not isinstance(email, str):
        return None  # 12
    if groups is None or permissions is None:
        return None
    # An address that is not verified is only what somebody typed.
    if record.get("email_verified") is not True:
        email = ""
    return User(record["id"], record["username"], name, email, groups, permissions)


def _object(raw: bytes) -> Optional[dict]:
    # json.loads would guess at the encoding of bytes, and take a byte order mark.
    try:
        record = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _is_whole(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most  # True is an int, too


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _names(value: Any) -> Optional[List[str]]:
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return value
    return None


def _moment(value: Any) -> Optional[datetime]:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    try:
        moment = datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return None
    if match[1].endswith((":60", ":61")):
        return None  # strptime takes leap seconds
    micros = int((match[2] or "").ljust(6, "0")[:6])
    return moment.replace(microsecond=micros, tzinfo=timezone.utc)


class Gatehouse:
    """Reads sessions. One for the whole program; safe for threads."""

    def __init__(self, redis_url: str, base_url: str, cache_url: Optional[str] = None, cookie_domain: Optional[str] = None):
        """redis_url, cache_url and cookie_domain are Gatehouse's REDIS_URL, CACHE_URL (by default the database after
        that of redis_url) and COOKIE_DOMAIN; base_url is its BASE_URL."""
        base = urlsplit(base_url)
        if base.scheme not in ("http", "https") or not base.hostname:
            raise ValueError("base_url must be Gatehouse's address, such as https://login.example.org")
        self.base_url = f"{base.scheme}://{base.netloc}"
        self.cookie_name = "gatehouse"
        if base.scheme == "https":
            self.cookie_name = ("__Secure-" if cookie_domain else "__Host-") + "gatehouse"
        self._sessions = _connect(redis_url, None)
        next_database = self._sessions.connection_pool.connection_kwargs.get("db", 0) + 1
        self._cache = _connect(cache_url, None) if cache_url else _connect(redis_url, next_database)

    def user(self, cookie_header: Optional[str]) -> Optional[User]:
        """Who sent the Cookie header, or None for nobody. Raises Unavailable when it cannot be told now."""
        import redis

        cookies = session_cookies(cookie_header or "", self.cookie_name)
        if not cookies:
            return None
        _deadline.at = time.monotonic() + _TIMEOUT
        try:
            users = (self._look_up(cookie) for cookie in cookies)
            return next((user for user in users if user is not None), None)
        except redis.RedisError as err:
            raise Unavailable("Redis does not answer") from err
        finally:
            _deadline.at = None

    def sign_in_url(self, address: str) -> str:
        """Where somebody signs in to come back to the whole address."""
        return self.base_url + "/login?next=" + quote(address, safe="")

    def sign_out_url(self) -> str:
        return self.base_url + "/sign-out"

    def _look_up(self, cookie: str) -> Optional[User]:
        left = [0]

        def get(key: str) -> Optional[bytes]:
            if key.startswith("user:"):
                return self._cache.get(key)
            with self._sessions.pipeline(transaction=False) as both:
                value, left[0] = both.get(key).pttl(key).execute()
            return value

        answer = check(cookie, get)
        if answer.word == NOT_KNOWN:
            return self._asked(cookie, answer.session_id)
        if answer.user and left[0] < 900 * answer.idle_left:
            self._report_use(answer.session_id)
        return answer.user

    def _report_use(self, session_id: str) -> None:
        """Asks Gatehouse to renew the session. The user is known by now, so a failure is logged, and the next request tries again."""
        import redis

        _deadline.at = min(_deadline.at, time.monotonic() + _PUBLISH_TIMEOUT)
        try:
            self._sessions.publish(_CHANNEL, session_id)
        except redis.RedisError as err:
            logging.getLogger("gatehouse").warning("gatehouse: could not report that a session is in use: %s", err)

    def _asked(self, cookie: str, session_id: str) -> Optional[User]:
        """Asks Gatehouse to bring the user into the cache, and waits for it."""
        if self._sessions.publish(_CHANNEL, session_id) == 0:
            raise Unavailable("no Gatehouse runs that could tell who this is")
        until, pause = time.monotonic() + _PATIENCE, 0.005
        while time.monotonic() < until:
            time.sleep(min(pause, max(until - time.monotonic(), 0)))
            pause *= 2
            answer = check(cookie, lambda key: (self._cache if key.startswith("user:") else self._sessions).get(key))
            if answer.word != NOT_KNOWN:
                return answer.user
            # What was brought in may have been dropped again by a change.
            self._sessions.publish(_CHANNEL, session_id)
        raise Unavailable("Gatehouse has not told who this is")


def _connect(url: str, database: Optional[int]):
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    # Newer versions of redis-py would try three times, each for as long.
    client = redis.Redis.from_url(
        url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT, max_connections=64, retry=Retry(NoBackoff(), 0)
    )
    client.connection_pool.connection_class = _with_deadline(client.connection_pool.connection_class)
    if database is not None:
        client.connection_pool.connection_kwargs["db"] = database
    return client


# When the lookup of this thread must end, by time.monotonic(); None outside of a lookup.
_deadline = threading.local()


def _time_left() -> float:
    import redis

    at = getattr(_deadline, "at", None)
    left = _TIMEOUT if at is None else at - time.monotonic()
    if left <= 0:
        raise redis.TimeoutError(f"no answer within {_TIMEOUT} seconds")
    return left


def _with_deadline(connection_class):
    """Returns the connection class with waits that end at the deadline of the lookup. redis-py bounds each wait
    by itself, so that connecting, the session, the user, and a PUBLISH would add up."""

    class Connection(connection_class):
        def connect(self):
            self._bound()
            super().connect()

        def send_packed_command(self, *args, **options):
            self._bound()
            super().send_packed_command(*args, **options)

        def read_response(self, *args, **options):
            self._bound()
            return super().read_response(*args, **options)

        def _bound(self):
            try:
                left = _time_left()
            except Exception:
                self.disconnect()  # a reply that is read later would answer another request
                raise
            self.socket_connect_timeout = self.socket_timeout = left
            if self._sock is not None:
                self._sock.settimeout(left)

    return Connection


def wants_page(method: str, accept: str) -> bool:
    """Whether a browser asks for a page, so that it can be sent to sign in."""
    return method in ("GET", "HEAD") and "text/html" in accept


# --- Flask ---------------------------------------------------------------------------------------------------------


class FlaskGatehouse(Gatehouse):
    """For Flask: current_user(), and decorators for views.

    Behind a proxy use werkzeug's ProxyFix, so that it knows the address that people type.
    """

    def current_user(self) -> Optional[User]:
        """Who is asking, or None; looked up once for each request. A look-up that fails aborts with 503."""
        from flask import g, request

        if "gatehouse_user" not in g:
            try:
                g.gatehouse_user = self.user(request.headers.get("Cookie"))
            except Unavailable as err:
                g.gatehouse_user = None
                self._unavailable(err)
        return g.gatehouse_user

    @staticmethod
    def address() -> str:
        """The whole address of the request, with its query as it was sent; request.url has another spelling of it."""
        from flask import request

        query = request.environ.get("QUERY_STRING", "")
        path = quote(request.root_path.rstrip("/") + request.path, safe="/:@!$&'()*+,;=~")
        return request.host_url.rstrip("/") + path + ("?" + query if query else "")

    def login_required(self, view):
        return self._guard(view, lambda user: True)

    def permission_required(self, permission: str):
        return lambda view: self._guard(view, lambda user: user.may(permission))

    def group_required(self, group: str):
        return lambda view: self._guard(view, lambda user: user.is_in(group))

    def _guard(self, view, allows):
        from flask import abort, make_response, redirect, request

        def refuse(status: int, sentence: str):
            headers = {"Cache-Control": "no-store", "Content-Type": "text/plain; charset=utf-8"}
            abort(make_response(sentence + "\n", status, headers))

        @functools.wraps(view)
        def guarded(*args, **kwargs):
            user = self.current_user()
            if user is not None and not allows(user):
                refuse(403, "Your account may not do this. Ask an administrator if it should.")
            if user is not None:
                response = make_response(view(*args, **kwargs))
            elif wants_page(request.method, request.headers.get("Accept", "")):
                response = redirect(self.sign_in_url(self.address()), 303)
            else:
                refuse(401, "Sign in first.")
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return guarded

    @staticmethod
    def _unavailable(err: Exception):
        from flask import abort, current_app, make_response

        current_app.logger.warning("gatehouse: %s", err)
        response = make_response(UNAVAILABLE + "\n", 503)
        response.headers.update({"Retry-After": "5", "Cache-Control": "no-store", "Content-Type": "text/plain; charset=utf-8"})
        abort(response)


# --- Django --------------------------------------------------------------------------------------------------------


class DjangoUser:
    """request.user for somebody who is signed in: what Django and its decorators ask of a user, without a table."""

    is_authenticated, is_anonymous, is_active = True, False, True
    is_staff = is_superuser = False
    USERNAME_FIELD, EMAIL_FIELD, backend = "username", "email", "gatehouse.DjangoBackend"

    def __init__(self, user: User):
        self.gatehouse = user
        self.pk = self.id = user.id
        self.username, self.name, self.email = user.username, user.name, user.email

    def __str__(self) -> str:
        return self.username

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, DjangoUser) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def get_username(self) -> str:
        return self.username

    def get_full_name(self) -> str:
        return self.name

    def get_short_name(self) -> str:
        return self.name or self.username

    def get_group_permissions(self, obj=None) -> set:
        return set()

    def get_all_permissions(self, obj=None) -> set:
        return set(self.gatehouse.permissions)

    def has_perm(self, permission: str, obj=None) -> bool:
        from django.contrib import auth

        return any(b.has_perm(self, permission, obj) for b in auth.get_backends() if hasattr(b, "has_perm"))

    def has_perms(self, permissions, obj=None) -> bool:
        return all(self.has_perm(p, obj) for p in permissions)

    def has_module_perms(self, app_label: str) -> bool:
        return any(p.startswith(app_label + ".") for p in self.gatehouse.permissions)


class DjangoBackend:
    """For AUTHENTICATION_BACKENDS: permissions are Gatehouse's. It signs nobody in; Gatehouse does."""

    def authenticate(self, request, **credentials):
        return None

    def get_user(self, user_id):
        return None

    def has_perm(self, user, permission, obj=None) -> bool:
        return isinstance(user, DjangoUser) and user.gatehouse.may(permission)


class DjangoNobody:
    """request.user for a visitor who is not signed in. Django's own would need its tables."""

    is_authenticated, is_anonymous, is_active, is_staff, is_superuser = False, True, False, False, False
    id = pk = None
    username = ""

    def __str__(self) -> str:
        return "AnonymousUser"

    def get_username(self) -> str:
        return ""

    def get_all_permissions(self, obj=None) -> set:
        return set()

    def has_perm(self, permission: str, obj=None) -> bool:
        return False

    def has_perms(self, permissions, obj=None) -> bool:
        return False

    def has_module_perms(self, app_label: str) -> bool:
        return False


class DjangoMiddleware:
    """For MIDDLEWARE, in the place of AuthenticationMiddleware: fills request.user.

    Settings: GATEHOUSE_REDIS_URL, GATEHOUSE_BASE_URL, and if Gatehouse has them GATEHOUSE_CACHE_URL and
    GATEHOUSE_COOKIE_DOMAIN; LOGIN_URL = GATEHOUSE_BASE_URL + "/login", to which Django's decorators send people. Behind a
    proxy set SECURE_PROXY_SSL_HEADER and USE_X_FORWARDED_HOST, so that they come back to the address that they typed.
    """

    def __init__(self, get_response):
        from django.conf import settings

        self.get_response = get_response
        self.gatehouse = Gatehouse(
            settings.GATEHOUSE_REDIS_URL, settings.GATEHOUSE_BASE_URL,
            getattr(settings, "GATEHOUSE_CACHE_URL", None), getattr(settings, "GATEHOUSE_COOKIE_DOMAIN", None),
        )

    def __call__(self, request):
        request.gatehouse = self.gatehouse
        try:
            user = self.gatehouse.user(request.META.get("HTTP_COOKIE"))
        except Unavailable as err:
            return self._unavailable(err)
        request.user = DjangoUser(user) if user else DjangoNobody()
        response = self._refused(request, user, self.get_response(request))
        if not response.has_header("Cache-Control"):
            response["Cache-Control"] = "no-store"
        return response

    def _refused(self, request, user, response):
        """Makes of Django's redirect to the sign-in what it should be for this visitor."""
        if response.status_code != 302 or not response["Location"].startswith(self.gatehouse.base_url + "/login?next="):
            return response
        from django.core.exceptions import PermissionDenied
        from django.core.handlers.exception import response_for_exception
        from django.http import HttpResponse

        if user is not None:
            # Signed in, and lacking a permission: signing in again would lead back here for ever.
            return response_for_exception(request, PermissionDenied())
        if wants_page(request.method, request.headers.get("Accept", "")):
            response.status_code = 303
            response["Location"] = self.gatehouse.sign_in_url(request.build_absolute_uri())
            return response
        return HttpResponse("Sign in first.\n", status=401, content_type="text/plain; charset=utf-8")

    @staticmethod
    def _unavailable(err: Exception):
        from django.http import HttpResponse

        logging.getLogger("gatehouse").warning("gatehouse: %s", err)
        response = HttpResponse(UNAVAILABLE + "\n", status=503, content_type="text/plain; charset=utf-8")
        response["Retry-After"], response["Cache-Control"] = "5", "no-store"
        return response
