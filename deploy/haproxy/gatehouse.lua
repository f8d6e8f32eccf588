-- Asks Gatehouse who sent a request (HAProxy 2.6 or later). See haproxy.cfg.

local address = "http://127.0.0.1:8080/auth/verify"

-- What Gatehouse says of the visitor, for the application. Cookie is the visitor's without Gatehouse's cookies, so that
-- the application cannot act as the visitor elsewhere; take it out if the application reads the shared session itself.
local vouched = { "remote-user", "remote-name", "remote-email", "remote-groups", "cookie" }

-- What the browser needs of an answer that is not 200.
local handed_on = {
	"location", "www-authenticate", "content-type", "cache-control", "retry-after", "x-request-id",
	"content-security-policy", "x-content-type-options", "referrer-policy",
}

-- What Gatehouse needs of the request, besides where it goes.
local asked_with = {
	"cookie", "authorization", "accept", "user-agent", "sec-fetch-mode", "sec-fetch-site", "sec-fetch-dest",
}

local function values(list)
	local all, i = {}, 0
	while list ~= nil and list[i] ~= nil do
		all[#all + 1] = list[i]
		i = i + 1
	end
	return all
end

local function refuse(txn, status, headers, body)
	local reply = txn:reply({ status = status })
	for name, list in pairs(headers) do
		for _, value in ipairs(list) do
			reply:add_header(name, value)
		end
	end
	if body ~= nil and body ~= "" then
		reply:set_body(body)
	end
	txn:done(reply)
end

core.register_action("gatehouse", { "http-req" }, function(txn, demand)
	local sent = txn.http:req_get_headers()
	local headers = {
		["x-forwarded-for"] = { txn.sf:src() },
		["x-forwarded-proto"] = { txn.sf:ssl_fc() == 1 and "https" or "http" },
		["x-forwarded-host"] = { values(sent["host"])[1] or "" },
		["x-forwarded-uri"] = { txn.sf:pathq() },
		["x-forwarded-method"] = { txn.sf:method() },
	}
	for _, name in ipairs(asked_with) do
		local list = values(sent[name])
		if #list > 0 then
			headers[name] = list
		end
	end
	local query = demand ~= nil and demand ~= "-" and "?" .. demand or ""
	local answer = core.httpclient():get({ url = address .. query, headers = headers, timeout = 2000 })
	if answer == nil or answer.status == nil or answer.status < 200 then
		refuse(txn, 503, { ["retry-after"] = { "5" }, ["cache-control"] = { "no-store" }, ["content-type"] = { "text/plain" } },
			"This site is not available right now. You are not signed out. Try again in a moment.\n")
		return
	end
	if answer.status ~= 200 then
		local back = {}
		for _, name in ipairs(handed_on) do
			local list = values(answer.headers[name])
			if #list > 0 then
				back[name] = list
			end
		end
		refuse(txn, answer.status, back, answer.body)
		return
	end
	for _, name in ipairs(vouched) do
		local value = values(answer.headers[name])[1] or ""
		if value == "" then
			txn.http:req_del_header(name)
		else
			txn.http:req_set_header(name, value)
		end
	end
end, 1)
