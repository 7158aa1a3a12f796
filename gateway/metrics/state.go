package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"turnout/gateway/store"
)

// State is how a node stands at one moment.
type State struct {
	Ready bool
	Store store.Health
	// Queues, Bots and Senders are those of the configuration.
	Queues  []QueueState
	Bots    []BotState
	Senders []SenderState
	// Profiles are the profile lookups of the configuration.
	Profiles []ProfileState
	// Places are how the places for calls stand, of one kind each.
	Places []PlacesState
	// Sealed is how long ago the audit chains were sealed, below 0 when they were not yet; Unsent are the checkpoints whose
	// copies are not outside.
	Sealed time.Duration
	Unsent uint64
	Alarms []AlarmState
	// Privacy counts since the start of the process.
	Privacy PrivacyState
	// Archive counts since the start of the process.
	Archive ArchiveState
}

// ArchiveState counts what was moved out of the store's rows.
type ArchiveState struct {
	// Conversations, and Events of them; Before is what they took as rows, After what they take as files, in bytes.
	Conversations, Events int64
	Before, After         int64
}

// PrivacyState counts what was destroyed.
type PrivacyState struct {
	// Requested, Refused and Done are erasures of persons; Messages, Attachments and Figures conversations that lost these
	// because their time was over.
	Requested, Refused, Done       int64
	Messages, Attachments, Figures int64
}

// AlarmState is something that is wrong although the node serves.
type AlarmState struct{ Tenant, Alarm, Subject string }

// QueueState is a queue of a tenant.
type QueueState struct {
	Tenant, Queue string
	// Waiting conversations, Present agents who take from the queue, and Oldest, the time the first has waited.
	Waiting, Present int
	Oldest           time.Duration
}

// BotState is a bot of a tenant.
type BotState struct {
	Tenant, Bot string
	// Running calls, and Line, the conversations that wait for a place.
	Running, Line int
	BreakerOpen   bool
}

// ProfileState is a tenant's profile lookup. The counts are since it was built.
type ProfileState struct {
	Tenant string
	// Fresh, Stale and Missing are what was at hand when somebody wanted to know of a customer.
	Fresh, Stale, Missing uint64
	Entries, Running      int
	Bytes                 int64
	BreakerOpen           bool
}

// PlacesState is how the places for one kind of calls stand: "bot_calls" or "sends".
type PlacesState struct {
	Kind string
	// Bound is the node's.
	Bound   int
	Tenants []TenantPlaces
}

// TenantPlaces are those of one tenant.
type TenantPlaces struct {
	Tenant string
	// Held places, of at most Bound, and conversations that are Waiting for one, the first for Longest.
	Held, Bound, Waiting int
	Longest              time.Duration
	// Granted places since the start of the process, and how many of them after a wait.
	Granted, Waited int64
}

// SenderState is a push channel. The counts are since the start of the process.
type SenderState struct {
	Tenant, Channel                                             string
	Attempts, Sent, Retried, Uncertain, Dead, Lapsed, Throttled int64
	BreakerOpen, NeedsOperator                                  bool
}

// collector turns a State into figures at each scrape.
type collector struct {
	state func() State
	descs []*prometheus.Desc

	ready, ok, free, fsync            *prometheus.Desc
	waiting, present, oldest          *prometheus.Desc
	running, line, botOpen            *prometheus.Desc
	attempts, senderOpen, needsPerson *prometheus.Desc
	cached, entries, bytes            *prometheus.Desc
	looking, lookupOpen               *prometheus.Desc
	bound, share, held, queued        *prometheus.Desc
	granted, waited, longest          *prometheus.Desc
	sealed, unsent                    *prometheus.Desc
	alarm                             *prometheus.Desc
	erasures, retained                *prometheus.Desc
	archived, archivedBytes           *prometheus.Desc
}

func newCollector(state func() State) *collector {
	c := &collector{state: state}
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		d := prometheus.NewDesc(name, help, labels, nil)
		c.descs = append(c.descs, d)
		return d
	}
	c.ready = desc("turnout_ready", "1 while the node takes work.")
	c.ok = desc("turnout_store_ok", "1 while the store takes writes.", "durability")
	c.free = desc("turnout_store_free_bytes", "Bytes of the disk above the reserve; below 0 nothing is accepted.")
	c.fsync = desc("turnout_store_fsync_seconds", "Recent time of one synchronous write.")
	c.waiting = desc("turnout_queue_waiting", "Conversations that wait for a person.", "tenant", "queue")
	c.present = desc("turnout_queue_agents_present", "Agents who are present and take from the queue.", "tenant", "queue")
	c.oldest = desc("turnout_queue_oldest_wait_seconds", "How long the conversation has waited that waits longest.", "tenant", "queue")
	c.running = desc("turnout_bot_calls_running", "Calls of a bot under way.", "tenant", "bot")
	c.line = desc("turnout_bot_line", "Conversations that wait for a place at a bot.", "tenant", "bot")
	c.botOpen = desc("turnout_bot_breaker_open", "1 while the breaker keeps calls from a bot.", "tenant", "bot")
	c.attempts = desc("turnout_outbox_attempts_total", "Attempts to send over a push channel, by how they ended; begun counts all.", "tenant", "channel", "outcome")
	c.senderOpen = desc("turnout_outbox_breaker_open", "1 while the breaker keeps sends from a channel's provider.", "tenant", "channel")
	c.needsPerson = desc("turnout_outbox_needs_operator", "1 while no message leaves until somebody mends something.", "tenant", "channel")
	c.cached = desc("turnout_profile_cache_total", "Looks for what is at hand of a customer, by what was found: fresh, stale, missing.", "tenant", "found")
	c.entries = desc("turnout_profile_cache_entries", "Customers of whom something is at hand.", "tenant")
	c.bytes = desc("turnout_profile_cache_bytes", "About how many bytes the cache of customers takes.", "tenant")
	c.looking = desc("turnout_profile_lookups_running", "Calls of a tenant's own system under way.", "tenant")
	c.lookupOpen = desc("turnout_profile_breaker_open", "1 while the breaker keeps calls from a tenant's own system.", "tenant")
	c.bound = desc("turnout_places", "Places for calls of a kind that the node has.", "kind")
	c.share = desc("turnout_places_bound", "How many of them a tenant may hold.", "kind", "tenant")
	c.held = desc("turnout_places_held", "How many of them a tenant holds.", "kind", "tenant")
	c.queued = desc("turnout_places_waiting", "Conversations that wait for one, or, with sends, that have something to send.", "kind", "tenant")
	c.longest = desc("turnout_places_longest_wait_seconds", "How long the conversation has waited that waits longest; of bot calls only.", "kind", "tenant")
	c.granted = desc("turnout_places_granted_total", "Places that were given.", "kind", "tenant")
	c.waited = desc("turnout_places_waited_total", "Places that were given after a wait; of bot calls only.", "kind", "tenant")
	c.sealed = desc("turnout_audit_checkpoint_age_seconds", "Time since all chains that had moved were sealed.")
	c.unsent = desc("turnout_audit_unsent_checkpoints", "Checkpoints whose copies are not outside yet.")
	c.alarm = desc("turnout_alarm", "1 for each thing that is wrong although the node serves, such as a rule that is left out.", "tenant", "alarm", "subject")
	c.erasures = desc("turnout_erasures_total", "Erasures of persons, by how far they have come.", "state")
	c.retained = desc("turnout_retention_expired_total", "Conversations that lost something because its time was over, by what.", "class")
	c.archived = desc("turnout_archive_moved_total", "What was moved out of the store's rows into the archive: conversations and their events.", "what")
	c.archivedBytes = desc("turnout_archive_bytes_total", "What was moved, in bytes: before, as rows, and after, as files.", "side")
	return c
}

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range c.descs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	s := c.state()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(c.ready, truth(s.Ready))
	gauge(c.ok, truth(s.Store.OK), s.Store.Level)
	gauge(c.free, float64(s.Store.Free))
	gauge(c.fsync, s.Store.Fsync.Seconds())
	for _, q := range s.Queues {
		gauge(c.waiting, float64(q.Waiting), q.Tenant, q.Queue)
		gauge(c.present, float64(q.Present), q.Tenant, q.Queue)
		gauge(c.oldest, q.Oldest.Seconds(), q.Tenant, q.Queue)
	}
	for _, b := range s.Bots {
		gauge(c.running, float64(b.Running), b.Tenant, b.Bot)
		gauge(c.line, float64(b.Line), b.Tenant, b.Bot)
		gauge(c.botOpen, truth(b.BreakerOpen), b.Tenant, b.Bot)
	}
	for _, o := range s.Senders {
		for _, v := range []struct {
			outcome string
			n       int64
		}{
			{"begun", o.Attempts}, {"sent", o.Sent}, {"retried", o.Retried}, {"uncertain", o.Uncertain}, {"dead", o.Dead},
			{"lapsed", o.Lapsed}, {"throttled", o.Throttled},
		} {
			ch <- prometheus.MustNewConstMetric(c.attempts, prometheus.CounterValue, float64(v.n), o.Tenant, o.Channel, v.outcome)
		}
		gauge(c.senderOpen, truth(o.BreakerOpen), o.Tenant, o.Channel)
		gauge(c.needsPerson, truth(o.NeedsOperator), o.Tenant, o.Channel)
	}
	for _, p := range s.Profiles {
		for found, n := range map[string]uint64{"fresh": p.Fresh, "stale": p.Stale, "missing": p.Missing} {
			ch <- prometheus.MustNewConstMetric(c.cached, prometheus.CounterValue, float64(n), p.Tenant, found)
		}
		gauge(c.entries, float64(p.Entries), p.Tenant)
		gauge(c.bytes, float64(p.Bytes), p.Tenant)
		gauge(c.looking, float64(p.Running), p.Tenant)
		gauge(c.lookupOpen, truth(p.BreakerOpen), p.Tenant)
	}
	for _, p := range s.Places {
		gauge(c.bound, float64(p.Bound), p.Kind)
		for _, t := range p.Tenants {
			gauge(c.share, float64(t.Bound), p.Kind, t.Tenant)
			gauge(c.held, float64(t.Held), p.Kind, t.Tenant)
			gauge(c.queued, float64(t.Waiting), p.Kind, t.Tenant)
			gauge(c.longest, t.Longest.Seconds(), p.Kind, t.Tenant)
			for d, n := range map[*prometheus.Desc]int64{c.granted: t.Granted, c.waited: t.Waited} {
				ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), p.Kind, t.Tenant)
			}
		}
	}
	if s.Sealed >= 0 {
		gauge(c.sealed, s.Sealed.Seconds())
	}
	gauge(c.unsent, float64(s.Unsent))
	count := func(d *prometheus.Desc, n int64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), label)
	}
	p := s.Privacy
	count(c.erasures, p.Requested, "requested")
	count(c.erasures, p.Refused, "refused")
	count(c.erasures, p.Done, "done")
	count(c.retained, p.Messages, "messages")
	count(c.retained, p.Attachments, "attachments")
	count(c.retained, p.Figures, "figures")
	count(c.archived, s.Archive.Conversations, "conversations")
	count(c.archived, s.Archive.Events, "events")
	count(c.archivedBytes, s.Archive.Before, "before")
	count(c.archivedBytes, s.Archive.After, "after")
	for _, a := range s.Alarms {
		gauge(c.alarm, 1, a.Tenant, a.Alarm, a.Subject)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
