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


def name_list(names):
    return escape(", ".join(names)) if names else "none"


def home(user, sign_out):
    return page(f"Hello, {user.display_name}", "\n".join([
        greeting(user.display_name),
        f"<p>Your groups: {name_list(user.groups)}.</p>",
        f"<p>Your permissions: {name_list(user.permissions)}.</p>",
        f'<p><a id="sign-out" href="{escape(sign_out)}">Sign out</a></p>',
    ]))


def open_page(user, sign_in):
    if user:
        return page("Hello", greeting(user.display_name))
    return page("Hello", greeting("stranger") + f'\n<p><a id="sign-in" href="{escape(sign_in)}">Sign in</a></p>')


def reports():
    return page("Reports", "<h1>Reports</h1>\n<p>You need the permission <code>reports.view</code> to see this page.</p>")


def whoami(user):
    return {"username": user.username, "name": user.name, "groups": user.groups, "permissions": user.permissions}
