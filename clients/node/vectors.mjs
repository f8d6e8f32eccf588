/** Runs ../vectors.json, or the file that is named, against the check: node vectors.mjs [FILE] */
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { checkAll, sessionCookies } from "./gatehouse.mjs";

const file = process.argv[2] ?? new URL("../vectors.json", import.meta.url);
const { now, cases } = JSON.parse(readFileSync(file, "utf8"));

let passed = 0;
for (const wanted of cases) {
  const fault = await run(wanted);
  if (fault) console.log(`${wanted.name}: ${fault}`);
  else passed++;
}
console.log(`${passed} vectors passed`);
if (passed === 0 || passed !== cases.length) process.exitCode = 1;

/** Returns what is wrong, "" if nothing is. */
async function run({ redis, want, user, ...sent }) {
  const values = new Map(redis.map(({ key, text, base64 }) => [key, base64 ? Buffer.from(base64, "base64") : Buffer.from(text)]));
  try {
    const found = await checkAll(cookiesOf(sent), (key) => values.get(key) ?? null, Date.parse(now));
    if (found.state !== want) return `got ${found.state}, want ${want}`;
    if (!isDeepStrictEqual(found.user, user)) return `got ${JSON.stringify(found.user)}, want ${JSON.stringify(user)}`;
    return "";
  } catch (error) {
    return `failed: ${error.stack}`;
  }
}

function cookiesOf({ cookie, cookie_header: header, cookie_name: name }) {
  return header === undefined ? [cookie] : sessionCookies(Buffer.from(header, "base64").toString("latin1"), name);
}
