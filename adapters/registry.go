package adapters

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// NewChannel builds a channel from its section of the configuration.
type NewChannel func(Spec, Deps) (Channel, error)

// NewBot builds a bot from its section of the configuration.
type NewBot func(Spec, Deps) (Bot, error)

// Registry maps the names of adapters to constructors. It is a value: the zero value is empty, each composition root and
// each test has its own. It is not safe for use while it is changed.
type Registry struct {
	channels map[string]NewChannel
	bots     map[string]NewBot
}

// AddChannel adds or replaces a channel adapter.
func (r *Registry) AddChannel(name string, build NewChannel) {
	if r.channels == nil {
		r.channels = map[string]NewChannel{}
	}
	r.channels[name] = build
}

// AddBot adds or replaces a bot adapter.
func (r *Registry) AddBot(name string, build NewBot) {
	if r.bots == nil {
		r.bots = map[string]NewBot{}
	}
	r.bots[name] = build
}

// BuildChannel builds a channel; an unknown name is an error that lists the known ones.
func (r *Registry) BuildChannel(name string, s Spec, d Deps) (Channel, error) {
	build, ok := r.channels[name]
	if !ok {
		return nil, unknown("channel", name, r.ChannelNames())
	}
	return build(s, d)
}

// BuildBot builds a bot; an unknown name is an error that lists the known ones.
func (r *Registry) BuildBot(name string, s Spec, d Deps) (Bot, error) {
	build, ok := r.bots[name]
	if !ok {
		return nil, unknown("bot", name, r.BotNames())
	}
	return build(s, d)
}

// ChannelNames returns the names of the channel adapters, sorted.
func (r *Registry) ChannelNames() []string { return slices.Sorted(maps.Keys(r.channels)) }

// BotNames returns the names of the bot adapters, sorted.
func (r *Registry) BotNames() []string { return slices.Sorted(maps.Keys(r.bots)) }

func unknown(kind, name string, known []string) error {
	return fmt.Errorf("unknown %s adapter %q: this build has %s", kind, name, strings.Join(known, ", "))
}
