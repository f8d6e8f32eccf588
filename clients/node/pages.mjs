/** The pages of both example apps. */
import { escapeHtml } from "./gatehouse.mjs";

const STYLE = `:root { color-scheme: light dark; }
body { font: 1.1rem/1.5 system-ui, sans-serif; max-width: 38rem; margin: 3rem auto; padding: 0 1rem; overflow-wrap: anywhere; }`;

/** The page of a signed-in user. */
export function home(user, gatehouse) {
  return page("Example", `<h1 id="greeting">Hello, ${escapeHtml(user.displayName)}</h1>
<p>Your groups: ${nameList(user.groups)}.</p>
<p>Your permissions: ${nameList(user.permissions)}.</p>
<p><a id="sign-out" href="${escapeHtml(gatehouse.signOutUrl())}">Sign out</a></p>`);
}

/** The page that is open to everyone. user is null if the visitor is not signed in. */
export function open(user, gatehouse) {
  if (user) return page("Open to everyone", `<h1 id="greeting">Hello, ${escapeHtml(user.displayName)}</h1>`);
  return page("Open to everyone", `<h1 id="greeting">Hello, stranger</h1>
<p><a id="sign-in" href="${escapeHtml(gatehouse.signInUrl())}">Sign in</a></p>`);
}

/** The page that needs a permission. */
export function reports() {
  return page("Reports", `<h1>Reports</h1>
<p>You need the permission <code>reports.view</code> to see this page.</p>`);
}

/** The page of an error. */
export function errorPage({ title, message }) {
  return page(title, `<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml(message)}</p>`);
}

function nameList(names) {
  return names.length === 0 ? "none" : escapeHtml(names.join(", "));
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
