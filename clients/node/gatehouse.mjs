/**
 * Gatehouse for Node: identifies the user of a request by the session that Gatehouse keeps in Redis.
 *
 * It implements docs/session-format.md; numbers in comments refer to its rules. Copy this file into your app. It requires
 * Node 18 or later and the package `redis` 5 or later.
 */
import { createHash } from "node:crypto";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";

/** A user who is signed in. */
export class User {
  /**
   * @param {{id: string, username: string, name: string, email: string, groups: string[], permissions: string[]}} fields name may be
   *   empty; email is empty unless it is verified; permissions includes those granted through groups
   */
  constructor({ id, username, name, email, groups, permissions }) {
    this.id = id;
    this.username = username;
    this.name = name;
    this.email = email;
    this.groups = groups;
    this.permissions = permissions;
  }

  /** The name, or the username if there is no name. */
  get displayName() {
    return this.name || this.username;
  }

  /**
   * Returns whether the user has the permission. "users.manage" includes "users.view".
   * @param {string} permission
   */
  hasPermission(permission) {
    return this.permissions.includes(permission) || (permission === "users.view" && this.permissions.includes("users.manage"));
  }

  /**
   * Returns whether the user is in the group.
   * @param {string} group
   */
  inGroup(group) {
    return this.groups.includes(group);
  }
}

/**
 * @typedef {object} Options
 * @property {string} baseUrl Gatehouse's BASE_URL, such as "https://login.example.org".
 * @property {string} [redisUrl] Gatehouse's REDIS_URL: redis://[user:password@]host:port[/database], rediss://… or unix:///path/to.sock[?db=1].
 * @property {string} [cacheUrl] Gatehouse's CACHE_URL. The default is the database after that of redisUrl.
 * @property {string} [cookieDomain] Gatehouse's COOKIE_DOMAIN, if it has one.
 * @property {{sessions: object, cache: object}} [clients] Your own connected node-redis clients, one for each database, instead of the
 *   two URLs. Your app reconnects and closes them.
 * @property {(page: {status: number, title: string, message: string}) => string} [errorPage] Returns the HTML of 403 and 503 responses to
 *   browsers. It must escape its arguments.
 * @property {(message: string) => void} [log] Receives a line when sessions cannot be checked, and when they can again. The default is
 *   console.error.
 */

/**
 * Middleware for Express, and a hook for Fastify: onRequest or preHandler.
 * @typedef {(request: any, response: any, next: (error?: unknown) => void) => void} Middleware
 */

/**
 * Returns the reader. It connects on first use and reconnects as needed.
 * @param {Options} options
 * @returns {Gatehouse}
 * @throws {TypeError} for a missing or invalid option
 */
export function createGatehouse(options) {
  return new Gatehouse(options);
}

/** Identifies the users of requests. It caches no users. Its middleware works in Express and, as hooks, in Fastify. */
class Gatehouse {
  #baseUrl;
  #cookieName;
  #sessions;
  #cache;
  #errorPage;
  #log;
  #failing = false;
  // Lookups by request. request.user is not enough: any code can assign it.
  #lookups = new WeakMap();

  /** @param {Options} options */
  constructor({ baseUrl, redisUrl, cacheUrl, cookieDomain, clients, errorPage = defaultErrorPage, log = console.error }) {
    this.#baseUrl = checkedBaseUrl(baseUrl);
    this.#cookieName = cookieName(this.#baseUrl, cookieDomain);
    this.#errorPage = errorPage;
    this.#log = log;
    if (clients) {
      this.#sessions = new Connection(null, clients.sessions);
      this.#cache = new Connection(null, clients.cache);
      return;
    }
    const target = parseRedisUrl(redisUrl, "redisUrl");
    this.#sessions = new Connection(target);
    this.#cache = new Connection(cacheUrl ? parseRedisUrl(cacheUrl, "cacheUrl") : { ...target, database: target.database + 1 });
  }

  /**
   * Returns the user who sent the Cookie header, or null. It is for servers other than Express and Fastify.
   * @param {string | undefined} cookieHeader
   * @returns {Promise<User | null>}
   * @throws {GatehouseUnavailable} if the session cannot be checked right now
   */
  async user(cookieHeader) {
    const cookies = sessionCookies(cookieHeader, this.#cookieName);
    if (cookies.length === 0) return null;
    try {
      const user = await within(LOOKUP_TIMEOUT, this.#firstUser(cookies), "looking up the session");
      this.#logChange(null);
      return user;
    } catch (error) {
      if (error instanceof GatehouseUnavailable) this.#logChange(error);
      throw error;
    }
  }

  /**
   * Sets request.user, to null if the visitor is not signed in. It responds with 503 if the session cannot be checked.
   * @returns {Middleware}
   */
  identify() {
    return this.#protect(() => null);
  }

  /**
   * Returns a Fastify plugin that runs identify() for every route.
   * @returns {(app: any, options: any, done: (error?: Error) => void) => void}
   */
  fastify() {
    const plugin = (app, options, done) => {
      app.decorateRequest("user", null);
      app.addHook("onRequest", this.identify());
      done();
    };
    // Fastify would otherwise limit the hook to routes that the plugin itself registers.
    return Object.assign(plugin, { [Symbol.for("skip-override")]: true, [Symbol.for("fastify.display-name")]: "gatehouse" });
  }

  /**
   * Requires a signed-in user. Otherwise it redirects browsers to the sign-in page and responds to other clients with 401.
   * @returns {Middleware}
   */
  requireUser() {
    return this.#require(() => true);
  }

  /**
   * Is like requireUser, and responds with 403 to users without the permission.
   * @param {string} permission such as "reports.view"
   * @returns {Middleware}
   */
  requirePermission(permission) {
    if (!isNonemptyString(permission)) throw new TypeError("gatehouse: the permission must be a string");
    return this.#require((user) => user.hasPermission(permission));
  }

  /**
   * Is like requireUser, and responds with 403 to users who are not in the group.
   * @param {string} group
   * @returns {Middleware}
   */
  requireGroup(group) {
    if (!isNonemptyString(group)) throw new TypeError("gatehouse: the group must be a string");
    return this.#require((user) => user.inGroup(group));
  }

  /**
   * Returns the URL of the sign-in page, which redirects back to returnTo.
   * @param {string} [returnTo] an absolute URL on Gatehouse's host or below COOKIE_DOMAIN
   * @returns {string}
   */
  signInUrl(returnTo) {
    return `${this.#baseUrl}/login${returnTo ? `?next=${encodeURIComponent(returnTo)}` : ""}`;
  }

  /** Returns the URL of the sign-out page, which asks for confirmation and ends the session for all apps. */
  signOutUrl() {
    return `${this.#baseUrl}/sign-out`;
  }

  /** Closes the connections, except those of your own clients. */
  close() {
    this.#sessions.close();
    this.#cache.close();
  }

  async #firstUser(cookies) {
    for (const cookie of cookies) {
      const user = await this.#lookUp(cookie);
      if (user) return user;
    }
    return null;
  }

  async #lookUp(cookie) {
    let ttl = 0;
    const result = await check(cookie, async (key) => {
      if (key.startsWith("user:")) return this.#cache.get(key);
      const [value, left] = await this.#sessions.getWithTtl(key);
      ttl = left;
      return value;
    }, Date.now());
    if (result.state === SIGNED_OUT) return null;
    if (result.state === USER_NOT_CACHED) return this.#loadUser(result.session);
    if (ttl < 0.9 * renewedTtl(result.session, Date.now())) this.#reportUse(result.session);
    return result.user;
  }

  /** Tells Gatehouse in the background that the session is in use. Losing a report does no harm. */
  #reportUse(session) {
    this.#sessions.publish(session.id).catch(() => {});
  }

  /** Asks Gatehouse to load the session's user into the cache, and waits for it. */
  async #loadUser(session) {
    if (await this.#sessions.publish(session.id) === 0) {
      throw new GatehouseUnavailable("the user is not in the cache, and no Gatehouse server is running to load it");
    }
    const end = performance.now() + LOAD_TIMEOUT;
    for (let pause = 5; ; pause *= 2) {
      const left = end - performance.now();
      if (left <= 0) throw new GatehouseUnavailable(`no Gatehouse server loaded the user into the cache within ${LOAD_TIMEOUT} ms`);
      await sleep(Math.min(pause, left));
      const value = await this.#cache.get(`user:${session.userId}`);
      const result = checkUser(value, session);
      if (result.state !== USER_NOT_CACHED) return result.user ?? null;
      // Ask again whenever the key is missing: a change may have dropped the loaded user.
      if (value === null) await this.#sessions.publish(session.id);
    }
  }

  #require(isAllowed) {
    return this.#protect((user, exchange) => {
      if (!user) return this.#refuseAnonymous(exchange);
      return isAllowed(user) ? null : this.#errorResponse(exchange, 403, "Access denied", FORBIDDEN);
    });
  }

  /** Returns middleware that sends the response that refuse returns, or calls next if that is null. */
  #protect(refuse) {
    // Not async: Express 4 ignores rejected promises, and Fastify does not accept async hooks with three parameters.
    return (request, response, next) => {
      const exchange = isFastify(response) ? fromFastify(request, response) : fromExpress(request, response);
      this.#check(exchange, refuse).then((refusal) => (refusal ? exchange.send(refusal) : next()), next);
    };
  }

  async #check(exchange, refuse) {
    exchange.setHeader("Cache-Control", "no-store");
    try {
      exchange.request.user = await this.#userOf(exchange.request);
    } catch (error) {
      if (!(error instanceof GatehouseUnavailable)) throw error;
      return this.#unavailable(exchange);
    }
    return refuse(exchange.request.user, exchange);
  }

  #userOf(request) {
    let user = this.#lookups.get(request);
    if (!user) {
      user = this.user(request.headers.cookie);
      this.#lookups.set(request, user);
    }
    return user;
  }

  #refuseAnonymous(exchange) {
    if (!exchange.wantsHtml || !["GET", "HEAD"].includes(exchange.request.method)) {
      return { status: 401, headers: TEXT, body: UNAUTHORIZED };
    }
    return { status: 303, headers: { ...TEXT, Location: this.signInUrl(exchange.url()) }, body: UNAUTHORIZED };
  }

  #unavailable(exchange) {
    const response = this.#errorResponse(exchange, 503, "Temporarily unavailable", UNAVAILABLE);
    return { ...response, headers: { ...response.headers, "Retry-After": "5" } };
  }

  #errorResponse(exchange, status, title, message) {
    if (!exchange.wantsHtml) return { status, headers: TEXT, body: `${message}\n` };
    return { status, headers: HTML, body: this.#errorPage({ status, title, message }) };
  }

  // Logs only changes, not every failed request.
  #logChange(error) {
    if (this.#failing === (error !== null)) return;
    this.#failing = error !== null;
    this.#log(error ? `gatehouse: cannot check sessions: ${error.message}` : "gatehouse: sessions can be checked again");
  }
}

const UNAUTHORIZED = "Please sign in.\n";
const FORBIDDEN = "You don't have access. Need it? Ask an administrator.";
const UNAVAILABLE = "We can't check your sign-in right now. You have not been signed out. Try again in a few seconds.";

/** The session cannot be checked right now. Respond with 503 and Retry-After; the visitor is not signed out. */
export class GatehouseUnavailable extends Error {
  name = "GatehouseUnavailable";
}

/* The check, without Redis or HTTP. */

export const SIGNED_IN = "signed in";
export const SIGNED_OUT = "signed out";
export const USER_NOT_CACHED = "user not cached";

const COOKIE = /^[A-Za-z0-9_-]{43}$/;
const MAX_SESSION_BYTES = 8192;
const MAX_COOKIES = 4;
const MAX_IDLE_SECONDS = 315360000;
const TIME = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d{1,9})?Z$/;

// A byte order mark must reach the JSON parser, which rejects it.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * @typedef {object} Session A session that passed rules 1 to 8.
 * @property {string} id
 * @property {string} userId
 * @property {number} epoch
 * @property {number} idleSeconds
 * @property {number} deadline in milliseconds since 1970
 */

/**
 * Applies the rules of the session format to one cookie.
 * @param {string} cookie the cookie's value
 * @param {(key: string) => Uint8Array | null | Promise<Uint8Array | null>} lookup returns the value of a Redis key, or null
 * @param {number} now in milliseconds since 1970
 * @returns {Promise<{state: string, user?: User, session?: Session}>} state is SIGNED_IN with the user, SIGNED_OUT or USER_NOT_CACHED
 */
export async function check(cookie, lookup, now) {
  if (!isCookie(cookie)) return { state: SIGNED_OUT };
  const id = createHash("sha256").update(cookie, "latin1").digest("base64url");
  const session = parseSession(await lookup(`session:${id}`), id, now);
  if (!session) return { state: SIGNED_OUT };
  return { ...checkUser(await lookup(`user:${session.userId}`), session), session };
}

/**
 * Checks the cookies in order and returns the result of check for the first one that is not signed out.
 * @param {string[]} cookies
 * @param {(key: string) => Uint8Array | null | Promise<Uint8Array | null>} lookup
 * @param {number} now in milliseconds since 1970
 * @returns {Promise<{state: string, user?: User, session?: Session}>}
 */
export async function checkAll(cookies, lookup, now) {
  for (const cookie of cookies) {
    const result = await check(cookie, lookup, now);
    if (result.state !== SIGNED_OUT) return result;
  }
  return { state: SIGNED_OUT };
}

/**
 * Returns the values of the cookies with that name that have the format of a session token: at most the first four.
 * @param {string | undefined} header one character per byte (Latin-1), as in Node
 * @param {string} name
 * @returns {string[]}
 */
export function sessionCookies(header, name) {
  const found = [];
  for (const part of (header ?? "").split(";")) {
    const pair = trimSpacesAndTabs(part);
    const at = pair.indexOf("=");
    if (at < 0 || trimSpacesAndTabs(pair.slice(0, at)) !== name) continue;
    const value = pair.slice(at + 1);
    if (isCookie(value)) found.push(value);
    if (found.length === MAX_COOKIES) break;
  }
  return found;
}

/** Removes spaces and tabs. trim() also removes \xA0, with which a sibling host could get around the prefix __Host-. */
function trimSpacesAndTabs(text) {
  let from = 0;
  let to = text.length;
  while (from < to && isBlank(text[from])) from++;
  while (from < to && isBlank(text[to - 1])) to--;
  return text.slice(from, to);
}

function isBlank(character) {
  return character === " " || character === "\t";
}

function isCookie(value) {
  return typeof value === "string" && COOKIE.test(value); // 1
}

function parseSession(bytes, id, now) {
  if (!bytes || bytes.length > MAX_SESSION_BYTES) return null; // 2
  const record = parseObject(bytes);
  if (record?.v !== 1 || record.id !== id) return null; // 3, 4
  const { user_id: userId, epoch, idle_seconds: idleSeconds } = record;
  if (!isNonemptyString(userId) || !isSafeInteger(epoch)) return null; // 5, 6
  if (!Number.isInteger(idleSeconds) || idleSeconds < 1 || idleSeconds > MAX_IDLE_SECONDS) return null; // 7
  const deadline = parseTime(record.deadline);
  if (!(deadline > now)) return null; // 8
  return { id, userId, epoch, idleSeconds, deadline };
}

function checkUser(bytes, session) {
  if (!bytes || isLease(bytes)) return { state: USER_NOT_CACHED };
  const user = parseUser(bytes, session);
  return user ? { state: SIGNED_IN, user } : { state: SIGNED_OUT };
}

function isLease(bytes) {
  return Buffer.from(bytes.subarray(0, 6)).toString("latin1") === "lease:";
}

function parseUser(bytes, session) {
  const record = parseObject(bytes);
  if (record?.v !== 1 || record.id !== session.userId) return null; // 9, 10
  if (record.active !== true || !isSafeInteger(record.epoch) || record.epoch !== session.epoch) return null; // 11
  const { id, username, name = "", email = "" } = record;
  const groups = record.groups ?? [];
  const permissions = record.permissions ?? [];
  if (!isNonemptyString(username) || typeof name !== "string" || typeof email !== "string") return null; // 12
  if (!isListOfStrings(groups) || !isListOfStrings(permissions)) return null;
  // An unverified address may belong to someone else.
  return new User({ id, username, name, email: record.email_verified === true ? email : "", groups, permissions });
}

/** Returns the JSON object without a prototype, so that only its own fields are found, or null. */
function parseObject(bytes) {
  let value;
  try {
    value = JSON.parse(utf8.decode(bytes));
  } catch {
    return null;
  }
  if (value === null || typeof value !== "object" || Array.isArray(value)) return null;
  return { __proto__: null, ...value };
}

function isNonemptyString(value) {
  return typeof value === "string" && value !== "";
}

function isSafeInteger(value) {
  return Number.isSafeInteger(value) && value >= 0;
}

function isListOfStrings(value) {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

/** Returns milliseconds since 1970, or NaN for an invalid time. */
function parseTime(text) {
  const parts = typeof text === "string" ? TIME.exec(text) : null;
  if (!parts) return NaN;
  const seconds = new Date(`${parts[1]}Z`);
  // Date turns 24:00 and February 30 into another day.
  if (Number.isNaN(seconds.getTime()) || !seconds.toISOString().startsWith(parts[1])) return NaN;
  return seconds.getTime() + 1000 * Number(parts[2] ?? 0);
}

/** Returns the milliseconds until the session's key expires after it is renewed. */
function renewedTtl(session, now) {
  return Math.min(1000 * session.idleSeconds, session.deadline - now);
}

/* Redis. */

/** The limit for a whole lookup, in milliseconds. */
const LOOKUP_TIMEOUT = 2000;
/** The limit for Gatehouse to load a user into the cache, in milliseconds. */
const LOAD_TIMEOUT = 1000;
const CHANNEL = "gatehouse:used";
/** RESP_TYPES.BLOB_STRING of node-redis, which is imported only when it is needed. */
const BLOB_STRING = 36;
/** Stands for a key of another type. It is never a valid record. */
const NO_RECORD = new Uint8Array();

/**
 * A connection to one database, shared by all requests: node-redis pipelines their commands.
 *
 * It connects on demand. A connection that breaks or times out is discarded, and the next request opens another one. node-redis
 * itself would queue commands while disconnected and wait for replies without a limit.
 */
class Connection {
  #target;
  #appClient;
  #current = null;
  #dialing = null;

  /** Takes either where to connect to, or a client of the app. */
  constructor(target, appClient = null) {
    if (!target && typeof appClient?.withTypeMapping !== "function") {
      throw new TypeError("gatehouse: clients must have sessions and cache, clients of node-redis 5 or later");
    }
    this.#target = target;
    this.#appClient = appClient;
  }

  /** Returns the value in bytes, or null if the key is missing. */
  async get(key) {
    return this.#run(`GET from database ${this.#place}`, (client) => getBytes(client, key));
  }

  /** Returns the value as get does, and the key's PTTL in milliseconds, in one round trip. */
  async getWithTtl(key) {
    return this.#run(`GET from database ${this.#place}`, (client) => Promise.all([getBytes(client, key), client.pTTL(key)]));
  }

  /** Tells Gatehouse that the session is in use. Returns the number of servers that received it. */
  async publish(id) {
    return this.#run(`PUBLISH ${CHANNEL}`, (client) => client.publish(CHANNEL, id));
  }

  close() {
    if (this.#current) discard(this.#current);
    this.#current = null;
  }

  get #place() {
    return this.#appClient ? "(your client)" : String(this.#target.database);
  }

  async #run(what, send) {
    const client = await this.#client();
    try {
      return await within(LOOKUP_TIMEOUT, send(client), what);
    } catch (error) {
      if (error instanceof Timeout && !this.#appClient) discard(client);
      throw unavailable(what, error);
    }
  }

  async #client() {
    if (this.#appClient) return requireReady(this.#appClient);
    if (this.#current?.isReady) return this.#current;
    this.#dialing ??= this.#dial().finally(() => {
      this.#dialing = null;
    });
    return this.#dialing;
  }

  async #dial() {
    // Imported here, so that the check works without the package.
    const { createClient } = await import("redis");
    this.close();
    const client = createClient(clientOptions(this.#target));
    // Without a listener, an error would end the process. Callers receive it from their commands.
    client.on("error", () => {});
    const what = `connecting to ${describe(this.#target)}`;
    try {
      await within(LOOKUP_TIMEOUT, client.connect(), what);
    } catch (error) {
      discard(client);
      throw unavailable(what, error);
    }
    this.#current = client;
    return client;
  }
}

/** @returns {any} */
function clientOptions({ socket, username, password, database }) {
  return {
    socket: { ...socket, connectTimeout: LOOKUP_TIMEOUT, reconnectStrategy: false },
    username,
    password,
    database,
    disableOfflineQueue: true,
    // With these, connecting sends only AUTH and SELECT, so the ACL need not allow more.
    RESP: 2,
    disableClientInfo: true,
    maintNotifications: "disabled",
    // within() limits the time. node-redis' own timeout covers only unsent commands and costs a timer for each.
    commandOptions: { timeout: undefined },
  };
}

async function getBytes(client, key) {
  try {
    return await client.withTypeMapping({ [BLOB_STRING]: Buffer }).get(key);
  } catch (error) {
    // The key has another type, which is never a valid record.
    if (error.message?.startsWith("WRONGTYPE")) return NO_RECORD;
    throw error;
  }
}

function requireReady(client) {
  if (!client.isReady) throw new GatehouseUnavailable("redis: your client is not connected");
  return client;
}

function discard(client) {
  try {
    client.destroy();
  } catch {
    // It is already closed.
  }
}

/** There was no reply in time. */
class Timeout extends GatehouseUnavailable {}

/** Awaits the work, and fails with a Timeout when it takes longer. */
async function within(milliseconds, work, what) {
  let timer;
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => {
      // Timers run before I/O. After the process was paused, a reply may be waiting: handle that first.
      setImmediate(() => reject(new Timeout(`redis: ${what}: no reply within ${milliseconds} ms`)));
    }, milliseconds);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Parses a Redis URL as Gatehouse does. Errors never quote it, because it may contain a password. */
function parseRedisUrl(raw, option) {
  const invalid = (why) => new TypeError(`gatehouse: ${option} ${why}`);
  const malformed = invalid("must be redis://[user:password@]host:port[/database], rediss://… or unix:///path/to.sock[?db=1]");
  if (!isNonemptyString(raw)) throw malformed;
  let url, username, password;
  try {
    // URL rejects a user without a host, which a socket does not have.
    url = new URL(raw.replace(/^unix:\/\/([^/]*@)?\//, "unix://$1socket/"));
    username = decodeURIComponent(url.username) || undefined;
    password = decodeURIComponent(url.password) || undefined;
  } catch {
    throw malformed;
  }
  const socket = socketOf(url);
  if (!socket) throw malformed;
  if (username && !password) throw invalid("has a user but no password; for a password alone write redis://:password@host:port");
  const digits = (socket.path ? url.searchParams.get("db") : url.pathname.slice(1)) || "0";
  if (!/^\d{1,5}$/.test(digits)) throw invalid("has a database that is not a number");
  return { socket, username, password, database: Number(digits) };
}

function socketOf(url) {
  if (url.protocol === "unix:") return url.host === "socket" && url.pathname !== "/" ? { path: decodeURIComponent(url.pathname) } : null;
  if (!["redis:", "rediss:"].includes(url.protocol) || url.hostname === "") return null;
  const host = decodeURIComponent(url.hostname).replace(/^\[|\]$/g, "");
  return { host, port: Number(url.port || 6379), tls: url.protocol === "rediss:" };
}

function describe({ socket, database }) {
  return `${socket.path ?? `${socket.host}:${socket.port}`}, database ${database}`;
}

function unavailable(what, error) {
  if (error instanceof Timeout) return error;
  // Node leaves the message empty when it has tried several addresses.
  return new GatehouseUnavailable(`redis: ${what}: ${error.message || error.code}`, { cause: error });
}

/* HTTP. */

const TEXT = { "Content-Type": "text/plain; charset=utf-8" };
const HTML = { "Content-Type": "text/html; charset=utf-8" };

function checkedBaseUrl(raw) {
  const invalid = new TypeError("gatehouse: baseUrl must be a URL such as https://login.example.org");
  if (!isNonemptyString(raw)) throw invalid;
  let url;
  try {
    url = new URL(raw);
  } catch {
    throw invalid;
  }
  if (!["http:", "https:"].includes(url.protocol) || url.pathname !== "/" || /[?#@]/.test(raw)) throw invalid;
  return raw.replace(/\/+$/, "");
}

function cookieName(baseUrl, cookieDomain) {
  if (!/^https:/i.test(baseUrl)) return "gatehouse";
  return cookieDomain ? "__Secure-gatehouse" : "__Host-gatehouse";
}

function isFastify(response) {
  return typeof response.hijack === "function";
}

function fromExpress(request, response) {
  return {
    request,
    wantsHtml: acceptsHtml(request),
    url: () => absoluteUrl(request.protocol, expressHost(request), request.originalUrl),
    setHeader: (name, value) => response.setHeader(name, value),
    send({ status, headers, body }) {
      response.writeHead(status, headers);
      response.end(body);
    },
  };
}

// Express 4 omits the port from request.host and request.hostname.
function expressHost(request) {
  const trusted = request.app.get("trust proxy fn")(request.socket.remoteAddress, 0);
  const forwarded = trusted ? request.headers["x-forwarded-host"] : undefined;
  return (forwarded || request.headers.host || "").split(",")[0].trim();
}

function fromFastify(request, reply) {
  return {
    request,
    wantsHtml: acceptsHtml(request),
    // Fastify 4 has no request.host, and includes the port in request.hostname.
    url: () => absoluteUrl(request.protocol, request.host ?? request.hostname, request.originalUrl),
    setHeader: (name, value) => reply.header(name, value),
    send: ({ status, headers, body }) => reply.code(status).headers(headers).send(body),
  };
}

function acceptsHtml(request) {
  return (request.headers.accept ?? "").split(",").some((range) => range.split(";")[0].trim().toLowerCase() === "text/html");
}

/** Returns the absolute URL of the request, or undefined if it has no host. */
function absoluteUrl(protocol, host, path) {
  if (!host || !path.startsWith("/")) return undefined;
  return `${protocol}://${host}${path}`;
}

/**
 * Escapes text for HTML elements and quoted attributes.
 * @param {string} text
 */
export function escapeHtml(text) {
  return String(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function defaultErrorPage({ title, message }) {
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>${escapeHtml(title)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
</head>
<body>
<main>
<h1>${escapeHtml(title)}</h1>
<p>${escapeHtml(message)}</p>
</main>
</body>
</html>
`;
}
