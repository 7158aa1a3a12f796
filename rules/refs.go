package rules

// QueueRef is a queue that a rule hands over to, and where the file says so.
type QueueRef struct {
	Queue, Rule  string
	File         string
	Line, Column int
}

// QueueRefs lists the queues that rules name, in order of evaluation, those of rules that are off included. Which queues
// exist is for the caller to know.
func (s *Set) QueueRefs() []QueueRef {
	var refs []QueueRef
	for _, r := range s.rules {
		if r.handoff != nil {
			refs = append(refs, QueueRef{Queue: r.handoff.Queue, Rule: r.id, File: r.file, Line: r.queueLine, Column: r.queueColumn})
		}
	}
	return refs
}

// BotRef is a bot that a rule gives conversations to, and where the file says so.
type BotRef struct {
	Bot, Rule    string
	File         string
	Line, Column int
}

// BotRefs lists the bots that rules name, as QueueRefs does.
func (s *Set) BotRefs() []BotRef {
	var refs []BotRef
	for _, r := range s.rules {
		if r.bot != nil {
			refs = append(refs, BotRef{Bot: r.bot.Bot, Rule: r.id, File: r.file, Line: r.botLine, Column: r.botColumn})
		}
	}
	return refs
}

// RuleRef is a rule as a list shows it.
type RuleRef struct {
	ID     string `json:"id"`
	Why    string `json:"why"`
	On     string `json:"on"`
	Mode   string `json:"mode"`
	Locked bool   `json:"locked,omitempty"`
	Rank   int    `json:"rank,omitempty"`
	File   string `json:"file"`
	Line   int    `json:"line"`
	Tests  int    `json:"tests"`
}

// Rules lists the rules in order of evaluation.
func (s *Set) Rules() []RuleRef {
	list := make([]RuleRef, 0, len(s.rules))
	for _, r := range s.rules {
		list = append(list, RuleRef{
			ID: r.id, Why: r.why, On: r.phase.String(), Mode: r.mode.String(), Locked: r.locked, Rank: r.rank,
			File: r.file, Line: r.line, Tests: len(r.tests),
		})
	}
	return list
}
