package report

import (
	"cmp"
	"slices"
	"time"
)

// Day is the conversations that were opened on one day (UTC) on one channel.
type Day struct {
	Day           string `json:"day"` // 2026-11-25
	Channel       string `json:"channel"`
	Conversations int    `json:"conversations"`
	FromCustomer  int    `json:"from_customer"`
	FromBot       int    `json:"from_bot"`
	FromAgents    int    `json:"from_agents"`
	Turns         int    `json:"turns"`
	FailedTurns   int    `json:"failed_turns"`
	// HandedOff conversations went to people, Claimed ones a person took, Answered ones a person wrote in, Returned ones
	// went back to the bot, Resolved ones a person ended. Contained ones were closed and never went to people.
	HandedOff int `json:"handed_off"`
	Claimed   int `json:"claimed"`
	Answered  int `json:"answered"`
	Returned  int `json:"returned"`
	Resolved  int `json:"resolved"`
	Contained int `json:"contained"`
	// Waits from handoff to claim, and from handoff to the first word of a person, in seconds: median and 90th percentile
	// of those that came to that; absent when none did.
	WaitMedian   *float64 `json:"wait_median_s,omitempty"`
	WaitP90      *float64 `json:"wait_p90_s,omitempty"`
	AnswerMedian *float64 `json:"answer_median_s,omitempty"`
	AnswerP90    *float64 `json:"answer_p90_s,omitempty"`
}

// Days adds up summaries. The zero Days is ready to use.
type Days struct{ by map[dayKey]*dayBook }

type dayKey struct{ day, channel string }

type dayBook struct {
	Day
	waits, answers []float64
}

// Add adds a conversation to its day.
func (d *Days) Add(s Summary) {
	key := dayKey{s.OpenedAt.UTC().Format(time.DateOnly), s.Channel}
	if d.by == nil {
		d.by = map[dayKey]*dayBook{}
	}
	b := d.by[key]
	if b == nil {
		b = &dayBook{Day: Day{Day: key.day, Channel: key.channel}}
		d.by[key] = b
	}
	b.Conversations++
	b.FromCustomer += s.FromCustomer
	b.FromBot += s.FromBot
	b.FromAgents += s.FromAgents
	b.Turns += s.Turns
	b.FailedTurns += s.FailedTurns
	b.HandedOff += one(s.Handoffs > 0)
	b.Claimed += one(!s.ClaimedAt.IsZero())
	b.Answered += one(!s.AnsweredAt.IsZero())
	b.Returned += one(s.Returns > 0)
	b.Resolved += one(s.Closed == "resolved")
	b.Contained += one(s.Closed != "" && s.Handoffs == 0 && s.Agent == "")
	if w, ok := s.Wait(); ok {
		b.waits = append(b.waits, w.Seconds())
	}
	if w, ok := s.Answer(); ok {
		b.answers = append(b.answers, w.Seconds())
	}
}

// Rows returns the days in order, of each its channels by name.
func (d *Days) Rows() []Day {
	rows := make([]Day, 0, len(d.by))
	for _, b := range d.by {
		b.WaitMedian, b.WaitP90 = quantile(b.waits, .5), quantile(b.waits, .9)
		b.AnswerMedian, b.AnswerP90 = quantile(b.answers, .5), quantile(b.answers, .9)
		rows = append(rows, b.Day)
	}
	slices.SortFunc(rows, func(a, b Day) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Channel, b.Channel))
	})
	return rows
}

// quantile is the smallest value that at least the share q of values does not exceed; nil of none.
func quantile(values []float64, q float64) *float64 {
	if len(values) == 0 {
		return nil
	}
	slices.Sort(values)
	i := 0
	for float64(i+1) < q*float64(len(values)) {
		i++
	}
	return &values[i]
}

func one(b bool) int {
	if b {
		return 1
	}
	return 0
}
