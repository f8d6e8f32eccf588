-- Asks Gatehouse whether a request is allowed (HAProxy 2.6 or later). See haproxy.cfg.

local address = "http://127.0.0.1:8080/auth/verify"

-- Headers of Gatehouse's response that the application receives. Cookie is the visitor's without Gatehouse's cookies, so
-- that the application cannot act as the visitor elsewhere; remove it if the application reads the shared session itself.
local identity_headers = { "remote-user", "remote-name", "remote-email", "remote-groups", "cookie" }

-- Headers of a response other than 200 that the browser receives.
local response_headers = {
	"location", "www-authenticate", "content-type", "cache-control", "retry-after", "x-request-id",
	"content-security-policy", "x-content-type-options", "referrer-policy",
}

-- Headers of the request that Gatehouse receives, in addition to its URL and method.
local request_headers = {
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

core.register_action("gatehouse", { "http-req" }, function(txn, requirement)
	local sent = txn.http:req_get_headers()
	local headers = {
		["x-forwarded-for"] = { txn.sf:src() },
		["x-forwarded-proto"] = { txn.sf:ssl_fc() == 1 and "https" or "http" },
		["x-forwarded-host"] = { values(sent["host"])[1] or "" },
		["x-forwarded-uri"] = { txn.sf:pathq() },
		["x-forwarded-method"] = { txn.sf:method() },
	}
	for _, name in ipairs(request_headers) do
		local list = values(sent[name])
		if #list > 0 then
			headers[name] = list
		end
	end
	local query = requirement ~= nil and requirement ~= "-" and "?" .. requirement or ""
	local response = core.httpclient():get({ url = address .. query, headers = headers, timeout = 2000 })
	if response == nil or response.status == nil or response.status < 200 then
		refuse(txn, 503, { ["retry-after"] = { "5" }, ["cache-control"] = { "no-store" }, ["content-type"] = { "text/plain" } },
			"This site isn't available right now. You have not been signed out. Try again in a moment.\n")
		return
	end
	if response.status ~= 200 then
		local forwarded = {}
		for _, name in ipairs(response_headers) do
			local list = values(response.headers[name])
			if #list > 0 then
				forwarded[name] = list
			end
		end
		refuse(txn, response.status, forwarded, response.body)
		return
	end
	for _, name in ipairs(identity_headers) do
		local value = values(response.headers[name])[1] or ""
		if value == "" then
			txn.http:req_del_header(name)
		else
			txn.http:req_set_header(name, value)
		end
	end
end, 1)
