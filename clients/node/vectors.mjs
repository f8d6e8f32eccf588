/** Runs the cases that every reader must pass: node vectors.mjs [FILE] */
import { readFileSync } from "node:fs";
import { isDeepStrictEqual } from "node:util";
import { checkAll, sessionCookies } from "./gatehouse.mjs";

const file = process.argv[2] ?? new URL("../vectors.json", import.meta.url);
const { now, cases } = JSON.parse(readFileSync(file, "utf8"));

let passed = 0;
for (const testCase of cases) {
  const failure = await run(testCase);
  if (failure) console.log(`${testCase.name}: ${failure}`);
  else passed++;
}
console.log(`${passed} vectors passed`);
if (passed === 0 || passed !== cases.length) process.exitCode = 1;

/** Returns how the result differs from the expected one, "" if it does not. */
async function run({ redis, want, user: wantUser, ...sent }) {
  const values = new Map(redis.map(({ key, text, base64 }) => [key, base64 ? Buffer.from(base64, "base64") : Buffer.from(text)]));
  try {
    const { state, user } = await checkAll(cookiesOf(sent), (key) => values.get(key) ?? null, Date.parse(now));
    if (state !== want) return `got ${state}, want ${want}`;
    if (!isDeepStrictEqual(user && { ...user }, wantUser)) return `got ${JSON.stringify(user)}, want ${JSON.stringify(wantUser)}`;
    return "";
  } catch (error) {
    return `failed: ${error.stack}`;
  }
}

function cookiesOf({ cookie, cookie_header: header, cookie_name: name }) {
  return header === undefined ? [cookie] : sessionCookies(Buffer.from(header, "base64").toString("latin1"), name);
}
