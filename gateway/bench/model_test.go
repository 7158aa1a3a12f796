package bench

import (
	"strings"
	"testing"
)

// TestModel computes by hand what the model computes.
func TestModel(t *testing.T) {
	r := RedisReport{
		PerConversation: 2050, PerTurn: 1050, PerID: 50,
		Steps: []RedisSize{{RedisCell: RedisCell{Gateway: 1}}, {RedisCell: RedisCell{Gateway: 400, Primary: 200, In: 2000, Out: 1000, Replication: 1000}}},
	}
	in, err := ModelInput{}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	in.ConversationsPerDay = []float64{864_000}
	m := r.model(in)
	// 864,000 x 10 / 86,400 x 3 = 300 turns a second; 300 x 400 us = 0.12 cores; 300 x 200 us = 0.06.
	// Hot: 864,000 x 8 x (2,000 + 9 x 1,000) = 76.03 GB; ids: 864,000 x 10 x 12 x 50 = 5.18 GB; left: 864,000 x 82 x 2,900 = 205.46 GB.
	want := map[string][2]float64{
		"turns": {m.TurnsPerSecond, 300}, "nodes": {m.Nodes, 1}, "shards by CPU": {m.ShardsByCPU, 1}, "hot": {m.HotGB, 76.032}, "ids": {m.IDGB, 5.184},
		"left": {m.StubGB, 205.4592}, "shards by memory": {m.ShardsByMemory, 12}, "shards": {m.Shards(), 12},
		"archive": {m.ArchiveGB, 261.43}, "network": {m.WireMBs, 1.2},
	}
	for what, v := range want {
		if d := v[0] - v[1]; d > 0.01 || d < -0.01 {
			t.Errorf("%s: %v, want %v", what, v[0], v[1])
		}
	}
	for _, says := range []string{"864000 conversations a day", "10 turns", "300/s", "12, the larger of 1 by CPU and 12 by memory"} {
		if !strings.Contains(m.String(), says) {
			t.Errorf("it does not say %q:\n%s", says, m)
		}
	}
	for _, bad := range []ModelInput{{Turns: -1}, {Busy: 2}, {Peak: 0.5}, {KeptDays: 1}, {ConversationsPerDay: []float64{0}}} {
		if _, err := bad.withDefaults(); err == nil {
			t.Errorf("%+v is taken", bad)
		}
	}
}

func TestRedisRefuses(t *testing.T) {
	for name, o := range map[string]RedisOptions{
		"no nodes": {Nodes: []int{0}}, "falling nodes": {Nodes: []int{2, 1}}, "many nodes": {Nodes: []int{9}}, "one step": {Steps: []int{1000}},
		"falling steps": {Steps: []int{2000, 1000}}, "fewer than connections": {Steps: []int{10, 1000}}, "few ids": {IDs: 1},
	} {
		if _, err := RunRedis(t.Context(), o); err == nil || strings.Contains(err.Error(), "has ended") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
