package openai

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"turnout/adapters"
	"turnout/adapters/clean"
	"turnout/adapters/message"
	"turnout/adapters/wire/openai"
)

const (
	maxTextBytes = 64 << 10
	maxSources   = 32
)

// The intents of answers that are none of the model's free will, for rules.
const (
	intentRefusal = "refusal"
	intentFilter  = "content_filter"
	intentLength  = "length"
)

const filterReason = "the provider's content filter stopped the answer"

// answer makes an answer of a reply. Its error is a *adapters.BotError and holds nothing of the reply.
func answer(r *openai.Reply) (adapters.Answer, error) {
	var a adapters.Answer
	for _, c := range r.Calls {
		if c.Name == toolName && a.Handoff == nil {
			a.Handoff = &adapters.HandoffRequest{Reason: reasonOf(c.Arguments)}
		}
	}
	text := r.Text
	yes := true
	switch {
	case r.Refusal != "":
		text, a.Intent, a.Fallback = r.Refusal, intentRefusal, &yes
	case r.Finish == openai.FinishFilter:
		// What came before the filter is what it stopped: nobody reads it, and nobody is left without an answer.
		text, a.Intent, a.Fallback = "", intentFilter, &yes
		if a.Handoff == nil {
			a.Handoff = &adapters.HandoffRequest{Reason: filterReason}
		}
	case r.Finish == openai.FinishLength:
		a.Intent = intentLength
	}
	if text = withoutThought(text); len(text) > maxTextBytes {
		return a, &adapters.BotError{Kind: adapters.BotTooLarge, Err: fmt.Errorf("the answer has more than %d bytes of text", maxTextBytes)}
	}
	text, wish := takeSentinel(text)
	if wish != nil && (a.Handoff == nil || a.Handoff.Reason == "") {
		a.Handoff = wish
	}
	text = clean.Text(text)
	for strings.HasPrefix(strings.TrimSpace(text), agentMark) { // it takes itself for a person
		text = strings.TrimPrefix(strings.TrimSpace(text), agentMark)
	}
	text = strings.TrimSpace(text)
	if text != "" {
		a.Parts = []message.Part{{Text: text}}
	} else if a.Handoff == nil {
		return a, &adapters.BotError{Kind: adapters.BotGarbage, Err: errors.New("the answer says nothing")}
	}
	for _, s := range r.Sources {
		source := adapters.Source{Title: clean.Name(s.Title), URL: clean.Link(s.URL)}
		if source != (adapters.Source{}) && len(a.Sources) < maxSources {
			a.Sources = append(a.Sources, source)
		}
	}
	return a, nil
}

// reasonOf reads the tool's arguments. A model that writes something else wants a person all the same.
func reasonOf(arguments string) string {
	var args struct {
		Reason string `json:"reason"`
	}
	if json.Unmarshal([]byte(arguments), &args) != nil {
		return ""
	}
	return clean.Name(args.Reason)
}

// withoutThought takes away what a model that reasons wrote before its answer, where its server leaves that in the text:
// from <think> to </think>, of which some templates give only the second. A thought without an end has no answer after it.
func withoutThought(text string) string {
	const begin, end = "<think>", "</think>"
	begins := strings.HasPrefix(strings.TrimSpace(text), begin)
	thought, rest, ended := strings.Cut(text, end)
	switch {
	case ended && (begins || !strings.Contains(thought, begin)):
		return rest
	case begins:
		return ""
	}
	return text
}

// A sentinel as models write it: in any case, in the marks of Markdown, with one pair of brackets or two.
var sentinels = []*regexp.Regexp{
	regexp.MustCompile("(?is)[*_`]*(?:\\\\?\\[){2,}\\s*talk\\\\?_to\\\\?_human\\b\\s*(?::\\s*(.*?))?\\s*(?:\\\\?\\]){2,}[*_`]*"),
	regexp.MustCompile("(?i)[*_`]*\\\\?\\[\\s*talk\\\\?_to\\\\?_human\\b\\s*(?::\\s*([^\\]\\n]*))?\\\\?\\][*_`]*"),
	// Cut off, or never closed: the rest of the text is its reason.
	regexp.MustCompile("(?is)[*_`]*(?:\\\\?\\[)+\\s*talk\\\\?_to\\\\?_human\\b\\s*:?\\s*(.*)$"),
	// By its bare name.
	regexp.MustCompile("[*_`]*\\bTALK\\\\?_TO\\\\?_HUMAN\\b()[*_`]*"),
}

// maxNested is how often sentinels are looked for in what is left without them.
const maxNested = 4

// takeSentinel takes sentinels out of a text, also one that the text was cut off in, and returns the wish that they are.
func takeSentinel(text string) (string, *adapters.HandoffRequest) {
	var wish *adapters.HandoffRequest
	if !strings.Contains(text, "[") && !strings.Contains(text, "TALK") {
		return text, nil // nearly every answer
	}
	for round := 0; ; round++ { // taking one out may make another of what stood around it
		before := text
		for _, form := range sentinels {
			for _, found := range form.FindAllStringSubmatch(text, -1) {
				if wish == nil || wish.Reason == "" {
					wish = &adapters.HandoffRequest{Reason: clean.Name(strings.TrimRight(found[1], "]\\ "))}
				}
			}
			text = form.ReplaceAllString(text, "")
		}
		if text == before {
			break
		}
		if round == maxNested { // nonsense
			return "", wish
		}
	}
	if begun := strings.LastIndex(text, "[["); begun >= 0 {
		tail := strings.ToUpper(strings.TrimSpace(text[begun:]))
		if strings.HasPrefix(sentinel, tail) {
			text = text[:begun]
			if wish == nil && len(tail) > len("[[T") {
				wish = &adapters.HandoffRequest{}
			}
		}
	}
	return text, wish
}
