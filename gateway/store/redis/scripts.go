package redis

import (
	_ "embed"

	goredis "github.com/redis/go-redis/v9"
)

//go:embed lua/write.lua
var writeSource string

//go:embed lua/load.lua
var loadSource string

//go:embed lua/due.lua
var dueSource string

//go:embed lua/apply.lua
var applySource string

//go:embed lua/reserve.lua
var reserveSource string

// scripts are those that every connection has loaded. They are addressed by their content: nodes of different builds work
// on one store side by side.
type scripts struct {
	write, load, due, apply, reserve *goredis.Script
}

func newScripts() scripts {
	return scripts{
		write: goredis.NewScript(writeSource), load: goredis.NewScript(loadSource), due: goredis.NewScript(dueSource),
		apply: goredis.NewScript(applySource), reserve: goredis.NewScript(reserveSource),
	}
}

func (s scripts) all() []string {
	return []string{writeSource, loadSource, dueSource, applySource, reserveSource}
}
