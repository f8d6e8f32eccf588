// Package metrics counts requests, sign-ins and revocations for Prometheus. It knows what to count but nothing about how
// requests are served.
package metrics

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

// Metrics is the registry that Prometheus scrapes. The methods that record do nothing on a nil *Metrics.
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

// New returns metrics of this process and its requests.
func New() *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "gatehouse_request_duration_seconds", Help: "Requests by route, method and status.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10},
		}, []string{"route", "method", "status"}),
		redis:  prometheus.NewCounter(prometheus.CounterOpts{Name: "gatehouse_redis_round_trips_total", Help: "Round trips to Redis that requests made."}),
		sql:    prometheus.NewCounter(prometheus.CounterOpts{Name: "gatehouse_sql_statements_total", Help: "SQL statements that requests ran."}),
		hashes: prometheus.NewCounter(prometheus.CounterOpts{Name: "gatehouse_password_hashes_total", Help: "Password hashes that requests computed or compared."}),
		signIns: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "gatehouse_sign_ins_total", Help: "Sign-ins by method (form, basic, token) and outcome (ok, refused, throttled, busy, unavailable).",
		}, []string{"method", "outcome"}),
		revoked: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "gatehouse_revocation_seconds", Help: "Time from a change of a user in the database until this server has invalidated its cached copy.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 5, 30},
		}),
		listening: prometheus.NewGauge(prometheus.GaugeOpts{Name: "gatehouse_listening", Help: "1 while the listener for user changes is connected, else 0."}),
	}
	m.registry.MustRegister(m.requests, m.redis, m.sql, m.hashes, m.signIns, m.revoked, m.listening,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// RegisterGauge adds a gauge whose value is read at each scrape.
func (m *Metrics) RegisterGauge(name, help string, labels map[string]string, read func() float64) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels}, read))
}

// RegisterCounter adds a counter whose value is read at each scrape.
func (m *Metrics) RegisterCounter(name, help string, labels map[string]string, read func() float64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: name, Help: help, ConstLabels: labels}, read))
}

// Handler serves GET /metrics.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}

// ObserveRequest records a request that was answered. The label is the route's pattern ("" if no route matched), never the
// path: clients could invent any number of paths.
func (m *Metrics) ObserveRequest(method, route string, status int, took time.Duration, cost *reqstats.Stats) {
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

// knownMethod maps invented methods to one series.
func knownMethod(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

// CountSignIn counts a sign-in by its method (form, basic, token) and the outcome that the error stands for.
func (m *Metrics) CountSignIn(method string, err error) {
	if m == nil {
		return
	}
	m.signIns.WithLabelValues(method, outcome(err)).Inc()
}

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

// ObserveRevocation records how long a change of a user took to take effect on this server.
func (m *Metrics) ObserveRevocation(after time.Duration) {
	if m != nil && after >= 0 {
		m.revoked.Observe(after.Seconds())
	}
}

// SetListening records whether the listener for user changes is connected.
func (m *Metrics) SetListening(on bool) {
	if m == nil {
		return
	}
	m.listening.Set(0)
	if on {
		m.listening.Set(1)
	}
}
