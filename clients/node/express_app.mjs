/** Example app for Express: PORT=3000 REDIS_URL=redis://localhost:6379 BASE_URL=http://localhost:8080 node express_app.mjs */
import express from "express";
import { createGatehouse } from "./gatehouse.mjs";
import * as pages from "./pages.mjs";

const { REDIS_URL, CACHE_URL, BASE_URL, COOKIE_DOMAIN, PORT } = process.env;
const gatehouse = createGatehouse({
  redisUrl: REDIS_URL, cacheUrl: CACHE_URL, baseUrl: BASE_URL, cookieDomain: COOKIE_DOMAIN, errorPage: pages.errorPage,
});

const app = express();
app.disable("x-powered-by");

app.get("/", gatehouse.requireUser(), (req, res) => {
  res.send(pages.home(req.user, gatehouse));
});
app.get("/open", gatehouse.identify(), (req, res) => {
  res.send(pages.open(req.user, gatehouse));
});
app.get("/reports", gatehouse.requirePermission("reports.view"), (req, res) => {
  res.send(pages.reports());
});
app.get("/whoami", gatehouse.requireUser(), (req, res) => {
  const { username, name, groups, permissions } = req.user;
  res.json({ username, name, groups, permissions });
});

const server = app.listen(Number(PORT), "127.0.0.1", (error) => {
  if (error) throw error;
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
