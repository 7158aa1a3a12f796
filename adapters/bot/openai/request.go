package openai

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"turnout/adapters"
	"turnout/adapters/clean"
	"turnout/adapters/message"
	"turnout/adapters/wire/openai"
)

// The model asks for a person by calling the tool, or by writing the sentinel with or without a reason:
// "[[TALK_TO_HUMAN: wants a refund]]".
const (
	toolName = "talk_to_human"
	sentinel = "[[TALK_TO_HUMAN]]"
)

var tool = openai.Tool{
	Name: toolName,
	Description: "Hand the conversation over to a person of the team. Call it when the customer asks for a person, or when you cannot help. " +
		"What you write beside the call is still said to the customer.",
	Parameters: json.RawMessage(`{"type":"object","properties":{"reason":{"type":"string","description":"Why, in one short sentence for the team."}},"required":["reason"]}`),
}

const sentinelPrompt = "You can hand the conversation over to a person of the team: write [[TALK_TO_HUMAN: reason]] on a line of its own, with the reason in one short " +
	"sentence for the team. Do so when the customer asks for a person, or when you cannot help. The customer does not see that line."

// agentMark stands before what a person of the team wrote, which goes out in the role of the assistant: to the customer both
// are one side of the conversation, and many servers take no other roles between the first message and the last.
const agentMark = "[human agent]"

const agentPrompt = `What begins with "` + agentMark + `" was written to the customer by a person of the team, and holds. Never begin your own words that way.`

// cutMark stands in the place of what the history leaves out when it would otherwise begin with our side.
const cutMark = "[earlier messages are left out]"

// encode returns the body for a turn. Its errors name the field and hold nothing of the turn.
func (b *Bot) encode(t *adapters.Turn) ([]byte, error) {
	r := openai.Request{Model: b.cfg.Model, Stream: *b.cfg.Stream, Usage: *b.cfg.Usage, Parameters: b.cfg.Parameters}
	if b.cfg.Handoff == byTool {
		r.Tools = []openai.Tool{tool}
	}
	system, err := b.system(t)
	if err != nil {
		return nil, err
	}
	if system != "" {
		r.Messages = append(r.Messages, openai.Message{Role: openai.System, Content: system})
	}
	say := func(role openai.Role, text string) {
		// Templates of many models want the roles to alternate.
		if n := len(r.Messages); n > 0 && r.Messages[n-1].Role == role {
			r.Messages[n-1].Content += "\n\n" + text
			return
		}
		r.Messages = append(r.Messages, openai.Message{Role: role, Content: text})
	}
	if t.Cut && len(t.History) > 0 && t.History[0].By != message.ByCustomer {
		say(openai.User, cutMark)
	}
	for i := range t.History {
		s := &t.History[i]
		text := withAttachments(s.Text, s.Attachments)
		switch {
		case text == "":
		case s.By == message.ByCustomer:
			say(openai.User, text)
		case s.By == message.ByAgent:
			say(openai.Assistant, agentMark+" "+text)
		default:
			say(openai.Assistant, text)
		}
	}
	for i := range t.Messages {
		say(openai.User, written(&t.Messages[i]))
	}
	return r.Encode()
}

// written is what a customer's message says; never empty.
func written(in *message.Inbound) string {
	text := in.Text
	if in.Quoted != "" {
		text = "> " + strings.ReplaceAll(in.Quoted, "\n", "\n> ") + "\n\n" + text
	}
	if text == "" && in.Choice != nil {
		text = in.Choice.Label
	}
	if text = withAttachments(text, in.Attachments); text == "" {
		return "[" + string(in.Kind) + "]"
	}
	return text
}

// withAttachments notes files below a text: the model is not shown them, but knows that they are there.
func withAttachments(text string, files []message.Attachment) string {
	for _, f := range files {
		text += fmt.Sprintf("\n[attachment: %s, %s]", clean.Name(f.Name), clean.Name(f.Type))
	}
	return strings.TrimPrefix(text, "\n")
}

// system returns the system prompt for a turn.
func (b *Bot) system(t *adapters.Turn) (string, error) {
	parts := []string{strings.TrimSpace(b.cfg.Prompt)}
	facts, err := b.known(t)
	if err != nil {
		return "", err
	}
	if facts != "" {
		parts = append(parts, "What is known of the customer:"+facts)
	}
	if b.cfg.Handoff == bySentinel {
		parts = append(parts, sentinelPrompt)
	}
	for i := range t.History {
		if t.History[i].By == message.ByAgent {
			parts = append(parts, agentPrompt)
			break
		}
	}
	if parts[0] == "" {
		parts = parts[1:]
	}
	return strings.Join(parts, "\n\n"), nil
}

// known returns the facts, a line each. One that is absent is left out.
func (b *Bot) known(t *adapters.Turn) (string, error) {
	if len(b.facts) == 0 {
		return "", nil
	}
	env := map[string]any{"tenant": t.Tenant, "channel": t.From.Channel, "contact": t.Contact, "lang": t.Lang, "profile": nil}
	if p := t.Profile; p != nil {
		env["profile"] = map[string]any{
			"subject": p.Subject, "name": p.Name, "email": p.Email, "phone": p.Phone, "level": p.Level, "fields": p.Fields,
		}
	}
	var lines strings.Builder
	for _, f := range b.facts {
		value, err := f.value.Eval(env)
		if err != nil {
			return "", fmt.Errorf("evaluating facts.%s failed", f.name)
		}
		text, ok := scalar(value)
		if !ok {
			return "", fmt.Errorf("facts.%s is neither a text nor a number nor true or false", f.name)
		}
		// One line, however the value got into the profile: it must not look like a prompt of its own.
		if text = clean.Name(text); text != "" {
			fmt.Fprintf(&lines, "\n- %s: %s", f.name, text)
		}
	}
	return lines.String(), nil
}

func scalar(v any) (string, bool) {
	switch v := v.(type) {
	case nil:
		return "", true
	case string:
		return v, true
	case bool:
		return strconv.FormatBool(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	case int:
		return strconv.Itoa(v), true
	}
	return "", false
}

var errEncoding = errors.New("the request cannot be written")
