-- Posts sign-ins of many users in turn and counts the responses by status.
local users = tonumber(os.getenv("BENCH_USERS"))
local name, password = os.getenv("BENCH_NAME"), os.getenv("BENCH_PASSWORD")
local headers = {["Content-Type"] = "application/x-www-form-urlencoded"}
local threads = {}
local sent = 0
signed_in, refused, odd, odd_code = 0, 0, 0, 0

setup = function(thread) table.insert(threads, thread) end

request = function()
  sent = sent % users + 1
  return wrk.format("POST", nil, headers, "username=" .. name .. sent .. "&password=" .. password)
end

response = function(status)
  if status == 303 then signed_in = signed_in + 1
  elseif status == 503 then refused = refused + 1
  else odd, odd_code = odd + 1, status end
end

done = function(summary, latency)
  local sum = {signed_in = 0, refused = 0, odd = 0, odd_code = 0}
  for _, thread in ipairs(threads) do
    for key, value in pairs(sum) do sum[key] = value + thread:get(key) end
  end
  local e = summary.errors
  io.write(string.format(
    '{"requests":%.0f,"micros":%.0f,"bytes":%.0f,"p50":%.0f,"p99":%.0f,"failed":%.0f,"broken":%.0f,' ..
    '"signed_in":%.0f,"refused":%.0f,"odd":%.0f,"odd_code":%.0f}\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write + e.timeout,
    sum.signed_in, sum.refused, sum.odd, sum.odd_code))
end
