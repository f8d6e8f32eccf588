package web

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"gatehouse/auth"
	"gatehouse/internal/reqstats"
)

// Metrics are what Prometheus reads. A nil *Metrics counts nothing, so that nobody has to ask.
type Metrics struct {
	registry  *prometheus.Registry
	requests  *prometheus.HistogramVec
	redis     prometheus.Counter
	sql       prometheus.Counter
	hashes    prometheus.Counter
	signIns   *prometheus.CounterVec
	revoked   prometheus.Histogram
	listening prometheus.Gauge
}

// NewMetrics returns metrics of this process and its requests.
func NewMetrics() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gatehouse_request_duration_seconds", Help: "Requests by route, method and status.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route", "method", "status"}),
		redis:  prometheus.NewCounter(prometheus.CounterOpts{Name: "gatehouse_redis_round_trips_total", Help: "Round trips to Redis that requests made."}),
		sql:    prometheus.NewCounter(prometheus.CounterOpts{Name: "gatehouse_sql_statements_total", Help: "SQL statements that requests ran."}),
		hashes: prometheus.NewCounter(prometheus.CounterOpts{Name: "gatehouse_password_hashes_total", Help: "Password hashes that requests made or compared."}),
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_sign_ins_total", Help: "Sign-ins by method (form, basic, token) and outcome (ok, refused, throttled, busy, unavailable).",
		}, []string{"method", "outcome"}),
		revoked: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "gatehouse_revocation_seconds", Help: "From a change of a user in the database until this server has dropped what it kept of them.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30},
		}),
		listening: prometheus.NewGauge(prometheus.GaugeOpts{Name: "gatehouse_listening", Help: "1 while changes in the database are heard of at once, else 0."}),
	}
	m.registry.MustRegister(m.requests, m.redis, m.sql, m.hashes, m.signIns, m.revoked, m.listening,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// RegisterGauge adds a number that is read when Prometheus asks.
func (m *Metrics) RegisterGauge(name, help string, labels map[string]string, read func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, read))
}

// RegisterCounter adds a number that only rises and is read when Prometheus asks.
func (m *Metrics) RegisterCounter(name, help string, labels map[string]string, read func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, read))
}

// Handler answers GET /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// request counts one that is answered. The route's pattern is the label, never the path: paths have no end.
func (m *Metrics) request(method, route string, status int, took time.Duration, cost *reqstats.Stats) {
	if m == nil {
		return
	}
	if route == "" {
		route = "none"
	}
	m.requests.WithLabelValues(route, knownMethod(method), strconv.Itoa(status)).Observe(took.Seconds())
	m.redis.Add(float64(cost.RedisRoundTrips()))
	m.sql.Add(float64(cost.SQLStatements()))
	m.hashes.Add(float64(cost.Hashes()))
}

// knownMethod keeps made-up methods from becoming series.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

func (m *Metrics) signIn(method string, err error) {
	if m == nil {
		return
	}
	m.signIns.WithLabelValues(method, outcome(err)).Inc()
}

// CountSignIn counts a sign-in through a form.
func (r *Request) CountSignIn(err error) { r.server.Metrics.signIn("form", err) }

func outcome(err error) string {
	var throttled auth.ThrottledError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &throttled):
		return "throttled"
	case errors.Is(err, auth.ErrBusy):
		return "busy"
	case errors.Is(err, auth.ErrUnavailable):
		return "unavailable"
	}
	return "refused"
}

// ObserveRevocation records how long a change took to be in effect here.
func (m *Metrics) ObserveRevocation(after time.Duration) {
	if m != nil && after >= 0 {
		m.revoked.Observe(after.Seconds())
	}
}

// SetListening records whether changes are heard of.
func (m *Metrics) SetListening(on bool) {
	if m == nil {
		return
	}
	m.listening.Set(0)
	if on {
		m.listening.Set(1)
	}
}
