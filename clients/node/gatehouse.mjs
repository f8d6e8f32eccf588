/**
 * Gatehouse for Node: tells who is asking, from the session that Gatehouse keeps in Redis.
 * The contract is docs/session-format.md; the numbers in comments are its rules.
 *
 * One file; copy it. It needs Node 18 or newer and the package `redis` (5 or newer).
 */
import { createHash } from "node:crypto";
import { performance } from "node:perf_hooks";
import { setTimeout as sleep } from "node:timers/promises";

/**
 * @typedef {object} User Who is asking.
 * @property {string} id
 * @property {string} username
 * @property {string} name May be empty.
 * @property {string} email Empty unless it is verified.
 * @property {string[]} groups
 * @property {string[]} permissions Those of the groups too.
 */

/**
 * @typedef {object} Settings
 * @property {string} baseUrl Gatehouse's own BASE_URL, such as "https://id.example.org".
 * @property {string} [redisUrl] Gatehouse's REDIS_URL: redis://[user:password@]host:port[/database], rediss://… or unix:///path?db=1.
 * @property {string} [cacheUrl] Its CACHE_URL; the database after that of redisUrl if left out.
 * @property {string} [cookieDomain] Its COOKIE_DOMAIN, if it has one.
 * @property {{sessions: object, cache: object}} [clients] Clients of node-redis that you made and connected, one for each
 *   database, in the place of the two addresses. Reconnecting and closing them stays with you.
 * @property {(page: {status: number, title: string, sentence: string}) => string} [errorPage] Makes the HTML of 403 and 503 for browsers.
 *   It must escape what it is given.
 * @property {(message: string) => void} [log] Gets a line when Redis or Gatehouse cannot be asked any more, and when they
 *   can again; console.error if left out.
 */

/**
 * Middleware of Express, and a hook of Fastify: onRequest or preHandler.
 * @typedef {(request: any, response: any, next: (error?: unknown) => void) => void} Guard
 */

/**
 * Returns the reader. It connects when it is first asked, and again whenever it must.
 * @param {Settings} settings
 * @returns {Gatehouse}
 * @throws {TypeError} if a setting is missing or cannot be read
 */
export function createGatehouse(settings) {
  return new Gatehouse(settings);
}

/** The reader. All frameworks share its guards: they are middleware of Express and hooks of Fastify alike. */
class Gatehouse {
  #baseUrl;
  #cookieName;
  #sessions;
  #cache;
  #errorPage;
  #log;
  #failing = false;
  // Kept apart from request.user, which anybody may write. It lasts as long as the request.
  #found = new WeakMap();

  /** @param {Settings} settings */
  constructor({ baseUrl, redisUrl, cacheUrl, cookieDomain, clients, errorPage = plainPage, log = console.error }) {
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
   * Returns who sent the Cookie header, or null for nobody. For whatever is neither Express nor Fastify.
   * @param {string | undefined} cookieHeader
   * @returns {Promise<User | null>}
   * @throws {GatehouseUnavailable} when it cannot be told now: answer 503, never "signed out"
   */
  async user(cookieHeader) {
    const cookies = sessionCookies(cookieHeader, this.#cookieName);
    if (cookies.length === 0) return null;
    try {
      const user = await within(PATIENCE, this.#firstUser(cookies), "looking up the session");
      this.#report(null);
      return user;
    } catch (error) {
      if (error instanceof GatehouseUnavailable) this.#report(error);
      throw error;
    }
  }

  /**
   * Middleware of Express: fills req.user, with null for nobody.
   * @returns {Guard}
   */
  express() {
    return this.#guard(() => null);
  }

  /**
   * A plugin of Fastify: fills request.user, with null for nobody.
   * @returns {(app: any, options: any, done: (error?: Error) => void) => void}
   */
  fastify() {
    const fill = this.#guard(() => null);
    const plugin = (app, options, done) => {
      app.decorateRequest("user", null);
      app.addHook("onRequest", fill);
      done();
    };
    // Otherwise the plugin would be for its own routes only, of which it has none.
    return Object.assign(plugin, { [Symbol.for("skip-override")]: true, [Symbol.for("fastify.display-name")]: "gatehouse" });
  }

  /**
   * Lets in whoever is signed in.
   * @returns {Guard}
   */
  requireUser() {
    return this.#guard((user, visit) => (user ? null : this.#askToSignIn(visit)));
  }

  /**
   * Lets in who has the permission.
   * @param {string} permission such as "reports.view"
   * @returns {Guard}
   */
  requirePermission(permission) {
    return this.#requireThat(hasPermission, permission, "permission");
  }

  /**
   * Lets in who is in the group.
   * @param {string} group
   * @returns {Guard}
   */
  requireGroup(group) {
    return this.#requireThat(hasGroup, group, "group");
  }

  /**
   * Returns the address to sign in at.
   * @param {string} [next] the absolute address to come back to: on Gatehouse's host or below COOKIE_DOMAIN
   * @returns {string}
   */
  signInUrl(next) {
    return `${this.#baseUrl}/login${next ? `?next=${encodeURIComponent(next)}` : ""}`;
  }

  /** The address to sign out at. It asks once. */
  get signOutUrl() {
    return `${this.#baseUrl}/sign-out`;
  }

  /** Closes the connections that were made here. */
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
    const found = await check(cookie, async (key) => {
      if (key.startsWith("user:")) return this.#cache.get(key);
      const [value, left] = await this.#sessions.getWithTtl(key);
      ttl = left;
      return value;
    }, Date.now());
    if (found.state === SIGNED_OUT) return null;
    if (found.state === NOT_KNOWN) return this.#ask(found.session);
    if (ttl < 0.9 * freshTtl(found.session, Date.now())) this.#sessions.publish(found.session.id).catch(() => {});
    return found.user;
  }

  /** Has Gatehouse put the user of a good session into the cache, and waits for it. */
  async #ask(session) {
    if (await this.#sessions.publish(session.id) === 0) {
      throw new GatehouseUnavailable("no Gatehouse server listens on this Redis; start one, or look at redisUrl");
    }
    const end = performance.now() + FILL_PATIENCE;
    for (let pause = 5; ; pause *= 2) {
      const left = end - performance.now();
      if (left <= 0) throw new GatehouseUnavailable("Gatehouse did not put the user into the cache; look at its log and at cacheUrl");
      await sleep(Math.min(pause, left));
      const value = await this.#cache.get(`user:${session.userId}`);
      const found = checkUser(value, session);
      if (found.state !== NOT_KNOWN) return found.user ?? null;
      // Of a user who is being changed, what was filled in is dropped again, and nobody else asks for it.
      if (value === null) await this.#sessions.publish(session.id);
    }
  }

  #requireThat(has, name, kind) {
    if (typeof name !== "string" || name === "") throw new TypeError(`gatehouse: the ${kind} must be a name`);
    return this.#guard((user, visit) => {
      if (!user) return this.#askToSignIn(visit);
      if (has(user, name)) return null;
      return this.#refusal(visit, 403, "Not allowed", `This page needs the ${kind} ${name}, which ${user.username} does not have.`);
    });
  }

  /** Returns a handler that answers with what judge returns, and goes on when that is null. */
  #guard(judge) {
    // Not an async function: Express 4 would not see it fail, and Fastify takes no async one with three parameters.
    return (request, response, next) => {
      const visit = isFastify(response) ? overFastify(request, response) : overExpress(request, response);
      this.#decide(visit, judge).then((answer) => (answer ? visit.send(answer) : next()), next);
    };
  }

  async #decide(visit, judge) {
    visit.setHeader("Cache-Control", "no-store");
    try {
      visit.request.user = await this.#userOf(visit.request);
    } catch (error) {
      if (!(error instanceof GatehouseUnavailable)) throw error;
      return this.#unavailable(visit);
    }
    return judge(visit.request.user, visit);
  }

  #userOf(request) {
    let user = this.#found.get(request);
    if (!user) {
      user = this.user(request.headers.cookie);
      this.#found.set(request, user);
    }
    return user;
  }

  #askToSignIn(visit) {
    if (!visit.wantsHtml || !["GET", "HEAD"].includes(visit.request.method)) {
      return { status: 401, headers: TEXT, body: "Please sign in.\n" };
    }
    return { status: 303, headers: { ...TEXT, Location: this.signInUrl(visit.address()) }, body: "Please sign in.\n" };
  }

  #unavailable(visit) {
    const answer = this.#refusal(visit, 503, "Try again in a moment",
      "We cannot look at your session at the moment. You are not signed out; please try again in a few seconds.");
    return { ...answer, headers: { ...answer.headers, "Retry-After": "5" } };
  }

  #refusal(visit, status, title, sentence) {
    if (!visit.wantsHtml) return { status, headers: TEXT, body: `${sentence}\n` };
    return { status, headers: HTML, body: this.#errorPage({ status, title, sentence }) };
  }

  // One line for each change, whatever number of visitors met it.
  #report(error) {
    if (this.#failing === (error !== null)) return;
    this.#failing = error !== null;
    this.#log(error ? `gatehouse: ${error.message}` : "gatehouse: sessions can be looked up again");
  }
}

/** It cannot be told now who is asking. The visitor is not signed out: answer 503. */
export class GatehouseUnavailable extends Error {
  name = "GatehouseUnavailable";
}

/**
 * Says whether the user has the permission; users.manage includes users.view.
 * @param {User | null} user
 * @param {string} permission
 */
export function hasPermission(user, permission) {
  const permissions = user?.permissions ?? [];
  return permissions.includes(permission) || (permission === "users.view" && permissions.includes("users.manage"));
}

/**
 * Says whether the user is in the group.
 * @param {User | null} user
 * @param {string} group
 */
export function hasGroup(user, group) {
  return (user?.groups ?? []).includes(group);
}

/* The check: no Redis, no HTTP. */

export const SIGNED_IN = "signed in";
export const SIGNED_OUT = "signed out";
export const NOT_KNOWN = "user not cached";

const COOKIE_SHAPE = /^[A-Za-z0-9_-]{43}$/;
const MAX_SESSION_BYTES = 8192;
const MAX_COOKIES = 4;
const MAX_IDLE_SECONDS = 315360000;
const MOMENT = /^(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d{1,9})?Z$/;

// A byte order mark must reach the JSON parser, which refuses it.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * @typedef {object} Session A session that has passed rules 1 to 8.
 * @property {string} id
 * @property {string} userId
 * @property {number} epoch
 * @property {number} idleSeconds
 * @property {number} deadline in milliseconds since 1970
 */

/**
 * Applies the rules of docs/session-format.md.
 * @param {string} cookie the cookie's value
 * @param {(key: string) => Uint8Array | null | Promise<Uint8Array | null>} lookup returns the value of a key of Redis, null if there is none
 * @param {number} now in milliseconds since 1970
 * @returns {Promise<{state: string, user?: User, session?: Session}>} state is SIGNED_IN with the user, SIGNED_OUT or NOT_KNOWN
 */
export async function check(cookie, lookup, now) {
  if (!isCookie(cookie)) return { state: SIGNED_OUT };
  const id = createHash("sha256").update(cookie, "latin1").digest("base64url");
  const session = readSession(await lookup(`session:${id}`), id, now);
  if (!session) return { state: SIGNED_OUT };
  return { ...checkUser(await lookup(`user:${session.userId}`), session), session };
}

/**
 * Checks the cookies in order and returns what check returns for the first one that is not signed out.
 * @param {string[]} cookies
 * @param {(key: string) => Uint8Array | null | Promise<Uint8Array | null>} lookup
 * @param {number} now in milliseconds since 1970
 * @returns {Promise<{state: string, user?: User, session?: Session}>}
 */
export async function checkAll(cookies, lookup, now) {
  for (const cookie of cookies) {
    const found = await check(cookie, lookup, now);
    if (found.state !== SIGNED_OUT) return found;
  }
  return { state: SIGNED_OUT };
}

/**
 * Returns the values in a Cookie header that may be the session's token: at most the first four of that name and the right shape.
 * @param {string | undefined} header one character for each byte (Latin-1), as Node has it
 * @param {string} name
 * @returns {string[]}
 */
export function sessionCookies(header, name) {
  const found = [];
  for (const part of (header ?? "").split(";")) {
    const pair = trimBlanks(part);
    const at = pair.indexOf("=");
    if (at < 0 || trimBlanks(pair.slice(0, at)) !== name) continue;
    const value = pair.slice(at + 1);
    if (isCookie(value)) found.push(value);
    if (found.length === MAX_COOKIES) break;
  }
  return found;
}

/** Removes spaces and tabs only: trim() takes \xA0 from a name, with which a sibling host gets around the prefix __Host-. */
function trimBlanks(text) {
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
  return typeof value === "string" && COOKIE_SHAPE.test(value); // 1
}

function readSession(bytes, id, now) {
  if (!bytes || bytes.length > MAX_SESSION_BYTES) return null; // 2
  const record = parseObject(bytes);
  if (record?.v !== 1 || record.id !== id) return null; // 3, 4
  const { user_id: userId, epoch, idle_seconds: idleSeconds } = record;
  if (!isFilled(userId) || !isEpoch(epoch)) return null; // 5, 6
  if (!Number.isInteger(idleSeconds) || idleSeconds < 1 || idleSeconds > MAX_IDLE_SECONDS) return null; // 7
  const deadline = parseMoment(record.deadline);
  if (!(deadline > now)) return null; // 8
  return { id, userId, epoch, idleSeconds, deadline };
}

function checkUser(bytes, session) {
  if (!bytes || isLease(bytes)) return { state: NOT_KNOWN };
  const user = readUser(bytes, session);
  return user ? { state: SIGNED_IN, user } : { state: SIGNED_OUT };
}

function isLease(bytes) {
  return Buffer.from(bytes.subarray(0, 6)).toString("latin1") === "lease:";
}

function readUser(bytes, session) {
  const record = parseObject(bytes);
  if (record?.v !== 1 || record.id !== session.userId) return null; // 9, 10
  if (record.active !== true || !isEpoch(record.epoch) || record.epoch !== session.epoch) return null; // 11
  const { id, username, name = "", email = "" } = record;
  const groups = record.groups ?? [];
  const permissions = record.permissions ?? [];
  if (!isFilled(username) || typeof name !== "string" || typeof email !== "string") return null; // 12
  if (!isListOfStrings(groups) || !isListOfStrings(permissions)) return null;
  // An address that is not verified is only what somebody typed.
  return { id, username, name, email: record.email_verified === true ? email : "", groups, permissions };
}

/** Returns the object without a prototype, so that only its own names are found; null if it is none. */
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

function isFilled(value) {
  return typeof value === "string" && value !== "";
}

function isEpoch(value) {
  return Number.isSafeInteger(value) && value >= 0;
}

function isListOfStrings(value) {
  return Array.isArray(value) && value.every((item) => typeof item === "string");
}

/** Returns milliseconds since 1970, NaN for what is no moment. */
function parseMoment(text) {
  const parts = typeof text === "string" ? MOMENT.exec(text) : null;
  if (!parts) return NaN;
  const whole = new Date(`${parts[1]}Z`);
  // Date takes 24:00 and 30 February for the day after; then it says another day than it was given.
  if (Number.isNaN(whole.getTime()) || !whole.toISOString().startsWith(parts[1])) return NaN;
  return whole.getTime() + 1000 * Number(parts[2] ?? 0);
}

/** Returns the milliseconds that the session's key gets when it is used. */
function freshTtl(session, now) {
  return Math.min(1000 * session.idleSeconds, session.deadline - now);
}

/* Redis. */

/** How long a visitor may wait for an answer, in milliseconds. */
const PATIENCE = 2000;
/** How long Gatehouse may take to fill the cache, in milliseconds. */
const FILL_PATIENCE = 1000;
const USED = "gatehouse:used";
/** node-redis' RESP_TYPES.BLOB_STRING, which cannot be imported before the package is needed. */
const BLOB_STRING = 36;
/** A value that is no record; never written to. */
const NO_RECORD = new Uint8Array();

/**
 * A connection to one database, which all requests share: node-redis sends their commands together.
 *
 * It is made on demand and, when it breaks or does not answer, thrown away and made anew by the next request. node-redis would
 * keep commands while it is disconnected and wait for a reply for ever.
 */
class Connection {
  #target;
  #given;
  #current = null;
  #dialing = null;

  /** One of the two: where to connect to, or a client of the app's. */
  constructor(target, given = null) {
    if (!target && typeof given?.withTypeMapping !== "function") {
      throw new TypeError("gatehouse: clients must have sessions and cache, clients of node-redis 5 or newer");
    }
    this.#target = target;
    this.#given = given;
  }

  /** Returns the value in bytes, null if there is none. */
  async get(key) {
    return this.#run(`GET from database ${this.#place}`, (client) => getBytes(client, key));
  }

  /** Returns the value as get does, and the milliseconds left to its key, in one round trip. */
  async getWithTtl(key) {
    return this.#run(`GET from database ${this.#place}`, (client) => Promise.all([getBytes(client, key), client.pTTL(key)]));
  }

  /** Tells Gatehouse that the session is used. Returns how many servers heard it. */
  async publish(id) {
    return this.#run(`PUBLISH ${USED}`, (client) => client.publish(USED, id));
  }

  close() {
    if (this.#current) discard(this.#current);
    this.#current = null;
  }

  get #place() {
    return this.#given ? "(given client)" : String(this.#target.database);
  }

  async #run(what, send) {
    const client = await this.#client();
    try {
      return await within(PATIENCE, send(client), what);
    } catch (error) {
      if (error instanceof Late && !this.#given) discard(client);
      throw unavailable(what, error);
    }
  }

  async #client() {
    if (this.#given) return readyOr(this.#given);
    if (this.#current?.isReady) return this.#current;
    this.#dialing ??= this.#dial().finally(() => {
      this.#dialing = null;
    });
    return this.#dialing;
  }

  async #dial() {
    // Late, so that the check can be used without the package.
    const { createClient } = await import("redis");
    this.close();
    const client = createClient(clientOptions(this.#target));
    // Without a listener an error ends the process; whoever sent a command gets it anyway.
    client.on("error", () => {});
    const what = `connecting to ${describe(this.#target)}`;
    try {
      await within(PATIENCE, client.connect(), what);
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
    socket: { ...socket, connectTimeout: PATIENCE, reconnectStrategy: false },
    username,
    password,
    database,
    disableOfflineQueue: true,
    // Then AUTH and SELECT are all that a connection begins with: nothing that Redis' ACL would have to allow besides.
    RESP: 2,
    disableClientInfo: true,
    maintNotifications: "disabled",
    // within() has the time; node-redis' own is for commands that were not sent yet, and costs a timer for each.
    commandOptions: { timeout: undefined },
  };
}

async function getBytes(client, key) {
  try {
    return await client.withTypeMapping({ [BLOB_STRING]: Buffer }).get(key);
  } catch (error) {
    // Another type than a string is there: whatever it is, it is no record.
    if (error.message?.startsWith("WRONGTYPE")) return NO_RECORD;
    throw error;
  }
}

function readyOr(client) {
  if (!client.isReady) throw new GatehouseUnavailable("Redis: the given client is not connected");
  return client;
}

function discard(client) {
  try {
    client.destroy();
  } catch {
    // It was closed already.
  }
}

/** Nothing came in time. */
class Late extends GatehouseUnavailable {}

/** Returns what the work gives, or fails when that takes longer. */
async function within(milliseconds, work, what) {
  let timer;
  const late = new Promise((resolve, reject) => {
    timer = setTimeout(() => {
      // Timers come before what has arrived: after a pause of the process, look at that first.
      setImmediate(() => reject(new Late(`Redis: ${what}: no answer within ${milliseconds} ms`)));
    }, milliseconds);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Reads a Redis URL as Gatehouse does. Errors never quote it: it may hold a password. */
function parseRedisUrl(raw, setting) {
  const bad = (why) => new TypeError(`gatehouse: ${setting} ${why}; want redis://[user:password@]host:port[/database], rediss://… or unix:///path?db=1`);
  if (!isFilled(raw)) throw bad("is missing");
  let url, username, password;
  try {
    // URL takes no user without a host, which a socket does not have.
    url = new URL(raw.replace(/^unix:\/\/([^/]*@)?\//, "unix://$1socket/"));
    username = decodeURIComponent(url.username) || undefined;
    password = decodeURIComponent(url.password) || undefined;
  } catch {
    throw bad("is not a Redis URL");
  }
  const socket = socketOf(url);
  if (!socket) throw bad("is not a Redis URL");
  if (username && !password) throw bad("has a user but no password");
  const digits = (socket.path ? url.searchParams.get("db") : url.pathname.slice(1)) || "0";
  if (!/^\d{1,5}$/.test(digits)) throw bad("has a database that is no number");
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
  if (error instanceof Late) return error;
  // Node leaves the message empty when it tried several addresses.
  return new GatehouseUnavailable(`Redis: ${what}: ${error.message || error.code}`, { cause: error });
}

/* HTTP. */

const TEXT = { "Content-Type": "text/plain; charset=utf-8" };
const HTML = { "Content-Type": "text/html; charset=utf-8" };

function checkedBaseUrl(raw) {
  const bad = new TypeError("gatehouse: baseUrl must be Gatehouse's BASE_URL, such as https://id.example.org");
  if (!isFilled(raw)) throw bad;
  let url;
  try {
    url = new URL(raw);
  } catch {
    throw bad;
  }
  if (!["http:", "https:"].includes(url.protocol) || url.pathname !== "/" || /[?#@]/.test(raw)) throw bad;
  return raw.replace(/\/+$/, "");
}

function cookieName(baseUrl, cookieDomain) {
  if (!/^https:/i.test(baseUrl)) return "gatehouse";
  return cookieDomain ? "__Secure-gatehouse" : "__Host-gatehouse";
}

function isFastify(response) {
  return typeof response.hijack === "function";
}

function overExpress(request, response) {
  return {
    request,
    wantsHtml: acceptsHtml(request),
    address: () => absolute(request.protocol, expressHost(request), request.originalUrl),
    setHeader: (name, value) => response.setHeader(name, value),
    send({ status, headers, body }) {
      response.writeHead(status, headers);
      response.end(body);
    },
  };
}

// Express 4 leaves the port out of its own names for it.
function expressHost(request) {
  const trusted = request.app.get("trust proxy fn")(request.socket.remoteAddress, 0);
  const forwarded = trusted ? request.headers["x-forwarded-host"] : undefined;
  return (forwarded || request.headers.host || "").split(",")[0].trim();
}

function overFastify(request, reply) {
  return {
    request,
    wantsHtml: acceptsHtml(request),
    // Fastify 4 has no host, and the port in hostname.
    address: () => absolute(request.protocol, request.host ?? request.hostname, request.originalUrl),
    setHeader: (name, value) => reply.header(name, value),
    send: ({ status, headers, body }) => reply.code(status).headers(headers).send(body),
  };
}

function acceptsHtml(request) {
  return (request.headers.accept ?? "").split(",").some((range) => range.split(";")[0].trim().toLowerCase() === "text/html");
}

/** Returns the whole address of the wanted page; none when the request does not say its host. */
function absolute(protocol, host, path) {
  if (!host || !path.startsWith("/")) return undefined;
  return `${protocol}://${host}${path}`;
}

/**
 * Escapes text for HTML, in elements and in quoted attributes.
 * @param {string} text
 */
export function escapeHtml(text) {
  return String(text).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

function plainPage({ title, sentence }) {
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
<p>${escapeHtml(sentence)}</p>
</main>
</body>
</html>
`;
}
