/** Example app for Fastify: PORT=3000 REDIS_URL=redis://localhost:6379 BASE_URL=http://localhost:8080 node fastify_app.mjs */
import fastify from "fastify";
import { createGatehouse } from "./gatehouse.mjs";
import * as pages from "./pages.mjs";

const { REDIS_URL, CACHE_URL, BASE_URL, COOKIE_DOMAIN, PORT } = process.env;
const gatehouse = createGatehouse({
  redisUrl: REDIS_URL, cacheUrl: CACHE_URL, baseUrl: BASE_URL, cookieDomain: COOKIE_DOMAIN, errorPage: pages.errorPage,
});

const app = fastify();
app.register(gatehouse.fastify());

app.get("/", { preHandler: gatehouse.requireUser() }, (request, reply) => {
  html(reply).send(pages.home(request.user, gatehouse));
});
app.get("/open", (request, reply) => {
  html(reply).send(pages.open(request.user, gatehouse));
});
app.get("/reports", { preHandler: gatehouse.requirePermission("reports.view") }, (request, reply) => {
  html(reply).send(pages.reports());
});
app.get("/whoami", { preHandler: gatehouse.requireUser() }, (request, reply) => {
  const { username, name, groups, permissions } = request.user;
  reply.send({ username, name, groups, permissions });
});

console.log(`listening on ${await app.listen({ port: Number(PORT), host: "127.0.0.1" })}`);

function html(reply) {
  return reply.type("text/html; charset=utf-8");
}
