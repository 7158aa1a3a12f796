// Package metrics is what a node tells Prometheus about itself.
//
// What happened to conversations is read off the events of durable commits, which the store tells to everybody (Commit): a
// figure cannot count what was not made durable, or forget what was. How long things took is told by whoever did them
// (Accepted, Called, Answered, Requested). How things stand is looked at when Prometheus asks (State).
//
// The names are a contract with operators' dashboards: deploy/README.md lists them and a test holds the list to the code.
// Labels are names of the configuration (tenant, channel, bot, queue, rule), never an id, an address or text.
package metrics

import (
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/valyala/fasthttp"
	"github.com/valyala/fasthttp/fasthttpadaptor"

	"turnout/adapters/message"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// Metrics are the figures of one node. It is safe for concurrent use.
type Metrics struct {
	registry *prometheus.Registry

	accepted   *prometheus.CounterVec
	acceptTime *prometheus.HistogramVec
	started    *prometheus.CounterVec
	ended      *prometheus.CounterVec
	turnTime   *prometheus.HistogramVec
	calls      *prometheus.CounterVec
	tokens     *prometheus.CounterVec
	callTime   *prometheus.HistogramVec
	looks      *prometheus.CounterVec
	lookTime   *prometheus.HistogramVec
	lateWaits  *prometheus.CounterVec
	sent       *prometheus.CounterVec
	status     *prometheus.CounterVec
	decisions  *prometheus.CounterVec
	matches    *prometheus.CounterVec
	failures   *prometheus.CounterVec
	handoffs   *prometheus.CounterVec
	owners     *prometheus.CounterVec
	waits      *prometheus.HistogramVec
	entries    *prometheus.CounterVec
	commits    *prometheus.CounterVec
	requests   *prometheus.CounterVec
	reqTime    *prometheus.HistogramVec

	channels sync.Map // channelKey -> *channelMeters
	routes   sync.Map // routeKey -> *routeMeters
}

// seconds are the buckets of times within a node; waiting those of times that people wait.
var (
	seconds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60}
	waiting = []float64{5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 43200, 86400}
)

// New returns the metrics of a node of a version. state is asked for how things stand at each scrape; nil leaves those
// figures out.
func New(version string, state func() State) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry()}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		v := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
		m.registry.MustRegister(v)
		return v
	}
	histogram := func(name, help string, buckets []float64, labels ...string) *prometheus.HistogramVec {
		v := prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: buckets}, labels)
		m.registry.MustRegister(v)
		return v
	}
	m.accepted = counter("turnout_accept_messages_total", "Messages that came in, by what became of them.", "tenant", "channel", "outcome")
	m.acceptTime = histogram("turnout_accept_duration_seconds", "Time from a message to its durable acceptance, rules and commit included.", seconds, "tenant", "channel")
	m.started = counter("turnout_turns_started_total", "Bot calls that turns began, repetitions included.", "tenant", "channel")
	m.ended = counter("turnout_turns_ended_total", "Turns that ended, by how.", "tenant", "channel", "outcome")
	m.turnTime = histogram("turnout_turn_duration_seconds", "Time from the start of a turn to its durable end.", seconds, "tenant", "channel")
	m.calls = counter("turnout_bot_calls_total", "Calls of a bot, by how they ended.", "tenant", "bot", "outcome")
	m.callTime = histogram("turnout_bot_call_duration_seconds", "Time that calls of a bot took.", seconds, "tenant", "bot")
	m.looks = counter("turnout_profile_lookups_total", "Calls of a tenant's own system about customers, by how they ended.", "tenant", "outcome")
	m.lookTime = histogram("turnout_profile_lookup_duration_seconds", "Time that calls of a tenant's own system took.", seconds, "tenant")
	m.lateWaits = counter("turnout_profile_waits_total", "Turns that waited for what the tenant's own system says, by whether it came in time.", "tenant", "channel", "outcome")
	m.tokens = counter("turnout_bot_tokens_total", "Tokens that calls of a bot took, by what for: prompt or answer; an estimate where its server does not say.", "tenant", "bot", "kind")
	m.sent = counter("turnout_messages_sent_total", "Messages to customers, by who spoke.", "tenant", "channel", "by")
	m.status = counter("turnout_delivery_status_total", "Steps in the delivery of messages over push channels.", "tenant", "channel", "status")
	m.decisions = counter("turnout_rules_decisions_total", "Decisions, by what they did and in which phase.", "tenant", "kind", "phase")
	m.matches = counter("turnout_rules_matches_total", "Matches of a rule; in shadow mode they did nothing.", "tenant", "rule", "mode")
	m.failures = counter("turnout_rules_failures_total", "Evaluations of a rule that failed.", "tenant", "rule")
	m.handoffs = counter("turnout_handoffs_total", "Conversations given to people, by queue and by the rule or reason.", "tenant", "queue", "rule")
	m.owners = counter("turnout_owner_changes_total", "Changes of owner, by the new owner's kind and the reason.", "tenant", "to", "reason")
	m.waits = histogram("turnout_queue_wait_seconds", "Time from a handoff to the claim of a person.", waiting, "tenant", "queue")
	m.entries = counter("turnout_audit_entries_total", "Audit entries of conversations.", "tenant")
	m.commits = counter("turnout_store_commits_total", "Durable commits of conversations.", "tenant")
	m.requests = counter("turnout_http_requests_total", "Requests, by route and status code.", "route", "method", "code")
	m.reqTime = histogram("turnout_http_request_duration_seconds", "Time that requests took, waiting for a bot included.", seconds, "route", "method")

	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "turnout_build_info", Help: "The version of this node; always 1."}, []string{"version"})
	info.WithLabelValues(version).Set(1)
	m.registry.MustRegister(info, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if state != nil {
		m.registry.MustRegister(newCollector(state))
	}
	return m
}

// Registry is where the figures are gathered; a part of the node may add its own.
func (m *Metrics) Registry() *prometheus.Registry { return m.registry }

// Handler serves the figures in the format that the client asks for.
func (m *Metrics) Handler() fasthttp.RequestHandler {
	return fasthttpadaptor.NewFastHTTPHandler(promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true}))
}

// accepted is the outcome that nearly all messages have; the others are pipeline's.
const accepted = "accepted"

// Accepted is told of a message that a channel brought.
func (m *Metrics) Accepted(tenant, channel, outcome string, took time.Duration) {
	c := m.channel(tenant, channel)
	if outcome == accepted {
		c.accepted.Inc()
	} else {
		m.accepted.WithLabelValues(tenant, channel, outcome).Inc()
	}
	c.acceptTime.Observe(took.Seconds())
}

// Called is told of a call of a bot: "ok" or the kind of its error.
func (m *Metrics) Called(tenant, bot, outcome string, took time.Duration) {
	m.calls.WithLabelValues(tenant, bot, outcome).Inc()
	m.callTime.WithLabelValues(tenant, bot).Observe(took.Seconds())
}

// Looked is told of a call of a tenant's own system about a customer: "found", "unknown", or the kind of its error.
func (m *Metrics) Looked(tenant, outcome string, took time.Duration) {
	m.looks.WithLabelValues(tenant, outcome).Inc()
	m.lookTime.WithLabelValues(tenant).Observe(took.Seconds())
}

// Waited is told of a turn that waited for such a call: "in_time", "late" or "failed".
func (m *Metrics) Waited(tenant, channel, outcome string) {
	m.lateWaits.WithLabelValues(tenant, channel, outcome).Inc()
}

// Spent is told what a call of a bot took, in tokens.
func (m *Metrics) Spent(tenant, bot string, prompt, answer int64) {
	m.tokens.WithLabelValues(tenant, bot, "prompt").Add(float64(max(0, prompt)))
	m.tokens.WithLabelValues(tenant, bot, "answer").Add(float64(max(0, answer)))
}

// Answered is told how long a turn took that ended in a durable decision.
func (m *Metrics) Answered(tenant, channel string, took time.Duration) {
	m.channel(tenant, channel).turnTime.Observe(took.Seconds())
}

// Requested is told of a request. route is the pattern, never the path.
func (m *Metrics) Requested(route, method string, code int, took time.Duration) {
	key := routeKey{route, method, code}
	r, ok := m.routes.Load(key)
	if !ok {
		r, _ = m.routes.LoadOrStore(key, &routeMeters{
			m.requests.WithLabelValues(route, method, strconv.Itoa(code)), m.reqTime.WithLabelValues(route, method),
		})
	}
	r.(*routeMeters).count.Inc()
	r.(*routeMeters).time.Observe(took.Seconds())
}

type routeKey struct {
	route, method string
	code          int
}

type routeMeters struct {
	count prometheus.Counter
	time  prometheus.Observer
}

type channelKey struct{ tenant, channel string }

// channelMeters are the children that every turn needs: to find them by their labels costs as much as to count.
type channelMeters struct {
	accepted, commits, entries, started, answered, bot, pass prometheus.Counter
	acceptTime, turnTime                                     prometheus.Observer
}

func (m *Metrics) channel(tenant, channel string) *channelMeters {
	key := channelKey{tenant, channel}
	if c, ok := m.channels.Load(key); ok {
		return c.(*channelMeters)
	}
	c, _ := m.channels.LoadOrStore(key, &channelMeters{
		accepted:   m.accepted.WithLabelValues(tenant, channel, accepted),
		commits:    m.commits.WithLabelValues(tenant),
		entries:    m.entries.WithLabelValues(tenant),
		started:    m.started.WithLabelValues(tenant, channel),
		answered:   m.ended.WithLabelValues(tenant, channel, "answered"),
		bot:        m.sent.WithLabelValues(tenant, channel, string(message.ByBot)),
		pass:       m.decisions.WithLabelValues(tenant, string(conversation.DecisionPass), string(conversation.Answer)),
		acceptTime: m.acceptTime.WithLabelValues(tenant, channel),
		turnTime:   m.turnTime.WithLabelValues(tenant, channel),
	})
	return c.(*channelMeters)
}

// Commit counts what a durable commit did. It is for store.Hints.
func (m *Metrics) Commit(h store.Hint) {
	if h.State == nil || h.Remote { // the node that committed it counts it
		return
	}
	tenant, channel := h.Ref.Tenant.Name(), h.State.From.Channel
	c := m.channel(tenant, channel)
	c.commits.Inc()
	for i := range h.Events {
		switch d := h.Events[i].Data.(type) {
		case *conversation.TurnBegun:
			c.started.Inc()
		case *conversation.Sent:
			if d.By == message.ByBot {
				c.bot.Inc()
			} else {
				m.sent.WithLabelValues(tenant, channel, string(d.By)).Inc()
			}
		case *conversation.Decision:
			m.decided(tenant, channel, c, d)
		case *conversation.TurnBroken:
			if d.Final {
				m.ended.WithLabelValues(tenant, channel, "failed").Inc()
			}
		case *conversation.TurnDropped:
			m.ended.WithLabelValues(tenant, channel, "discarded").Inc()
		case *conversation.Handoff:
			m.handoffs.WithLabelValues(tenant, d.Queue, d.Rule).Inc()
		case *conversation.OwnerMoved:
			m.owners.WithLabelValues(tenant, string(d.To.Kind), d.Reason).Inc()
			if d.Reason == "claim" && d.From.Kind == message.OwnerQueued && h.State.Handoff != nil {
				took := time.Duration(h.Events[i].At-h.State.Handoff.At) * time.Millisecond
				m.waits.WithLabelValues(tenant, d.From.Queue).Observe(max(0, took).Seconds())
			}
		case *conversation.StatusChanged:
			m.status.WithLabelValues(tenant, channel, string(d.Status)).Inc()
		}
	}
}

func (m *Metrics) decided(tenant, channel string, c *channelMeters, d *conversation.Decision) {
	c.entries.Inc()
	if d.Kind == conversation.DecisionPass && d.Phase == conversation.Answer {
		c.pass.Inc()
	} else {
		m.decisions.WithLabelValues(tenant, string(d.Kind), string(d.Phase)).Inc()
	}
	if d.Phase == conversation.Answer && d.Turn != "" {
		switch d.Kind {
		case conversation.DecisionHandoff:
			m.ended.WithLabelValues(tenant, channel, "handoff").Inc()
		case conversation.DecisionReplace:
			m.ended.WithLabelValues(tenant, channel, "replaced").Inc()
		default:
			c.answered.Inc()
		}
	}
	for _, rule := range d.Matched {
		m.matches.WithLabelValues(tenant, rule, "enforce").Inc()
	}
	for _, rule := range d.Shadow {
		m.matches.WithLabelValues(tenant, rule, "shadow").Inc()
	}
	for _, rule := range d.Failed {
		m.failures.WithLabelValues(tenant, rule).Inc()
	}
}
