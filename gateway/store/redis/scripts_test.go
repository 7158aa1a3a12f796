package redis

import (
	"context"
	"fmt"
	"strings"
	"testing"

	goredis "github.com/redis/go-redis/v9"

	"turnout/gateway/store/redis/redistest"
)

// bench is a server with a key of each type, and a script to be called with whatever comes.
type bench struct {
	c      *goredis.Client
	script *goredis.Script
	keys   []string
	fill   func(ctx context.Context, p goredis.Pipeliner)
}

func newBench(t testing.TB, source string, keys []string, fill func(ctx context.Context, p goredis.Pipeliner)) *bench {
	server := redistest.Start(t, "--enable-debug-command", "yes", "--appendonly", "no")
	return &bench{c: server.Client(), script: goredis.NewScript(source), keys: keys, fill: fill}
}

// call runs the script on a server with its first contents. A script may refuse; then it says so in its own words, and
// nothing has changed.
func (b *bench) call(t *testing.T, keys []string, args []string) (any, error) {
	t.Helper()
	ctx := context.Background()
	if _, err := b.c.Pipelined(ctx, func(p goredis.Pipeliner) error {
		p.FlushAll(ctx)
		b.fill(ctx, p)
		return nil
	}); err != nil {
		t.Fatalf("filling the server: %v", err)
	}
	digest := func() string {
		v, err := b.c.Do(ctx, "DEBUG", "DIGEST").Text()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	before := digest()
	list := make([]any, len(args))
	for i, a := range args {
		list[i] = a
	}
	out, err := b.script.Run(ctx, b.c, keys, list...).Result()
	if err == nil || err == goredis.Nil {
		return out, nil
	}
	if !strings.HasPrefix(err.Error(), "ERR turnout ") {
		t.Errorf("%q: the script broke: %v", args, err)
	}
	if digest() != before {
		t.Errorf("%q: it was refused (%v) and changed something", args, err)
	}
	return nil, err
}

// split makes arguments of fuzzed text: one a line.
func split(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, "\n")
}

func lines(args ...any) string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = fmt.Sprint(a)
	}
	return strings.Join(out, "\n")
}

var typed = []string{"hash", "zset", "stream", "set", "string", "none"}

func fillTyped(ctx context.Context, p goredis.Pipeliner) {
	p.HSet(ctx, "hash", "f", "v", "n", "5")
	p.ZAdd(ctx, "zset", goredis.Z{Score: 1, Member: "m"})
	p.XAdd(ctx, &goredis.XAddArgs{Stream: "stream", ID: "5-1", Values: []string{"e", "x"}})
	p.SAdd(ctx, "set", "m")
	p.Set(ctx, "string", "s", 0)
}

// writeSeeds are calls of the write script: good ones, and one for each mistake.
var writeSeeds = []struct {
	args string
	want string // the answer, or what the error says
}{
	{lines(0), "0"},
	{lines(1, "=", 1, "f", "v", "H", 1, "f", "w"), "0"},
	{lines(1, "=", 1, "f", "w", "H", 1, "f", "x"), "1"},
	{lines(1, "=", 1, "none", "", "H", 1, "f", "x"), "1"},
	{lines(2, "!", 1, "g", "!", 1, "f", "H", 1, "f", "x"), "2"},
	{lines(1, "<", 1, "n", 5, "H", 6, "f", "x"), "0"},
	{lines(1, "<", 1, "n", 4, "H", 6, "f", "x"), "1"},
	{lines(1, "<", 6, "n", 4, "H", 6, "f", "x"), "0"},
	{lines(1, "~", 4, "m", "S", 4, "x"), "1"},
	{lines(0, "D", 1, "f", "Z", 2, 3, "x", "R", 2, "m", "X", 3, "6-1", "v", "X", 3, "*", "v", "S", 4, "x", "T", 4, "m", "P", 1, 1000, "M", 3, "6-0", "K", 5), "0"},
	{lines(0, "M", 6, "1-0"), "0"},
	{lines(0, "H", 6, "f", "v", "M", 3, "x"), "no id"},
	{lines(0, "H", 6, "f", "v", "M", 1, "1-0"), "the key is a hash"},
	{"", "the number of guards is none"},
	{lines("x"), "the number of guards is none"},
	{lines(-1), "the number of guards is none"},
	{lines(1), "guards are missing"},
	{lines(0, "Q", 1, "f"), "unknown letter"},
	{lines(0, "H", 1, "f"), "arguments are missing"},
	{lines(0, "H", 9, "f", "v"), "no such key"},
	{lines(0, "H", 0, "f", "v"), "no such key"},
	{lines(0, "H", "1.5", "f", "v"), "no such key"},
	{lines(0, "H", 2, "f", "v"), "the key is a zset"},
	{lines(0, "H", 6, "f", "v", "Z", 5, 1, "m"), "the key is a string"},
	{lines(0, "=", 1, "f", "v"), "a guard among writes"},
	{lines(1, "H", 1, "f", "v"), "a guard among writes"},
	{lines(1, "<", 1, "n", "x", "H", 1, "f", "v"), "no number"},
	{lines(1, "<", 1, "f", 5, "H", 1, "f", "v"), "the field is no number"},
	{lines(0, "H", 6, "f", "v", "Z", 2, "nan", "m"), "no score"},
	{lines(0, "H", 6, "f", "v", "Z", 2, "1e400", "m"), "no score"},
	{lines(0, "H", 6, "f", "v", "P", 1, 0), "no time to live"},
	{lines(0, "H", 6, "f", "v", "X", 3, "x", "v"), "no id"},
	{lines(0, "H", 6, "f", "v", "X", 3, "5-1", "v"), "a stream is past the id"},
	{lines(0, "H", 6, "f", "v", "X", 3, "4-1", "v"), "a stream is past the id"},
	{lines(0, "X", 3, "7-1", "v", "X", 3, "6-1", "v"), "the ids do not rise"},
	{lines(0, "X", 3, "9999999999999999-1", "v"), "no id"},
}

func TestWriteScript(t *testing.T) {
	b := newBench(t, writeSource, typed, fillTyped)
	for _, tc := range writeSeeds {
		out, err := b.call(t, b.keys, split(tc.args))
		if got := fmt.Sprint(out); err == nil && got != tc.want || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%q: %v, %v, want %s", split(tc.args), out, err, tc.want)
		}
	}
}

func FuzzWriteScript(f *testing.F) {
	b := newBench(f, writeSource, typed, fillTyped)
	for _, tc := range writeSeeds {
		f.Add(tc.args)
	}
	f.Fuzz(func(t *testing.T, args string) { b.call(t, b.keys, split(args)) })
}

func FuzzLoadScript(f *testing.F) {
	keys := []string{"state", "keys", "rows", "string"}
	b := newBench(f, loadSource, keys, func(ctx context.Context, p goredis.Pipeliner) {
		p.HSet(ctx, "state", "v", "1", "st", "sealed")
		p.HSet(ctx, "keys", "c_1", "key")
		p.HSet(ctx, "rows", "1", "row")
	})
	f.Add(lines("c_1", ""), uint8(3))
	f.Add(lines("c_1", "1"), uint8(3))
	f.Add(lines("c_1"), uint8(3))
	f.Add("", uint8(0))
	f.Add(lines("c_1", "", "more"), uint8(2))
	f.Fuzz(func(t *testing.T, args string, n uint8) { b.call(t, keys[:int(n)%len(keys)], split(args)) })
}

func FuzzDueScript(f *testing.F) {
	keys := []string{"r", "t", "o", "x"}
	b := newBench(f, dueSource, keys, func(ctx context.Context, p goredis.Pipeliner) {
		for _, k := range keys[:3] {
			p.ZAdd(ctx, k, goredis.Z{Score: 1, Member: "a"}, goredis.Z{Score: 9, Member: "b"})
		}
	})
	for _, args := range []string{lines(5, 10, 8), lines(5, 5, 8), lines("x", 10, 8), lines(5, 10), lines(5, 10, -1), lines("1e3", 10, 8), ""} {
		f.Add(args, uint8(4))
	}
	f.Add(lines(5, 10, 8), uint8(3))
	f.Fuzz(func(t *testing.T, args string, n uint8) { b.call(t, keys[:min(int(n), len(keys))], split(args)) })
}

// applyKeys are the fixed keys of the apply script, a list of a queue and one of an agent, and one of another type.
var applyKeys = []string{"m", "k", "f", "rs", "qs", "w", "c", "as", "w:q", "h:ann", "string"}

func fillView(ctx context.Context, p goredis.Pipeliner) {
	p.HSet(ctx, "m", "wm3", "5-0", "feed", "2", "gen", "life")
	p.HSet(ctx, "rs", "op", "ann\nc_1\n7")
	p.Set(ctx, "string", "s", 0)
}

func FuzzApplyScript(f *testing.F) {
	b := newBench(f, applySource, applyKeys, fillView)
	row := func(change map[int]any) string {
		args := []any{3, "life", "6-0", "c_1", 0, 0, 6, 9, 17, "q", "0 10", "ann", "entry", "feed"}
		for i, v := range change {
			args[i] = v
		}
		return lines(args...)
	}
	f.Add(row(nil))
	f.Add(row(map[int]any{2: "5-0"})) // applied before
	f.Add(row(map[int]any{0: "x"}))
	f.Add(row(map[int]any{1: ""}))
	f.Add(row(map[int]any{2: "x"}))
	f.Add(row(map[int]any{3: ""}))
	f.Add(row(map[int]any{5: 11})) // a list of another type
	f.Add(row(map[int]any{5: 8}))
	f.Add(row(map[int]any{6: 3}))
	f.Add(row(map[int]any{7: 99}))
	f.Add(row(map[int]any{8: "-1"}))
	f.Add(row(map[int]any{10: "10"}))
	f.Add(row(map[int]any{10: "0 6"}))
	f.Add(lines(3, "life", "6-0"))
	f.Add(lines(3))
	f.Add("")
	f.Fuzz(func(t *testing.T, args string) { b.call(t, applyKeys, split(args)) })
}

func FuzzReserveScript(f *testing.F) {
	keys := []string{"pr", "h:ann", "rs"}
	b := newBench(f, reserveSource, keys, func(ctx context.Context, p goredis.Pipeliner) {
		p.HSet(ctx, "pr", "ann", "100 2 sealed", "bob", "nonsense")
		p.HSet(ctx, "h:ann", "c_1", "1")
		p.HSet(ctx, "rs", "o1", "ann\nc_2\n7", "o2", "nonsense")
	})
	for _, args := range []string{
		lines("ann", "c_2", "o1", 5), lines("ann", "c_3", "o3", 5), lines("ann", "c_3", "o3", 100), lines("bob", "c_3", "o3", 5),
		lines("eve", "c_3", "o3", 5), lines("ann", "", "o3", 5), lines("ann", "c_3", "o3", "x"), lines("ann", "c_3"), "",
	} {
		f.Add(args)
	}
	f.Fuzz(func(t *testing.T, args string) { b.call(t, keys, split(args)) })
}

func FuzzLineageScript(f *testing.F) {
	keys := []string{"new", "other", "damaged", "string"}
	b := newBench(f, lineageSource, keys, func(ctx context.Context, p goredis.Pipeliner) {
		p.HSet(ctx, "other", "line", "abc", "lines", "3", "owes", "7")
		p.HSet(ctx, "damaged", "line", "abc", "lines", "x")
		p.Set(ctx, "string", "s", 0)
	})
	for _, args := range []string{
		lines(5, 9, "", 0), lines(5, 9, "", 1), lines(5, 9, "abc", 0), lines(8, 9, "", 0), lines("x", 9, "", 0), lines(5, "1e3", "", 0),
		lines(5, 9, "", 2), lines(5, 9), "",
	} {
		for n := range uint8(5) {
			f.Add(args, n)
		}
	}
	f.Fuzz(func(t *testing.T, args string, n uint8) {
		from := int(n) % (len(keys) + 1)
		b.call(t, keys[from:min(from+1, len(keys))], split(args))
	})
}

func FuzzRaiseScript(f *testing.F) {
	keys := []string{"none", "stream", "string"}
	b := newBench(f, raiseSource, keys, func(ctx context.Context, p goredis.Pipeliner) {
		p.XAdd(ctx, &goredis.XAddArgs{Stream: "stream", ID: "5-1", Values: []string{"e", "x"}})
		p.Set(ctx, "string", "s", 0)
	})
	for _, args := range []string{"5-1", "5-2", "4-9", "0-0", "0-1", "007-1", "9007199254740992-1", "99999999999999999999-1", "x", lines("5-1", "6-1"), ""} {
		for n := range uint8(4) {
			f.Add(args, n)
		}
	}
	f.Fuzz(func(t *testing.T, args string, n uint8) {
		from := int(n) % (len(keys) + 1)
		b.call(t, keys[from:min(from+1, len(keys))], split(args))
	})
}

// TestLineageScript: a history is remembered, another one is won once, and again when the one that won it is not heard of.
func TestLineageScript(t *testing.T) {
	b := newBench(t, lineageSource, []string{"h"}, nil)
	ctx := t.Context()
	ask := func(args ...any) (lines, won int64) {
		t.Helper()
		out, err := b.script.Run(ctx, b.c, b.keys, args...).Slice()
		if err != nil || len(out) != 3 {
			t.Fatalf("asking: %v, %v", out, err)
		}
		return out[1].(int64), out[2].(int64)
	}
	want := func(what string, lines, won int64, args ...any) {
		t.Helper()
		if l, w := ask(args...); l != lines || w != won {
			t.Errorf("%s: %d histories, won %d; want %d and %d", what, l, w, lines, won)
		}
	}
	want("the first", 0, 0, 10, 20, "", 0)
	want("the same", 0, 0, 10, 20, "", 1)
	line := b.c.HGet(ctx, "h", "line").Val()
	b.c.HSet(ctx, "h", "line", "other")
	want("another", 1, 1, 10, 20, "", 0)
	want("a second node", 1, 0, 11, 21, "", 0)
	want("the one that owes it, once more", 1, 1, 12, 22, line, 0)
	want("a second node, when the first is not heard of", 1, 1, 22, 32, "", 0)
	b.c.HDel(ctx, "h", "owes")
	want("when it is done", 1, 0, 40, 50, "", 0)
	b.c.Del(ctx, "h")
	want("one that was known and is gone", 1, 1, 50, 60, "", 1)
}
