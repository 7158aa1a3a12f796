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

// NewDirectory builds a directory from its section of the configuration.
type NewDirectory func(Spec, Deps) (Directory, error)

// NewConnection builds the endpoints of a connection from its section, for the channels that are its members. It keeps nothing
// open: whenever one of them is another, it is built anew.
type NewConnection func(Spec, Deps, []Channel) ([]Route, error)

// Registry maps the names of adapters to constructors. It is a value: the zero value is empty, each composition root and
// each test has its own. It is not safe for use while it is changed.
type Registry struct {
	channels map[string]NewChannel
	push     map[string]bool
	bots     map[string]NewBot
	dirs     map[string]NewDirectory
	conns    map[string]NewConnection
	shared   []Route
}

// AddChannel adds or replaces a channel adapter.
func (r *Registry) AddChannel(name string, build NewChannel) {
	if r.channels == nil {
		r.channels = map[string]NewChannel{}
	}
	r.channels[name] = build
	delete(r.push, name)
}

// AddPush adds or replaces an adapter of push channels: what it builds has the add-on Sender. That has to be known before
// any channel is built, because the outbox begins with the commit of a message.
func (r *Registry) AddPush(name string, build NewChannel) {
	r.AddChannel(name, build)
	if r.push == nil {
		r.push = map[string]bool{}
	}
	r.push[name] = true
}

// Pushes reports whether the named adapter is one of push channels.
func (r *Registry) Pushes(name string) bool { return r.push[name] }

// AddBot adds or replaces a bot adapter.
func (r *Registry) AddBot(name string, build NewBot) {
	if r.bots == nil {
		r.bots = map[string]NewBot{}
	}
	r.bots[name] = build
}

// AddDirectory adds or replaces a directory adapter.
func (r *Registry) AddDirectory(name string, build NewDirectory) {
	if r.dirs == nil {
		r.dirs = map[string]NewDirectory{}
	}
	r.dirs[name] = build
}

// AddConnection adds or replaces what builds the connections of an adapter.
func (r *Registry) AddConnection(name string, build NewConnection) {
	if r.conns == nil {
		r.conns = map[string]NewConnection{}
	}
	r.conns[name] = build
}

// AddShared adds endpoints that belong to no one channel, such as files that all channels of an adapter have in common.
func (r *Registry) AddShared(routes ...Route) { r.shared = append(r.shared, routes...) }

// Shared returns the endpoints that AddShared added. The server mounts them beside those of the channels.
func (r *Registry) Shared() []Route { return slices.Clone(r.shared) }

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

// BuildDirectory builds a directory; an unknown name is an error that lists the known ones.
func (r *Registry) BuildDirectory(name string, s Spec, d Deps) (Directory, error) {
	build, ok := r.dirs[name]
	if !ok {
		return nil, unknown("profile", name, r.DirectoryNames())
	}
	return build(s, d)
}

// BuildConnection builds the endpoints of a connection; an unknown name is an error that lists the known ones.
func (r *Registry) BuildConnection(name string, s Spec, d Deps, members []Channel) ([]Route, error) {
	build, ok := r.conns[name]
	if !ok {
		return nil, unknown("connection", name, r.ConnectionNames())
	}
	return build(s, d, members)
}

// ChannelNames returns the names of the channel adapters, sorted.
func (r *Registry) ChannelNames() []string { return slices.Sorted(maps.Keys(r.channels)) }

// ConnectionNames returns the names of the adapters that have connections, sorted.
func (r *Registry) ConnectionNames() []string { return slices.Sorted(maps.Keys(r.conns)) }

// BotNames returns the names of the bot adapters, sorted.
func (r *Registry) BotNames() []string { return slices.Sorted(maps.Keys(r.bots)) }

// DirectoryNames returns the names of the directory adapters, sorted.
func (r *Registry) DirectoryNames() []string { return slices.Sorted(maps.Keys(r.dirs)) }

func unknown(kind, name string, known []string) error {
	return fmt.Errorf("unknown %s adapter %q: this build has %s", kind, name, strings.Join(known, ", "))
}
