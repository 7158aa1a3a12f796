package lab

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"time"

	"turnout/adapters/message"
	"turnout/rules"
	"turnout/rules/signal"
)

// Cost is what judging an exchange costs.
type Cost struct {
	Rules int `json:"rules"`
	// NS is process CPU time, user and system, of judging one exchange, signals not included; Naive that of the same rules
	// evaluated one by one by the expression engine.
	NS     float64 `json:"ns_per_exchange"`
	Allocs float64 `json:"allocs_per_exchange"`
	Naive  float64 `json:"naive_ns_per_exchange"`
}

// Measure judges exchanges by n rules of mixed shapes for about as long as spent, half of it the naive way. The exchanges are
// messages of a few sentences, of which one in twenty meets some of the rules.
func Measure(n int, spend time.Duration) (Cost, error) {
	source := Mixed(n)
	set, err := rules.Load(source)
	if err != nil {
		return Cost{}, fmt.Errorf("compiling %d rules: %w", n, err)
	}
	plain, err := rules.LoadPlain(source)
	if err != nil {
		return Cost{}, fmt.Errorf("compiling %d rules: %w", n, err)
	}
	exchanges := sampleExchanges(n, 400)
	c := Cost{Rules: n}
	c.NS, c.Allocs = measure(exchanges, spend/2, func(x *rules.Exchange) { set.Eval(x) })
	c.Naive, _ = measure(exchanges, spend/2, func(x *rules.Exchange) { plain.Eval(x) })
	return c, nil
}

// measure runs judge over the exchanges, again and again until the time is spent, but at least once, and returns CPU time
// and allocations of one.
func measure(exchanges []*rules.Exchange, spend time.Duration, judge func(*rules.Exchange)) (ns, allocs float64) {
	for _, x := range exchanges[:min(len(exchanges), 20)] {
		judge(x) // pools fill, and the engine's own caches
	}
	runtime.GC()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start, begin, count := cpuTime(), time.Now(), 0
	for count == 0 || time.Since(begin) < spend {
		for _, x := range exchanges {
			judge(x)
			if count++; count&7 == 0 && time.Since(begin) >= spend {
				break
			}
		}
	}
	used := cpuTime() - start
	runtime.ReadMemStats(&after)
	return float64(used.Nanoseconds()) / float64(count), float64(after.Mallocs-before.Mallocs) / float64(count)
}

// Mixed are files of n rules of the shapes that policies have, for both sides of a turn: phrases, patterns, thresholds of
// signals, what is known of the customer, counts, negations.
func Mixed(n int) []rules.Source {
	var files []rules.Source
	for first := 0; first < n; first += ruleFile {
		files = append(files, rules.Source{Name: fmt.Sprintf("bench-%05d.yaml", first), Data: []byte(mixed(first, min(first+ruleFile, n)))})
	}
	return files
}

// ruleFile is how many rules a file of the measurement holds.
const ruleFile = 2000

func mixed(from, to int) string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for i := from; i < to; i++ {
		when, on := "", "inbound"
		switch k := i % 20; {
		case k < 5:
			when = fmt.Sprintf(`phrase("topic %d", "subject%d word")`, i, i)
		case k < 7:
			when = fmt.Sprintf(`text matches "(?i)\\bcase-%d[0-9]*\\b"`, i)
		case k < 9:
			when = fmt.Sprintf(`lower(text) contains "article %d" && turns > 1`, i)
		case k < 12:
			when = fmt.Sprintf(`signal.frustration > 0.%d || signal.human_request > 0.%d`, 95+i%5, 95+i%5)
		case k < 15:
			when = fmt.Sprintf(`profile.fields.segment == "s%d" && lang == "en"`, i)
		case k < 16:
			when = fmt.Sprintf(`handoffs > %d && minutes_open > 5`, 3+i%50)
		case k < 17:
			when = fmt.Sprintf(`!(lang == "en") && turns != %d`, i)
		case k < 18:
			on, when = "answer", fmt.Sprintf(`bot.confidence < 0.0%d || phrase(bot.text, "promise %d")`, i%10, i)
		case k < 19:
			when = fmt.Sprintf(`"tag%d" in tags || "vip%d" in tags`, i, i)
		default:
			when = fmt.Sprintf(`len(text) > %d && queues.support.waiting > %d`, 2000+i, i)
		}
		fmt.Fprintf(&b, "  - {id: r%d, why: w, on: %s, when: '%s', then: {tags: [t%d]}}\n", i, on, when, i)
	}
	return b.String()
}

// sampleExchanges are the same for the same numbers.
func sampleExchanges(rulesN, n int) []*rules.Exchange {
	g := rand.New(rand.NewPCG(1, uint64(rulesN)))
	said := []string{
		"Hello, I ordered a lamp two weeks ago and it has still not arrived. Could you please look into it?",
		"Where can I change the address of my account", "yes", "What does delivery to Norway cost and how long does it take?",
		"I would like to book a table for four people on friday at seven, by the window if there is one",
		"thanks", "My invoice shows two items that I did not order, the second one twice. Please correct it and send me a new one.",
	}
	now := time.Date(2026, 3, 9, 14, 30, 0, 0, time.UTC)
	out := make([]*rules.Exchange, n)
	for i := range out {
		x := &rules.Exchange{
			Message: message.Inbound{Kind: message.Text, Text: said[g.IntN(len(said))], From: message.Address{Channel: "acme.web"}},
			Lang:    "en", Scores: signal.Scores{Frustration: float64(g.IntN(80)) / 100, HumanRequest: float64(g.IntN(60)) / 100},
			Turns: 1 + g.IntN(8), Now: now, OpenedAt: now.Add(-time.Duration(g.IntN(20)) * time.Minute), Tags: []string{"web", "vip"},
			Profile: &message.Profile{Subject: "c1", Fields: map[string]any{"segment": "retail"}},
			Queues:  map[string]rules.QueueView{"support": {Waiting: g.IntN(5), Online: 2}},
		}
		if g.IntN(20) == 0 {
			x.Message.Text += fmt.Sprintf(" It is about topic %d and case-%d.", g.IntN(rulesN), 5)
		}
		if i%2 == 1 {
			confidence := float64(20+g.IntN(80)) / 100
			x.Phase, x.Bot = rules.Answer, &rules.BotView{Text: "Your parcel is on its way and should be with you tomorrow.", Confidence: &confidence, Parts: 1}
		}
		out[i] = x
	}
	return out
}
