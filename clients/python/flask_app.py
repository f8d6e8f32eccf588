"""An example for Flask: gunicorn -b 127.0.0.1:5000 flask_app:app"""

import os

from flask import Flask, jsonify

import pages
from gatehouse import FlaskGatehouse

app = Flask(__name__)
gatehouse = FlaskGatehouse(
    os.environ["REDIS_URL"], os.environ["BASE_URL"], os.environ.get("CACHE_URL"), os.environ.get("COOKIE_DOMAIN")
)


@app.get("/")
@gatehouse.login_required
def home():
    return pages.home(gatehouse.current_user(), gatehouse.sign_out_url())


@app.get("/open")
def open_page():
    return pages.open_page(gatehouse.current_user(), gatehouse.sign_in_url(gatehouse.address())), {"Cache-Control": "no-store"}


@app.get("/reports")
@gatehouse.permission_required("reports.view")
def reports():
    return pages.reports()


@app.get("/whoami")
@gatehouse.login_required
def whoami():
    return jsonify(pages.whoami(gatehouse.current_user()))


if __name__ == "__main__":
    app.run("127.0.0.1", int(os.environ.get("PORT", "5000")))
