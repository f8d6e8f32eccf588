"""The pages of both example apps."""

from html import escape

STYLE = (
    ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:36rem;margin:10vh auto;padding:0 1.5rem}"
    "a{color:inherit;display:inline-block;padding:.65rem 0}"
)


def page(title, body):
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{escape(title)}</title>\n'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">\n<style>{STYLE}</style>\n</head>\n'
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def greeting(name):
    return f'<h1 id="greeting">Hello, {escape(name)}</h1>'


def in_words(names, none):
    return escape(", ".join(names)) if names else none


def home(user, sign_out):
    name = user.name or user.username
    return page(f"Hello, {name}", "\n".join([
        greeting(name),
        f"<p>Groups: {in_words(user.groups, 'none')}.</p>",
        f"<p>Permissions: {in_words(user.permissions, 'none')}.</p>",
        f'<p><a id="sign-out" href="{escape(sign_out)}">Sign out</a></p>',
    ]))


def open_page(user, sign_in):
    if user:
        return page("Hello", greeting(user.name or user.username))
    return page("Hello", greeting("stranger") + f'\n<p><a id="sign-in" href="{escape(sign_in)}">Sign in</a></p>')


def reports():
    return page("Reports", "<h1>Reports</h1>\n<p>Only for people with the permission reports.view.</p>")


def whoami(user):
    return {"username": user.username, "name": user.name, "groups": user.groups, "permissions": user.permissions}
