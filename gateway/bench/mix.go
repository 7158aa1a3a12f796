package bench

import (
	"fmt"
	"strings"
)

// rulesInMix is the number of rules that the gateway runs.
const rulesInMix = 100

// shape is a kind of rule: count of them in the mix, each with its own condition on what the customer wrote or, for every
// third one, on what the bot answered.
type shape struct {
	name    string
	count   int
	inbound func(i int) string
	answer  func(i int) string
}

// shapes are the mix. No condition holds for what is said in a bench, so every rule costs what a rule costs that stays
// silent, which nearly all do in nearly every turn.
var shapes = [...]shape{
	{
		"phrase", 25,
		func(i int) string {
			return fmt.Sprintf(`phrase("%s my %s", "%[2]s was %[3]s")`, pick(verbs, i), pick(things, i/3), pick(fates, i))
		},
		func(i int) string {
			return fmt.Sprintf(`phrase("guaranteed %s", "%s for ever")`, pick(things, i), pick(fates, i/2))
		},
	},
	{
		"pattern", 20,
		func(i int) string {
			return fmt.Sprintf(`text matches "(?i)\\b%s(s|ed|ing)?\\s+(all|every)\\s+%s\\b"`, pick(verbs, i), pick(things, i))
		},
		func(i int) string {
			return fmt.Sprintf(`bot.text matches "(?i)%s[- ]?no\\.?\\s*[0-9]{4,%d}"`, pick(things, i), 8+i)
		},
	},
	{
		"signal", 20,
		func(i int) string { return fmt.Sprintf(`signal.%s > 0.%d`, pick(scores, i), 95+i%5) },
		func(i int) string { return fmt.Sprintf(`signal.bot_fallback > 0.%d`, 95+i%5) },
	},
	{
		"field", 15,
		func(i int) string { return fmt.Sprintf(`profile.fields.plan == "%s-%d"`, pick(things, i), i) },
		func(i int) string { return fmt.Sprintf(`bot.intent == "%s_%s"`, pick(verbs, i), pick(things, i)) },
	},
	{
		"history", 10,
		func(i int) string { return fmt.Sprintf(`turns > %d && handoffs > %d`, 1_000_000+i, 1+i%3) },
		func(i int) string { return fmt.Sprintf(`returns >= %d`, 2+i%4) },
	},
	{
		"other", 10,
		func(i int) string { return fmt.Sprintf(`len(text) + turns < %d`, textBytes/4+i) },
		func(i int) string { return fmt.Sprintf(`bot.parts > %d || bot.confidence < 0.%d`, 3+i, 10+i) },
	},
}

var (
	verbs  = strings.Fields("cancel refund dispute close suspend transfer withdraw contest revoke")
	things = strings.Fields("account mortgage licence passport pension deposit warranty")
	fates  = strings.Fields("hacked stolen leaked frozen forged")
	scores = strings.Fields("human_request frustration")
)

func pick(words []string, i int) string { return words[i%len(words)] }

// mixedRules returns a rule file with the mix.
func mixedRules() string {
	var b strings.Builder
	b.WriteString("rules:\n")
	for _, s := range shapes {
		for i := range s.count {
			on, when := "inbound", s.inbound
			if i%3 == 2 {
				on, when = "answer", s.answer
			}
			fmt.Fprintf(&b, "  - id: %s-%d\n    why: A rule of the bench that no bench text matches.\n    on: %s\n    when: '%s'\n    then: {handoff: {queue: support}}\n",
				s.name, i, on, when(i))
		}
	}
	return b.String()
}
