"""Example app for Django, without a database: gunicorn -b 127.0.0.1:5000 django_app:application"""

import os

from django.conf import settings

settings.configure(
    SECRET_KEY=os.environ.get("SECRET_KEY", "the example signs nothing with it"),
    ALLOWED_HOSTS=["localhost", "127.0.0.1", "[::1]"] + os.environ.get("ALLOWED_HOSTS", "").split(),
    ROOT_URLCONF=__name__,
    # Django's decorators require its apps; they use no database here.
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes"],
    MIDDLEWARE=["django.middleware.security.SecurityMiddleware", "gatehouse.DjangoMiddleware"],
    AUTHENTICATION_BACKENDS=["gatehouse.DjangoBackend"],
    USE_TZ=True,
    GATEHOUSE_REDIS_URL=os.environ["REDIS_URL"],
    GATEHOUSE_CACHE_URL=os.environ.get("CACHE_URL"),
    GATEHOUSE_BASE_URL=os.environ["BASE_URL"],
    GATEHOUSE_COOKIE_DOMAIN=os.environ.get("COOKIE_DOMAIN"),
    LOGIN_URL=os.environ["BASE_URL"] + "/login",
)

from django.contrib.auth.decorators import login_required, permission_required  # noqa: E402  (after the settings)
from django.core.wsgi import get_wsgi_application  # noqa: E402
from django.http import HttpResponse, JsonResponse  # noqa: E402
from django.urls import path  # noqa: E402

import pages  # noqa: E402


@login_required
def home(request):
    return HttpResponse(pages.home(request.user.gatehouse, request.gatehouse.sign_out_url()))


def open_page(request):
    user = request.user.gatehouse if request.user.is_authenticated else None
    return HttpResponse(pages.open_page(user, request.gatehouse.sign_in_url(request.build_absolute_uri())))


@permission_required("reports.view")
def reports(request):
    return HttpResponse(pages.reports())


@login_required
def whoami(request):
    return JsonResponse(pages.whoami(request.user.gatehouse))


urlpatterns = [path("", home), path("open", open_page), path("reports", reports), path("whoami", whoami)]
application = get_wsgi_application()
