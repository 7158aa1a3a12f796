package gateway

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"turnout/adapters"
	"turnout/gateway/config"
)

// member is a channel that shares a connection with others.
type member struct {
	tenant             string
	channel            *config.Channel
	adapter            adapters.Channel
	connection, number string
}

// appendMember appends a channel, if it is a member of a connection.
func appendMember(list []member, tenant string, c *config.Channel, adapter adapters.Channel) []member {
	m, ok := adapter.(adapters.Member)
	if !ok {
		return list
	}
	connection, number := m.Membership()
	return append(list, member{tenant, c, adapter, connection, number})
}

// members are the channels of an assembly that share connections.
func (a *assembly) members() (out []member) {
	for _, t := range a.cfg.Tenants {
		for _, c := range t.Channels {
			out = appendMember(out, t.Name, c, a.channels[partKey{t.Name, c.Key}].adapter)
		}
	}
	return out
}

// windows are the channels with a time limit for replies, and the limits.
func (a *assembly) windows() *map[string]time.Duration {
	out := map[string]time.Duration{}
	for key, p := range a.channels {
		if p.sender == nil {
			continue
		}
		if limit := p.sender.Policy().Window; limit > 0 {
			out[key.name] = limit
		}
	}
	return &out
}

// window is how long after a customer's last message a channel takes a reply; 0: always.
func (g *Gateway) window(channel string) time.Duration {
	windows := g.windows.Load()
	if windows == nil {
		return 0
	}
	return (*windows)[channel]
}

// connections builds the endpoints of all connections for their members. What is wrong with who is a member of what is
// config.Faults at the place of the channel: a tenant gets nothing over a connection that the operator does not share with it, and
// nothing that is another channel's.
func connections(cfg *config.Config, reg adapters.Registry, deps func(name string) adapters.Deps, joined []member) ([]adapters.Route, error) {
	known := map[string]*config.Connection{}
	for _, c := range cfg.Connections {
		known[c.Name] = c
	}
	var faults config.Faults
	of := map[string][]adapters.Channel{}
	holders := map[[2]string]member{}
	for _, m := range joined {
		connection := known[m.connection]
		fault := func(err error) { faults = append(faults, m.channel.Config.Locate(err)...) }
		switch {
		case connection == nil && m.channel.At.Stored(), connection != nil && !slices.Contains(connection.Tenants, m.tenant):
			// Whoever may make channels learns from the answer nothing of what the operator has for others.
			fault(fmt.Errorf("connection: the operator of the node has no connection %q for tenant %s", m.connection, m.tenant))
		case connection == nil:
			fault(fmt.Errorf("connection: there is no resource of kind connection with the name %q", m.connection))
		case connection.Adapter != m.channel.Adapter:
			fault(fmt.Errorf("connection: %q is one of adapter %s, and the channel is of %s", m.connection, connection.Adapter, m.channel.Adapter))
		default:
			key := [2]string{m.connection, m.number}
			if other, taken := holders[key]; taken {
				whose := "another channel"
				if other.tenant == m.tenant {
					whose = "channel " + other.channel.Name
				}
				fault(fmt.Errorf("number: %s has this number on the connection; each number is one channel's", whose))
				continue
			}
			holders[key] = m
			of[m.connection] = append(of[m.connection], m.adapter)
		}
	}
	var routes []adapters.Route
	for _, name := range slices.Sorted(maps.Keys(known)) {
		c := known[name]
		built, err := reg.BuildConnection(c.Adapter, c.Config, deps(name), of[name])
		if err != nil {
			faults = append(faults, c.Config.Locate(err)...)
			continue
		}
		for _, r := range built {
			r.Pattern = "/v1/hooks/{connection}"
			routes = append(routes, r)
		}
	}
	if len(faults) > 0 {
		return nil, faults
	}
	return routes, nil
}
