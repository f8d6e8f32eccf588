/** The pages of both example apps. */
import { escapeHtml } from "./gatehouse.mjs";

const STYLE = `:root { color-scheme: light dark; }
body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 38rem; margin: 3rem auto; padding: 0 1rem; overflow-wrap: anywhere; }`;

/** The page of somebody who is signed in. */
export function home(user, gatehouse) {
  return page("Example", `<h1 id="greeting">Hello, ${escapeHtml(user.name || user.username)}</h1>
<p>${escapeHtml(inWords(user.groups, "You are in the groups", "You are in no groups"))}</p>
<p>${escapeHtml(inWords(user.permissions, "You have the permissions", "You have no permissions"))}</p>
<p><a id="sign-out" href="${escapeHtml(gatehouse.signOutUrl)}">Sign out</a></p>`);
}

/** The page for anybody; user is null for a stranger. */
export function open(user, gatehouse) {
  if (user) return page("Open to all", `<h1 id="greeting">Hello, ${escapeHtml(user.name || user.username)}</h1>`);
  return page("Open to all", `<h1 id="greeting">Hello, stranger</h1>
<p><a id="sign-in" href="${escapeHtml(gatehouse.signInUrl())}">Sign in</a></p>`);
}

/** The page that needs a permission. */
export function reports() {
  return page("Reports", `<h1>Reports</h1>
<p>All is well.</p>`);
}

/** The page that says why there is no other. */
export function failure({ title, sentence }) {
  return page(title, `<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml(sentence)}</p>`);
}

function inWords(names, some, none) {
  return names.length === 0 ? `${none}.` : `${some} ${names.join(", ")}.`;
}

function page(title, main) {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${escapeHtml(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
${STYLE}
</style>
</head>
<body>
<main>
${main}
</main>
</body>
</html>
`;
}
