"""Runs the cases that every reader must pass: python3 vectors.py [FILE]"""

import base64
import json
import pathlib
import sys
from datetime import datetime, timezone

import gatehouse


def value(entry):
    if "base64" in entry:
        return base64.b64decode(entry["base64"])
    return entry["text"].encode("utf-8")


def cookies(case):
    if "cookie" in case:
        return [case["cookie"]]
    return gatehouse.session_cookies(base64.b64decode(case["cookie_header"]).decode("latin-1"), case["cookie_name"])


def failure(case, now):
    """Returns how the result differs from the expected one, or None."""
    store = {entry["key"]: value(entry) for entry in case["redis"]}
    result = gatehouse.check_all(cookies(case), store.get, now)
    if result.state != case["want"]:
        return f"got {result.state}, want {case['want']}"
    user = vars(result.user) if result.user else None
    if user != case.get("user"):
        return f"got {user}, want {case.get('user')}"
    return None


def main(path):
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)
    now = datetime.strptime(vectors["now"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    passed = 0
    for case in vectors["cases"]:
        failed = failure(case, now)
        if failed:
            print(f"{case['name']}: {failed}")
        else:
            passed += 1
    print(f"{passed} vectors passed")
    return 0 if passed and passed == len(vectors["cases"]) else 1


if __name__ == "__main__":
    default = pathlib.Path(__file__).resolve().parent.parent / "vectors.json"
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else default))
