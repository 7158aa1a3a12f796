package bench

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// ModelInput is what a model is made for, and what it assumes. The zero value of a field means its default.
type ModelInput struct {
	ConversationsPerDay []float64 `json:"-"`                      // 1 and 100 million
	Turns               float64   `json:"turns_per_conversation"` // 10
	Peak                float64   `json:"peak"`                   // the busiest second against the mean of a day: 3
	Busy                float64   `json:"busy"`                   // the part of a core that may be in use at the peak: 0.5
	Cores               float64   `json:"cores_per_node"`         // 8
	ShardGB             float64   `json:"shard_gb"`               // memory of a primary that may be in use: 25
	HotDays             float64   `json:"hot_days"`               // from a conversation's beginning to its archiving: 8
	IDDays              float64   `json:"id_days"`                // for how long a message id is known: 12
	KeptDays            float64   `json:"kept_days"`              // retention, from the beginning: 90
	// Stub is what an archived conversation leaves in memory, ArchivedEvent what one of its events takes in the archive, both
	// in bytes. They are not measured here but by the command of the page for operators, "The archive".
	Stub          float64 `json:"stub_bytes"`           // 2,900
	ArchivedEvent float64 `json:"archived_event_bytes"` // 123: 4.3 KB for 35 events with their audit entries
	Events        float64 `json:"events_per_turn"`      // 3
}

func (m ModelInput) withDefaults() (ModelInput, error) {
	if len(m.ConversationsPerDay) == 0 {
		m.ConversationsPerDay = []float64{1e6, 100e6}
	}
	fill(&m.Turns, 10)
	fill(&m.Peak, 3)
	fill(&m.Busy, 0.5)
	fill(&m.Cores, 8)
	fill(&m.ShardGB, 25)
	fill(&m.HotDays, 8)
	fill(&m.IDDays, 12)
	fill(&m.KeptDays, 90)
	fill(&m.Stub, 2900)
	fill(&m.ArchivedEvent, 123)
	fill(&m.Events, 3)
	for _, v := range append([]float64{m.Turns, m.Peak, m.Busy, m.Cores, m.ShardGB, m.HotDays, m.IDDays, m.KeptDays, m.Stub, m.ArchivedEvent, m.Events}, m.ConversationsPerDay...) {
		if v <= 0 || math.IsNaN(v) || math.IsInf(v, 0) {
			return m, errors.New("what a model assumes must be more than 0")
		}
	}
	if m.Busy > 1 || m.Peak < 1 || m.Turns < 1 || m.KeptDays < m.HotDays {
		return m, errors.New("at most all of a core can be in use, a peak is at least 1, a conversation has at least a turn, and is kept at least until it is archived")
	}
	return m, nil
}

// each is the input once for each number of conversations.
func (m ModelInput) each() (list []ModelInput) {
	for _, n := range m.ConversationsPerDay {
		one := m
		one.ConversationsPerDay = []float64{n}
		list = append(list, one)
	}
	return list
}

// Model is what a number of conversations a day needs, by the figures of a run.
type Model struct {
	ConversationsPerDay float64    `json:"conversations_per_day"`
	Input               ModelInput `json:"assumed"`
	// Of the run, with wait=1 and the most conversations: CPU in seconds per turn, bytes per turn, and the slopes of memory.
	GatewayCPU      float64 `json:"gateway_cpu_s_per_turn"`
	PrimaryCPU      float64 `json:"primary_cpu_s_per_turn"`
	PerConversation float64 `json:"bytes_per_conversation"`
	PerTurn         float64 `json:"bytes_per_turn"`
	PerID           float64 `json:"bytes_per_id"`
	Wire            float64 `json:"wire_bytes_per_turn"`

	TurnsPerSecond float64 `json:"turns_per_second_at_peak"`
	Nodes          float64 `json:"nodes"`
	ShardsByCPU    float64 `json:"shards_by_cpu"`
	ShardsByMemory float64 `json:"shards_by_memory"`
	HotGB          float64 `json:"hot_gb"`
	IDGB           float64 `json:"id_gb"`
	StubGB         float64 `json:"stub_gb"`
	ArchiveGB      float64 `json:"archive_gb"`
	WireMBs        float64 `json:"wire_mb_per_second"` // into and out of all primaries, at the peak
}

// Shards are the primaries that it takes, each with its replicas.
func (m Model) Shards() float64 { return max(m.ShardsByCPU, m.ShardsByMemory) }

// model computes what a load needs. The id of a turn's message is counted apart, so it is taken out of a turn.
func (r RedisReport) model(in ModelInput) Model {
	last := r.Steps[len(r.Steps)-1]
	m := Model{
		ConversationsPerDay: in.ConversationsPerDay[0], Input: in,
		GatewayCPU: last.Gateway / 1e6, PrimaryCPU: last.Primary / 1e6,
		PerConversation: r.PerConversation, PerTurn: r.PerTurn, PerID: r.PerID, Wire: last.In + last.Out + last.Replication,
	}
	day := m.ConversationsPerDay
	m.TurnsPerSecond = day * in.Turns / 86_400 * in.Peak
	m.Nodes = math.Ceil(m.TurnsPerSecond * m.GatewayCPU / in.Busy / in.Cores)
	m.ShardsByCPU = math.Ceil(m.TurnsPerSecond * m.PrimaryCPU / in.Busy)
	hot := max(0, m.PerConversation-m.PerID) + (in.Turns-1)*max(0, m.PerTurn-m.PerID)
	m.HotGB = day * in.HotDays * hot / 1e9
	m.IDGB = day * in.Turns * in.IDDays * m.PerID / 1e9
	m.StubGB = day * (in.KeptDays - in.HotDays) * in.Stub / 1e9
	m.ShardsByMemory = math.Ceil((m.HotGB + m.IDGB + m.StubGB) / in.ShardGB)
	m.ArchiveGB = day * (in.KeptDays - in.HotDays) * in.Turns * in.Events * in.ArchivedEvent / 1e9
	m.WireMBs = m.TurnsPerSecond * m.Wire / 1e6
	return m
}

// String shows the arithmetic.
func (m Model) String() string {
	var b strings.Builder
	in, day := m.Input, m.ConversationsPerDay
	fmt.Fprintf(&b, "model: %.0f conversations a day, %.0f turns each (a: assumed, m: measured above)\n", day, in.Turns)
	line := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "  %-14s %s\n", what, fmt.Sprintf(format, args...))
	}
	line("turns", "%.0f/s at the peak = %.0f x %.0f / 86,400 s x %.1f (a)", m.TurnsPerSecond, day, in.Turns, in.Peak)
	line("gateway nodes", "%.0f of %.0f cores (a) = turns x %.0f us (m) / %.2f busy (a)", m.Nodes, in.Cores, m.GatewayCPU*1e6, in.Busy)
	line("shards", "%.0f, the larger of %.0f by CPU and %.0f by memory; a primary and its replicas each", m.Shards(), m.ShardsByCPU, m.ShardsByMemory)
	line("  by CPU", "%.0f = turns x %.0f us (m) / %.2f busy (a) of a primary's one thread", m.ShardsByCPU, m.PrimaryCPU*1e6, in.Busy)
	line("  by memory", "%.0f = %.0f GB / %.0f GB in use each (a)", m.ShardsByMemory, m.HotGB+m.IDGB+m.StubGB, in.ShardGB)
	line("memory", "%.1f GB hot: %.0f days (a) of conversations of %.0f B (m) and %.0f B (m) for each turn after the first, without ids", m.HotGB, in.HotDays, m.PerConversation, m.PerTurn)
	line("", "%.1f GB message ids: %.0f days (a) of %.0f B (m)", m.IDGB, in.IDDays, m.PerID)
	line("", "%.1f GB what the archived leave: %.0f days (a) of %.0f B (a)", m.StubGB, in.KeptDays-in.HotDays, in.Stub)
	line("archive", "%.1f GB: the same days of %.0f events a turn (a) of %.0f B (a)", m.ArchiveGB, in.Events, in.ArchivedEvent)
	line("network", "%.1f MB/s into and out of the primaries at the peak = turns x %.0f B (m)", m.WireMBs, m.Wire)
	return b.String()
}
