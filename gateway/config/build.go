package config

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

var roles = []string{
	string(RoleAgent), string(RoleSupervisor), string(RoleAdmin), string(RoleOwner),
	string(RoleAuditor), string(RoleAuthor), string(RoleReviewer), string(RoleIntegration),
}

// Scopes are what keys of integrations may be given.
var Scopes = []string{
	"status:read", "rules:read", "rules:write", "audit:read", "conversations:read", "outbox:read", "outbox:write",
	"reports:read",
}

var (
	keyForm    = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,80}$`)
	langForm   = regexp.MustCompile(`^[a-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$`)
	digestForm = regexp.MustCompile(`^[0-9a-f]{64}$`)
	loginForm  = regexp.MustCompile(`^[^\s\pC]{1,128}$`)
	// A queue's and a person's names are shown in a line of a list.
	titleForm = regexp.MustCompile(`^[^\pC]{1,100}$`)
)

func (l *loader) newTenant(r *resource) *Tenant {
	t := &Tenant{
		At: r.whole.Pos(), Name: r.Name, Title: r.Name, spec: r.Spec,
		Languages: []string{"en"}, IdleNew: 24 * time.Hour, BareRequests: true, Stored: r.stored,
	}
	l.decode(r.Spec, t)
	l.checkTitle(r.Spec, "title", t.Title)
	if len(t.Languages) == 0 {
		l.faults.add(r.Spec.find("languages"), `languages must name at least one, such as "en"`)
	}
	for i, lang := range t.Languages {
		if !langForm.MatchString(lang) {
			l.faults.add(r.Spec.find("languages", strconv.Itoa(i)), `a language is written like "en" or "pt-BR"`)
		}
	}
	if t.IdleNew < time.Minute {
		l.faults.add(r.Spec.find("idle_new"), `idle_new must be "1m" or more`)
	}
	l.checkRetention(r.Spec, t.Retention)
	if t.BotLadder.CaptureOver < 0 {
		l.faults.add(r.Spec.find("bot_ladder", "capture_over"), "capture_over must be 0 (never) or more")
	}
	return t
}

// shortestKept is the shortest time of retention: until then a conversation may be opened again, and people look at it.
const shortestKept = 24 * time.Hour

func (l *loader) checkRetention(spec Section, r Retention) {
	for name, d := range map[string]time.Duration{"attachments": r.Attachments, "messages": r.Messages, "figures": r.Figures} {
		if d != 0 && d < shortestKept {
			l.faults.add(spec.find("retention", name), `%s must be "24h" or more, or left out to keep it for good`, name)
		}
	}
	if r.Messages > 0 && r.Attachments > r.Messages {
		l.faults.add(spec.find("retention", "attachments"), "attachments go with messages at the latest: write a time that is not longer than that of messages, or leave it out")
	}
	if r.Figures > 0 && r.Messages == 0 {
		l.faults.add(spec.find("retention", "figures"), "figures are kept of conversations whose messages are gone: say how long messages are kept, too")
	}
}

// add puts a resource into its tenant.
func (l *loader) add(t *Tenant, r *resource) {
	switch r.Kind {
	case "channel":
		t.Channels = append(t.Channels, l.newChannel(t, r))
	case "bot":
		t.Bots = append(t.Bots, l.newBot(r))
	case "queue":
		t.Queues = append(t.Queues, l.newQueue(r))
	case "agent":
		t.Agents = append(t.Agents, l.newAgent(r))
	case "rules":
		l.addRules(t, r)
	case "profile":
		p := l.newProfile(r)
		if t.Profile == nil {
			t.Profile = p
			break
		}
		l.faults.add(r.whole.find("kind"), "a tenant has one profile lookup; the first is at %s", t.Profile.At)
	}
}

// addConnection reads a connection. Whoever may change a tenant's resources may not make one: it would take in what is posted
// for others.
func (l *loader) addConnection(seen map[[3]string]Pos, r *resource) {
	if r.stored {
		l.faults.add(r.whole.find("kind"), "a connection belongs to the operator of the node, and is in files only; a channel names one that is there")
		return
	}
	if r.Tenant != "" {
		l.faults.add(r.whole.find("tenant"), "a connection belongs to no tenant; remove the line, and name those that may use it in spec.tenants")
	}
	if !l.first(seen, r, "") {
		return
	}
	c := &Connection{At: r.whole.Pos(), Name: r.Name, Config: r.absent("config"), spec: r.Spec}
	l.decode(r.Spec, c)
	l.need(r.Spec, "adapter", `write "adapter: whatsapp"`)
	l.need(r.Spec, "tenants", "list the tenants whose channels may use the connection")
	l.connections = append(l.connections, c)
}

func (l *loader) newChannel(t *Tenant, r *resource) *Channel {
	c := &Channel{At: r.whole.Pos(), Name: r.Name, Key: t.Name + "." + r.Name, Config: r.absent("config"), spec: r.Spec}
	l.decode(r.Spec, c)
	l.need(r.Spec, "adapter", `write "adapter: web"`)
	if r.stored && !strings.HasPrefix(c.Key, t.Name+".") {
		// Keys are unique on the node: whoever could ask for any would learn which other tenants have.
		l.faults.add(r.Spec.find("key"), "the key of a channel that is made over the API begins with the tenant's name and a dot: %q", t.Name+"."+r.Name)
	}
	if !keyForm.MatchString(c.Key) {
		l.faults.add(r.Spec.find("key"), "a key is 1 to 81 lower-case letters, digits, dots, hyphens and underscores, beginning with a letter or digit")
	}
	for name, n := range map[string]int{"bot_calls": c.BotCalls, "sends": c.Sends} {
		if n < 0 || n > mostPlaces {
			l.faults.add(r.Spec.find(name), "%s must lie between 0 (no bound of its own) and %d", name, mostPlaces)
		}
	}
	return c
}

func (l *loader) newBot(r *resource) *Bot {
	b := &Bot{
		At: r.whole.Pos(), Name: r.Name, Deadline: 20 * time.Second, Concurrency: 64,
		Breaker: Breaker{Failures: 5, Window: 30 * time.Second, OpenFor: 30 * time.Second},
		Config:  r.absent("config"), spec: r.Spec,
	}
	l.decode(r.Spec, b)
	l.need(r.Spec, "adapter", `write "adapter: webhook"`)
	check := func(ok bool, message string, path ...string) {
		if !ok {
			l.faults.add(r.Spec.find(path...), "%s %s", path[len(path)-1], message)
		}
	}
	check(b.Deadline >= 100*time.Millisecond && b.Deadline <= 10*time.Minute, `must lie between "100ms" and "10m"`, "deadline")
	check(b.Concurrency >= 1 && b.Concurrency <= 100_000, "must lie between 1 and 100000", "concurrency")
	check(b.Breaker.Failures >= 1, "must be 1 or more", "breaker", "failures")
	check(b.Breaker.Window >= time.Second, `must be "1s" or more`, "breaker", "window")
	for name, n := range map[string]int64{
		"calls_per_hour": b.Budget.CallsPerHour, "calls_per_day": b.Budget.CallsPerDay,
		"tokens_per_hour": b.Budget.TokensPerHour, "tokens_per_day": b.Budget.TokensPerDay,
	} {
		check(n >= 0 && n <= 1<<50, "must be 1 or more, or left out for no limit", "budget", name)
	}
	check(b.Breaker.OpenFor >= time.Second, `must be "1s" or more`, "breaker", "open_for")
	return b
}

func (l *loader) newQueue(r *resource) *Queue {
	q := &Queue{At: r.whole.Pos(), Name: r.Name, Title: r.Name, Priority: PriorityNormal}
	l.decode(r.Spec, q)
	l.checkTitle(r.Spec, "title", q.Title)
	return q
}

func (l *loader) newAgent(r *resource) *Agent {
	a := &Agent{At: r.whole.Pos(), ID: r.Name, Name: r.Name, Login: r.Name, Role: RoleAgent, Capacity: 5, spec: r.Spec}
	l.decode(r.Spec, a)
	l.checkTitle(r.Spec, "name", a.Name)
	if !loginForm.MatchString(a.Login) {
		l.faults.add(r.Spec.find("login"), "login must be 1 to 128 characters without spaces")
	}
	if !slices.Contains(roles, string(a.Role)) {
		l.faults.add(r.Spec.find("role"), "unknown role%s", meant(string(a.Role), roles))
	}
	if a.Capacity < 0 || a.Capacity > 1000 {
		l.faults.add(r.Spec.find("capacity"), "capacity must lie between 0 and 1000")
	}
	if child(r.Spec.node, "password") == nil && len(a.Keys) == 0 && !r.stored {
		l.faults.add(r.Spec.Pos(), `nobody can sign in as this agent; give a password or keys ("turnout admin key" makes one)`)
	}
	seen := map[string]bool{}
	for i, k := range a.Keys {
		n := strconv.Itoa(i)
		switch {
		case k.ID == "":
			l.faults.add(r.Spec.find("keys", n), "the key has no id; the audit log names keys by it")
		case seen[k.ID]:
			l.faults.add(r.Spec.find("keys", n, "id"), "a second key with this id; rename one")
		}
		seen[k.ID] = true
		if len(k.Scopes) > 0 && a.Role != RoleIntegration {
			l.faults.add(r.Spec.find("keys", n, "scopes"), "scopes are for keys of integrations; other keys do what their role may")
		}
		for j, scope := range k.Scopes {
			if !slices.Contains(Scopes, scope) {
				l.faults.add(r.Spec.find("keys", n, "scopes", strconv.Itoa(j)), "unknown scope%s", meant(scope, Scopes))
			}
		}
		if hex, ref := k.Digest(); hex == "" {
			if _, _, err := splitRef(ref); err != nil {
				l.faults.add(r.Spec.find("keys", n, "sha256"), `sha256 must be the key's SHA-256 as 64 hex digits, or "env:NAME" or "file:path" of it; never the key itself`)
			}
		}
	}
	return a
}

// need reports a field that is not there, or that is there and empty.
func (l *loader) need(s Section, name, how string) {
	field := s.sub(name)
	if field.node == nil {
		l.faults.add(field.at, "%s is missing; %s", name, how)
	} else if text, ok := textOf(field.node); ok && text == "" || emptyList(field.node) {
		l.faults.add(field.at, "%s is empty; %s", name, how)
	}
}

func (l *loader) checkTitle(s Section, field, text string) {
	if !titleForm.MatchString(text) || strings.TrimSpace(text) == "" {
		l.faults.add(s.find(field), "%s must be one line of 1 to 100 characters", field)
	}
}

// absent returns a section for a field that may not be in the file.
func (r *resource) absent(field string) Section {
	return Section{file: r.whole.file, key: field, at: r.Spec.at}
}
