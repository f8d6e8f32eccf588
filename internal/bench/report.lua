-- Prints the results of wrk as one line of JSON. Without request and response functions, wrk does
-- not call Lua during the measurement.
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format(
    '{"requests":%.0f,"micros":%.0f,"bytes":%.0f,"p50":%.0f,"p99":%.0f,"failed":%.0f,"broken":%.0f}\n',
    summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(99),
    e.status, e.connect + e.read + e.write + e.timeout))
end
