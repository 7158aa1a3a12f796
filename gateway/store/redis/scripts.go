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

//go:embed lua/lineage.lua
var lineageSource string

//go:embed lua/raise.lua
var raiseSource string

// scripts are those that every connection has loaded. They are addressed by their content: nodes of different builds work
// on one store side by side.
type scripts struct {
	write, load, due, apply, reserve, lineage, raise *goredis.Script
}

func newScripts() scripts {
	return scripts{
		write: goredis.NewScript(writeSource), load: goredis.NewScript(loadSource), due: goredis.NewScript(dueSource),
		apply: goredis.NewScript(applySource), reserve: goredis.NewScript(reserveSource),
		lineage: goredis.NewScript(lineageSource), raise: goredis.NewScript(raiseSource),
	}
}

func (s scripts) all() []string {
	return []string{writeSource, loadSource, dueSource, applySource, reserveSource, lineageSource, raiseSource}
}
