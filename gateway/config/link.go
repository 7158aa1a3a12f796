package config

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// link sorts the resources of each tenant, fills in what one leaves to another and checks what refers to what.
func (l *loader) link() {
	keys := map[string]Pos{}
	for _, t := range l.tenants {
		slices.SortFunc(t.Channels, func(a, b *Channel) int { return strings.Compare(a.Name, b.Name) })
		slices.SortFunc(t.Bots, func(a, b *Bot) int { return strings.Compare(a.Name, b.Name) })
		slices.SortFunc(t.Queues, func(a, b *Queue) int { return strings.Compare(a.Name, b.Name) })
		slices.SortFunc(t.Agents, func(a, b *Agent) int { return strings.Compare(a.ID, b.ID) })
		slices.SortStableFunc(t.Rules, func(a, b RuleSource) int { return strings.Compare(a.Name, b.Name) })

		bots, queues := names(t.Bots, func(b *Bot) string { return b.Name }), names(t.Queues, func(q *Queue) string { return q.Name })
		l.linkTenant(t, bots, queues)
		l.linkChannels(t, bots, keys)
		for _, b := range t.Bots {
			if b.Alternate == b.Name {
				l.faults.add(b.spec.find("alternate"), "a bot cannot be its own alternate; name another or remove the line")
			} else {
				l.refer(b.spec, "bot", b.Alternate, bots, "alternate")
			}
		}
		l.linkAgents(t, queues)
		l.linkProfile(t)
	}
	tenants := names(l.tenants, func(t *Tenant) string { return t.Name })
	for _, c := range l.connections {
		for i, name := range c.Tenants {
			if !slices.Contains(tenants, name) {
				l.faults.add(c.spec.find("tenants", strconv.Itoa(i)), "unknown tenant %q%s", name, meant(name, tenants))
			}
		}
	}
	for _, u := range l.uses {
		known := names(u.tenant.Queues, func(q *Queue) string { return q.Name })
		if u.kind == "bot" {
			known = names(u.tenant.Bots, func(b *Bot) string { return b.Name })
		}
		if !slices.Contains(known, u.name) {
			l.faults.add(u.at, "unknown %s %q%s", u.kind, u.name, meant(u.name, known))
		}
	}
	l.digest()
}

func (l *loader) linkTenant(t *Tenant, bots, queues []string) {
	unused := t.Stored && len(t.Channels) == 0 // a tenant in the making
	switch {
	case t.Bot != "":
		l.refer(t.spec, "bot", t.Bot, bots, "bot")
	case len(bots) == 1:
		t.Bot = bots[0]
	case len(bots) == 0 && !unused:
		l.faults.add(t.spec.find("bot"), `the tenant has no bot; add a document "{kind: bot, name: …}"`)
	}
	t.BotByLanguage = l.linkLanguages(t.spec, t.BotByLanguage, bots)
	switch {
	case t.DefaultQueue != "":
		l.refer(t.spec, "queue", t.DefaultQueue, queues, "default_queue")
	case len(queues) == 1:
		t.DefaultQueue = queues[0]
	case len(queues) == 0 && unused:
	case len(queues) == 0:
		l.faults.add(t.spec.find("default_queue"), `the tenant has no queue; add a document "{kind: queue, name: …}"`)
	default:
		l.faults.add(t.spec.find("default_queue"), "default_queue is missing; with several queues say which takes handoffs that name none: %s", strings.Join(queues, ", "))
	}
}

func (l *loader) linkChannels(t *Tenant, bots []string, keys map[string]Pos) {
	for _, c := range t.Channels {
		at := c.At
		if child(c.spec.node, "key") != nil {
			at = c.spec.find("key")
		}
		if other, taken := keys[c.Key]; taken {
			l.faults.add(at, "the key %q is taken by the channel at %s; keys are unique on a node", c.Key, other)
			l.faults.add(other, "the key %q is used again by the channel at %s; keys are unique on a node", c.Key, at)
		} else {
			keys[c.Key] = at
		}
		own := c.BotByLanguage != nil
		if c.BotByLanguage = l.linkLanguages(c.spec, c.BotByLanguage, bots); !own && c.Bot == "" {
			c.BotByLanguage = t.BotByLanguage // a channel that chooses for itself takes nothing of its tenant's choice
		}
		switch {
		case c.Bot != "":
			l.refer(c.spec, "bot", c.Bot, bots, "bot")
		case t.Bot != "":
			c.Bot = t.Bot
		case len(bots) > 1:
			l.faults.add(c.At, "the channel has no bot; name one here or for the tenant: %s", strings.Join(bots, ", "))
		}
		if c.ReopenWithin == 0 {
			c.ReopenWithin = t.ReopenWithin
		}
		if c.ReopenWithin == 0 {
			c.ReopenWithin = reopenWithin(c.Adapter)
		}
	}
}

// linkLanguages checks a table of bots by language, and returns it by languages in lower case.
func (l *loader) linkLanguages(s Section, table map[string]string, bots []string) map[string]string {
	if table == nil {
		return nil
	}
	out := make(map[string]string, len(table))
	for _, lang := range slices.Sorted(maps.Keys(table)) {
		if !langForm.MatchString(lang) {
			l.faults.add(s.find("bot_by_language", lang), `a language is written like "en" or "pt-BR"`)
		}
		if table[lang] == "" {
			l.faults.add(s.find("bot_by_language", lang), "name the bot that answers in %s, or remove the line", lang)
		}
		l.refer(s, "bot", table[lang], bots, "bot_by_language", lang)
		out[strings.ToLower(lang)] = table[lang]
	}
	return out
}

func reopenWithin(adapter string) time.Duration {
	switch adapter {
	case "web":
		return 30 * time.Minute
	case "email":
		return 14 * 24 * time.Hour
	}
	return 24 * time.Hour
}

func (l *loader) linkAgents(t *Tenant, queues []string) {
	logins := map[string]*Agent{}
	for _, a := range t.Agents {
		if other := logins[a.Login]; other != nil {
			l.faults.add(a.spec.find("login"), "another agent has this login, at %s; change one", other.At)
			l.faults.add(other.spec.find("login"), "another agent has this login, at %s; change one", a.At)
		}
		logins[a.Login] = a
		for i, q := range a.Queues {
			if q != "*" {
				l.refer(a.spec, "queue", q, queues, "queues", strconv.Itoa(i))
			}
		}
		switch {
		case slices.Contains(a.Queues, "*"):
			a.Queues = slices.Clone(queues)
		case len(a.Queues) == 0 && (a.Role == RoleAgent || a.Role == RoleSupervisor):
			l.faults.add(a.spec.find("queues"), `the agent works in no queue; list some, or write queues: ["*"] for all`)
		}
	}
}

func (l *loader) linkProfile(t *Tenant) {
	if t.Profile == nil {
		return
	}
	channels := names(t.Channels, func(c *Channel) string { return c.Name })
	for i, c := range t.Profile.Channels {
		l.refer(t.Profile.spec, "channel", c, channels, "channels", strconv.Itoa(i))
	}
}

// refer checks that a name, if there is one, is known. The path is where it stands in the section.
func (l *loader) refer(s Section, kind, name string, known []string, path ...string) {
	if name != "" && !slices.Contains(known, name) {
		l.faults.add(s.find(path...), "unknown %s %q%s", kind, name, meant(name, known))
	}
}

func names[T any](list []T, name func(T) string) []string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = name(v)
	}
	return out
}
