"""Runs the cases that every reader must get right: python3 vectors.py [FILE]"""

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


def fault(case, now):
    store = {entry["key"]: value(entry) for entry in case["redis"]}
    answer = gatehouse.check_all(cookies(case), store.get, now)
    if answer.word != case["want"]:
        return f"{answer.word}, want {case['want']}"
    if answer.word != gatehouse.SIGNED_IN:
        return None if answer.user is None else f"told of {answer.user}"
    told = {name: getattr(answer.user, name) for name in case["user"]}
    return None if told == case["user"] else f"told of {told}, want {case['user']}"


def main(path):
    with open(path, encoding="utf-8") as file:
        vectors = json.load(file)
    now = datetime.strptime(vectors["now"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
    passed = 0
    for case in vectors["cases"]:
        wrong = fault(case, now)
        if wrong:
            print(f"{case['name']}: {wrong}")
        else:
            passed += 1
    print(f"{passed} vectors passed")
    return 0 if passed and passed == len(vectors["cases"]) else 1


if __name__ == "__main__":
    beside = pathlib.Path(__file__).resolve().parent.parent / "vectors.json"
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else beside))
