"""Example app for Flask: gunicorn -b 127.0.0.1:5000 flask_app:app"""

import os

from flask import Flask, jsonify

import pages
from gatehouse import FlaskGatehouse

app = Flask(__name__)
gatehouse = FlaskGatehouse(
    os.environ["REDIS_URL"], os.environ["BASE_URL"], os.environ.get("CACHE_URL"), os.environ.get("COOKIE_DOMAIN")
)


@app.get("/")
@gatehouse.require_user
def home():
    return pages.home(gatehouse.identify(), gatehouse.sign_out_url())


@app.get("/open")
def open_page():
    return pages.open_page(gatehouse.identify(), gatehouse.sign_in_url(gatehouse.current_url())), {"Cache-Control": "no-store"}


@app.get("/reports")
@gatehouse.require_permission("reports.view")
def reports():
    return pages.reports()


@app.get("/whoami")
@gatehouse.require_user
def whoami():
    return jsonify(pages.whoami(gatehouse.identify()))


if __name__ == "__main__":
    app.run("127.0.0.1", int(os.environ.get("PORT", "5000")))
