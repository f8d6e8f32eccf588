"""Gatehouse for Python: identifies the user of a request by the session that Gatehouse keeps in Redis.

It implements docs/session-format.md; numbers in comments refer to its rules. Copy this file into your app. It requires
Python 3.9 or later and redis-py 4 or later, and Flask or Django only for their integrations.
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

SIGNED_IN, SIGNED_OUT, USER_NOT_CACHED = "signed in", "signed out", "user not cached"

_log = logging.getLogger("gatehouse")

_CHANNEL = "gatehouse:used"
_LOOKUP_TIMEOUT = 2.0  # seconds for a whole lookup, including the next two
_LOAD_TIMEOUT = 1.0  # seconds for Gatehouse to load a user into the cache
_PUBLISH_TIMEOUT = 0.25  # seconds to report that a session is in use
_MAX_SESSION_BYTES = 8192
_MAX_COOKIES = 4
_MAX_SAFE_INTEGER = 2**53 - 1
_COOKIE = re.compile(r"[A-Za-z0-9_-]{43}")
_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?Z")


_UNAUTHORIZED = "Please sign in.\n"
_FORBIDDEN = "You don't have access. Need it? Ask an administrator.\n"
_UNAVAILABLE = "We can't check your sign-in right now. You have not been signed out. Try again in a few seconds.\n"


class GatehouseUnavailable(Exception):
    """The session cannot be checked right now. Respond with 503 and Retry-After; the visitor is not signed out."""


@dataclass(frozen=True)
class User:
    """A user who is signed in. name may be empty; email is empty unless it is verified."""

    id: str
    username: str
    name: str = ""
    email: str = ""
    groups: List[str] = field(default_factory=list)
    permissions: List[str] = field(default_factory=list)

    @property
    def display_name(self) -> str:
        """The name, or the username if there is no name."""
        return self.name or self.username

    def has_permission(self, permission: str) -> bool:
        """Returns whether the user has the permission. "users.manage" includes "users.view"."""
        if permission in self.permissions:
            return True
        return permission == "users.view" and "users.manage" in self.permissions

    def in_group(self, group: str) -> bool:
        """Returns whether the user is in the group."""
        return group in self.groups


@dataclass(frozen=True)
class CheckResult:
    """The result of a check: SIGNED_IN with the user, SIGNED_OUT or USER_NOT_CACHED."""

    state: str
    user: Optional[User] = None
    session_id: str = ""
    renewed_ttl: float = 0.0  # seconds until the session's key expires after it is renewed


_SIGNED_OUT_RESULT = CheckResult(SIGNED_OUT)


def check(cookie: str, lookup: Callable[[str], Optional[bytes]], now: Optional[datetime] = None) -> CheckResult:
    """Applies the rules of the session format to one cookie. lookup returns the bytes of a Redis key, or None."""
    now = now or datetime.now(timezone.utc)
    if not _is_cookie(cookie):
        return _SIGNED_OUT_RESULT  # 1
    session_id = _session_id(cookie)
    session = _parse_session(lookup("session:" + session_id), session_id, now)
    if session is None:
        return _SIGNED_OUT_RESULT
    renewed_ttl = min(session["idle_seconds"], (session["deadline"] - now).total_seconds())
    raw = lookup("user:" + session["user_id"])
    if raw is None or raw.startswith(b"lease:"):
        return CheckResult(USER_NOT_CACHED, None, session_id, renewed_ttl)
    user = _parse_user(raw, session)
    return CheckResult(SIGNED_IN, user, session_id, renewed_ttl) if user else _SIGNED_OUT_RESULT


def check_all(cookies: List[str], lookup: Callable[[str], Optional[bytes]], now: Optional[datetime] = None) -> CheckResult:
    """Checks the cookies in order and returns the result for the first one that is not signed out."""
    results = (check(cookie, lookup, now) for cookie in cookies)
    return next((result for result in results if result.state != SIGNED_OUT), _SIGNED_OUT_RESULT)


def session_cookies(header: str, name: str) -> List[str]:
    """Returns the values of the cookies with that name that have the format of a session token: at most the first four.
    header has one character per byte (Latin-1), as in WSGI."""
    found = []
    for part in header.split(";"):
        # strip() without arguments also removes \xa0, with which a sibling host could get around the prefix __Host-.
        key, _, value = part.strip(" \t").partition("=")
        if key.rstrip(" \t") == name and _is_cookie(value):
            found.append(value)
    return found[:_MAX_COOKIES]


def _session_id(cookie: str) -> str:
    digest = hashlib.sha256(cookie.encode("ascii")).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode("ascii")


def _is_cookie(value: Any) -> bool:
    return isinstance(value, str) and _COOKIE.fullmatch(value) is not None


def _parse_session(raw: Optional[bytes], session_id: str, now: datetime) -> Optional[dict]:
    if raw is None or len(raw) > _MAX_SESSION_BYTES:
        return None  # 2
    record = _parse_object(raw)
    if record is None or not _is_integer(record.get("v"), 1, 1) or record.get("id") != session_id:
        return None  # 3, 4
    if not _is_nonempty_string(record.get("user_id")) or not _is_integer(record.get("epoch"), 0, _MAX_SAFE_INTEGER):
        return None  # 5, 6
    if not _is_integer(record.get("idle_seconds"), 1, 315_360_000):
        return None  # 7
    deadline = _parse_time(record.get("deadline"))
    if deadline is None or deadline <= now:
        return None  # 8
    record["deadline"] = deadline
    return record


def _parse_user(raw: bytes, session: dict) -> Optional[User]:
    record = _parse_object(raw)
    if record is None or not _is_integer(record.get("v"), 1, 1) or record.get("id") != session["user_id"]:
        return None  # 9, 10
    epoch = record.get("epoch")
    if record.get("active") is not True or not _is_integer(epoch, 0, _MAX_SAFE_INTEGER) or epoch != session["epoch"]:
        return None  # 11
    name, email = record.get("name", ""), record.get("email", "")
    groups, permissions = _string_list(record.get("groups")), _string_list(record.get("permissions"))
    if not _is_nonempty_string(record.get("username")) or not isinstance(name, str) or not isinstance(email, str):
        return None  # 12
    if groups is None or permissions is None:
        return None
    if record.get("email_verified") is not True:
        email = ""  # an unverified address may belong to someone else
    return User(record["id"], record["username"], name, email, groups, permissions)


def _parse_object(raw: bytes) -> Optional[dict]:
    # json.loads would guess the encoding of bytes and accept a byte order mark.
    try:
        record = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _is_integer(value: Any, least: int, most: int) -> bool:
    return type(value) is int and least <= value <= most  # bool is a subclass of int


def _is_nonempty_string(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _string_list(value: Any) -> Optional[List[str]]:
    if value is None:
        return []
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        return value
    return None


def _parse_time(value: Any) -> Optional[datetime]:
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        return None
    try:
        parsed = datetime.strptime(match[1], "%Y-%m-%dT%H:%M:%S")
    except ValueError:
        return None
    if match[1].endswith((":60", ":61")):
        return None  # strptime accepts leap seconds
    micros = int((match[2] or "").ljust(6, "0")[:6])
    return parsed.replace(microsecond=micros, tzinfo=timezone.utc)


class Gatehouse:
    """Identifies the users of requests. It caches no users. Create one per process; it is thread-safe."""

    def __init__(self, redis_url: str, base_url: str, cache_url: Optional[str] = None, cookie_domain: Optional[str] = None):
        """The arguments are Gatehouse's REDIS_URL, BASE_URL, CACHE_URL (by default the database after that of redis_url)
        and COOKIE_DOMAIN. Raises ValueError for an invalid one. It does not connect."""
        base = urlsplit(base_url)
        if base.scheme not in ("http", "https") or not base.hostname:
            raise ValueError("gatehouse: base_url must be a URL such as https://login.example.org")
        self.base_url = f"{base.scheme}://{base.netloc}"
        self.cookie_name = "gatehouse"
        if base.scheme == "https":
            self.cookie_name = ("__Secure-" if cookie_domain else "__Host-") + "gatehouse"
        self._sessions = _connect(redis_url, None)
        next_database = self._sessions.connection_pool.connection_kwargs.get("db", 0) + 1
        self._cache = _connect(cache_url, None) if cache_url else _connect(redis_url, next_database)

    def user(self, cookie_header: Optional[str]) -> Optional[User]:
        """Returns the user who sent the Cookie header, or None. Raises GatehouseUnavailable."""
        import redis

        cookies = session_cookies(cookie_header or "", self.cookie_name)
        if not cookies:
            return None
        _deadline.at = time.monotonic() + _LOOKUP_TIMEOUT
        try:
            users = (self._lookup(cookie) for cookie in cookies)
            return next((user for user in users if user is not None), None)
        except redis.RedisError as err:
            raise GatehouseUnavailable(f"redis: {err}") from err
        finally:
            _deadline.at = None

    def sign_in_url(self, return_to: str) -> str:
        """Returns the URL of the sign-in page, which redirects back to the absolute URL return_to."""
        return self.base_url + "/login?next=" + quote(return_to, safe="")

    def sign_out_url(self) -> str:
        """Returns the URL of the sign-out page, which asks for confirmation and ends the session for all apps."""
        return self.base_url + "/sign-out"

    def _lookup(self, cookie: str) -> Optional[User]:
        ttl = 0

        def get(key: str) -> Optional[bytes]:
            nonlocal ttl
            if key.startswith("user:"):
                return self._cache.get(key)
            with self._sessions.pipeline(transaction=False) as both:
                value, ttl = both.get(key).pttl(key).execute()
            return value

        result = check(cookie, get)
        if result.state == USER_NOT_CACHED:
            return self._load_user(cookie, result.session_id)
        if result.user and ttl < 900 * result.renewed_ttl:  # ttl is in ms, and a tenth has passed
            self._report_use(result.session_id)
        return result.user

    def _report_use(self, session_id: str) -> None:
        """Asks Gatehouse to renew the session. A failure is only logged: the next request tries again."""
        import redis

        _deadline.at = min(_deadline.at, time.monotonic() + _PUBLISH_TIMEOUT)
        try:
            self._sessions.publish(_CHANNEL, session_id)
        except redis.RedisError as err:
            _log.warning("gatehouse: cannot report that a session is in use: %s", err)

    def _load_user(self, cookie: str, session_id: str) -> Optional[User]:
        """Asks Gatehouse to load the session's user into the cache, and waits for it."""
        if self._sessions.publish(_CHANNEL, session_id) == 0:
            raise GatehouseUnavailable("the user is not in the cache, and no Gatehouse server is running to load it")
        until, pause = time.monotonic() + _LOAD_TIMEOUT, 0.005
        while time.monotonic() < until:
            time.sleep(min(pause, max(until - time.monotonic(), 0)))
            pause *= 2
            result = check(cookie, lambda key: (self._cache if key.startswith("user:") else self._sessions).get(key))
            if result.state != USER_NOT_CACHED:
                return result.user
            # A change may have dropped the loaded user.
            self._sessions.publish(_CHANNEL, session_id)
        raise GatehouseUnavailable(f"no Gatehouse server loaded the user into the cache within {_LOAD_TIMEOUT:g} s")


def _connect(url: str, database: Optional[int]):
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    # Newer versions of redis-py retry three times by default, each with the full timeout.
    client = redis.Redis.from_url(
        url, socket_timeout=_LOOKUP_TIMEOUT, socket_connect_timeout=_LOOKUP_TIMEOUT, max_connections=64, retry=Retry(NoBackoff(), 0)
    )
    client.connection_pool.connection_class = _with_deadline(client.connection_pool.connection_class)
    if database is not None:
        client.connection_pool.connection_kwargs["db"] = database
    return client


# The deadline of this thread's lookup by time.monotonic(); None outside of a lookup.
_deadline = threading.local()


def _time_left() -> float:
    import redis

    at = getattr(_deadline, "at", None)
    left = _LOOKUP_TIMEOUT if at is None else at - time.monotonic()
    if left <= 0:
        raise redis.TimeoutError(f"no reply within {_LOOKUP_TIMEOUT:g} s")
    return left


def _with_deadline(connection_class):
    """Returns a subclass whose waits end at the deadline of the lookup. redis-py bounds each wait separately, so that
    those for connecting, the session, the user and PUBLISH would add up."""

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
                self.disconnect()  # a late reply would be read as that of another request
                raise
            self.socket_connect_timeout = self.socket_timeout = left
            if self._sock is not None:
                self._sock.settimeout(left)

    return Connection


def wants_html(method: str, accept: str) -> bool:
    """Returns whether a browser requests a page, and can be redirected to sign in."""
    return method in ("GET", "HEAD") and "text/html" in accept


# --- Flask ---------------------------------------------------------------------------------------------------------


class FlaskGatehouse(Gatehouse):
    """Flask integration: identify(), and decorators for views.

    Behind a proxy, use werkzeug's ProxyFix, so that redirects return to the app's public URL.
    """

    def identify(self) -> Optional[User]:
        """Returns the user, or None. It looks the session up once per request, and aborts with 503 if that fails."""
        from flask import g, request

        if "gatehouse_user" not in g:
            try:
                g.gatehouse_user = self.user(request.headers.get("Cookie"))
            except GatehouseUnavailable as err:
                g.gatehouse_user = None
                self._unavailable(err)
        return g.gatehouse_user

    @staticmethod
    def current_url() -> str:
        """Returns the absolute URL of the request. Unlike request.url, it keeps the query string as it was sent."""
        from flask import request

        query = request.environ.get("QUERY_STRING", "")
        path = quote(request.root_path.rstrip("/") + request.path, safe="/:@!$&'()*+,;=~")
        return request.host_url.rstrip("/") + path + ("?" + query if query else "")

    def require_user(self, view):
        """Requires a signed-in user. Otherwise browsers are redirected to sign in, and other clients get a 401."""
        return self._require(view, lambda user: True)

    def require_permission(self, permission: str):
        """Like require_user, with a 403 for users without the permission."""
        return lambda view: self._require(view, lambda user: user.has_permission(permission))

    def require_group(self, group: str):
        """Like require_user, with a 403 for users who are not in the group."""
        return lambda view: self._require(view, lambda user: user.in_group(group))

    def _require(self, view, allowed):
        from flask import make_response, redirect, request

        @functools.wraps(view)
        def protected(*args, **kwargs):
            user = self.identify()
            if user is not None and not allowed(user):
                self._abort(403, _FORBIDDEN)
            if user is not None:
                response = make_response(view(*args, **kwargs))
            elif wants_html(request.method, request.headers.get("Accept", "")):
                response = redirect(self.sign_in_url(self.current_url()), 303)
            else:
                self._abort(401, _UNAUTHORIZED)
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return protected

    def _unavailable(self, err: Exception):
        from flask import current_app

        current_app.logger.warning("gatehouse: cannot check the session: %s", err)
        self._abort(503, _UNAVAILABLE, {"Retry-After": "5"})

    @staticmethod
    def _abort(status: int, message: str, headers=None):
        from flask import abort, make_response

        common = {"Cache-Control": "no-store", "Content-Type": "text/plain; charset=utf-8"}
        abort(make_response(message, status, {**common, **(headers or {})}))


# --- Django --------------------------------------------------------------------------------------------------------


class DjangoUser:
    """request.user for a signed-in user: the interface that Django expects, without a table. gatehouse is the User."""

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
    """For AUTHENTICATION_BACKENDS: checks permissions. Users sign in at Gatehouse, so authenticate does nothing."""

    def authenticate(self, request, **credentials):
        return None

    def get_user(self, user_id):
        return None

    def has_perm(self, user, permission, obj=None) -> bool:
        return isinstance(user, DjangoUser) and user.gatehouse.has_permission(permission)


class DjangoAnonymousUser:
    """request.user for a visitor who is not signed in. Django's own class would require its tables."""

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
    """For MIDDLEWARE, instead of AuthenticationMiddleware: sets request.user.

    Settings: GATEHOUSE_REDIS_URL, GATEHOUSE_BASE_URL, optionally GATEHOUSE_CACHE_URL and GATEHOUSE_COOKIE_DOMAIN, and
    LOGIN_URL = GATEHOUSE_BASE_URL + "/login", to which Django's decorators redirect. Behind a proxy, set
    SECURE_PROXY_SSL_HEADER and USE_X_FORWARDED_HOST, so that redirects return to the app's public URL.
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
        except GatehouseUnavailable as err:
            return self._unavailable(err)
        request.user = DjangoUser(user) if user else DjangoAnonymousUser()
        response = self._replace_redirect(request, user, self.get_response(request))
        if not response.has_header("Cache-Control"):
            response["Cache-Control"] = "no-store"
        return response

    def _replace_redirect(self, request, user, response):
        """Replaces the redirect of Django's decorators to the sign-in page with the right response for this visitor."""
        if response.status_code != 302 or not response["Location"].startswith(self.gatehouse.base_url + "/login?next="):
            return response
        from django.core.exceptions import PermissionDenied
        from django.core.handlers.exception import response_for_exception
        from django.http import HttpResponse

        if user is not None:
            # The user lacks a permission: signing in again would redirect here in a loop.
            return response_for_exception(request, PermissionDenied())
        if wants_html(request.method, request.headers.get("Accept", "")):
            response.status_code = 303
            response["Location"] = self.gatehouse.sign_in_url(request.build_absolute_uri())
            return response
        return HttpResponse(_UNAUTHORIZED, status=401, content_type="text/plain; charset=utf-8")

    @staticmethod
    def _unavailable(err: Exception):
        from django.http import HttpResponse

        _log.warning("gatehouse: cannot check the session: %s", err)
        response = HttpResponse(_UNAVAILABLE, status=503, content_type="text/plain; charset=utf-8")
        response["Retry-After"], response["Cache-Control"] = "5", "no-store"
        return response
