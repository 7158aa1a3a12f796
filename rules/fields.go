package rules

import (
	"slices"
	"strings"

	"turnout/rules/signal"
)

// fieldKind is the type of a name in a condition.
type fieldKind uint8

const (
	textField fieldKind = iota
	numberField
	boolField
	valueField // text, number or boolean, known at evaluation
	listField  // or a collection: evaluated by the expression engine only
	groupField // has(x) only
)

// field is a name that conditions may use: how to read it, and whether it may be absent. Reading an absent field gives
// a zero value; conditions guard against that with present.
type field struct {
	path    string
	kind    fieldKind
	answer  bool                // known only on an answer
	late    bool                // may come after the message: rules that read it are asked again, see EvalLate
	present func(f *frame) bool // nil: always present

	text    func(f *frame) string
	number  func(f *frame) float64
	boolean func(f *frame) bool
	value   func(f *frame) any
	list    func(f *frame) []string // of a listField, at most seenItems
}

// seenItems is how many tags and attachments conditions see. It bounds loops over them.
const seenItems = 50

// plainFields are the fields that are always there under a fixed name.
func plainFields() []field {
	number := func(path string, read func(f *frame) float64) field {
		return field{path: path, kind: numberField, number: read}
	}
	text := func(path string, read func(f *frame) string) field {
		return field{path: path, kind: textField, text: read}
	}
	optionalText := func(path string, read func(f *frame) string) field {
		return field{path: path, kind: textField, text: read, present: func(f *frame) bool { return read(f) != "" }}
	}
	profile := func(path string, read func(p *Exchange) string) field {
		return optionalText(path, func(f *frame) string {
			if f.x.Profile == nil {
				return ""
			}
			return read(f.x)
		})
	}
	fields := []field{
		text("text", func(f *frame) string { return f.texts[customerText] }),
		text("quoted", func(f *frame) string { return f.texts[quotedText] }),
		text("kind", func(f *frame) string { return string(f.x.Message.Kind) }),
		text("channel", func(f *frame) string { return f.x.Message.From.Channel }),
		optionalText("lang", func(f *frame) string { return f.x.Lang }),
		optionalText("choice", func(f *frame) string {
			if f.x.Message.Choice == nil {
				return ""
			}
			return f.x.Message.Choice.ID
		}),
		number("attachments.count", func(f *frame) float64 { return float64(len(f.x.Message.Attachments)) }),
		{path: "attachments.types", kind: listField},
		{path: "tags", kind: listField, list: func(f *frame) []string { return f.x.Tags[:min(len(f.x.Tags), seenItems)] }},
		number("turns", func(f *frame) float64 { return float64(f.x.Turns) }),
		number("returns", func(f *frame) float64 { return float64(f.x.Returns) }),
		number("handoffs", func(f *frame) float64 { return float64(f.x.Handoffs) }),
		number("minutes_open", func(f *frame) float64 { return minutesOpen(f.x) }),
		number("now.hour", func(f *frame) float64 { return float64(f.x.Now.Hour()) }),
		number("now.minute", func(f *frame) float64 { return float64(f.x.Now.Minute()) }),
		number("now.weekday", func(f *frame) float64 { return float64(weekday(f.x)) }),
		{path: "profile", kind: groupField, present: func(f *frame) bool { return f.x.Profile != nil }},
		profile("profile.subject", func(x *Exchange) string { return x.Profile.Subject }),
		profile("profile.name", func(x *Exchange) string { return x.Profile.Name }),
		profile("profile.email", func(x *Exchange) string { return x.Profile.Email }),
		profile("profile.phone", func(x *Exchange) string { return x.Profile.Phone }),
		profile("profile.level", func(x *Exchange) string { return x.Profile.Level }),
	}
	fields = append(fields, botFields()...)
	fields = append(fields, accountFields()...)
	for _, name := range signal.Names() {
		score := number("signal."+name, func(f *frame) float64 { s, _ := f.x.Scores.Get(name); return s })
		score.answer = signal.OfBot(name)
		fields = append(fields, score)
	}
	return fields
}

// accountFields are what the tenant's own system says of the customer. Of one that it does not know, account.known is false
// and the rest is absent; before it has answered all of it is.
func accountFields() []field {
	known := func(f *frame) bool { return f.x.Account != nil && !f.x.Account.Unknown }
	name := func(f *frame) string {
		if !known(f) {
			return ""
		}
		return f.x.Account.Name
	}
	return []field{
		{path: "account", kind: groupField, late: true, present: known},
		{
			path: "account.known", kind: boolField, late: true,
			present: func(f *frame) bool { return f.x.Account != nil }, boolean: known,
		},
		{
			path: "account.name", kind: textField, late: true,
			present: func(f *frame) bool { return name(f) != "" }, text: name,
		},
		{path: "account.tickets", kind: numberField, late: true, present: known, number: func(f *frame) float64 {
			if !known(f) {
				return 0
			}
			return float64(len(f.x.Account.Tickets))
		}},
	}
}

// botFields are the fields of the answer. In an Exchange without one they are all absent.
func botFields() []field {
	hasBot := func(f *frame) bool { return f.x.Bot != nil }
	count := func(path string, read func(b *BotView) int) field {
		return field{path: path, kind: numberField, present: hasBot, number: func(f *frame) float64 {
			if f.x.Bot == nil {
				return 0
			}
			return float64(read(f.x.Bot))
		}}
	}
	mark := func(path string, read func(b *BotView) bool) field {
		return field{path: path, kind: boolField, present: hasBot, boolean: func(f *frame) bool {
			return f.x.Bot != nil && read(f.x.Bot)
		}}
	}
	fields := []field{
		{path: "bot", kind: groupField, present: hasBot},
		{path: "bot.text", kind: textField, present: hasBot, text: func(f *frame) string { return f.texts[botText] }},
		{
			path: "bot.confidence", kind: numberField,
			present: func(f *frame) bool { return f.x.Bot != nil && f.x.Bot.Confidence != nil },
			number: func(f *frame) float64 {
				if f.x.Bot == nil || f.x.Bot.Confidence == nil {
					return 0
				}
				return *f.x.Bot.Confidence
			},
		},
		{
			path: "bot.intent", kind: textField,
			present: func(f *frame) bool { return f.x.Bot != nil && f.x.Bot.Intent != "" },
			text: func(f *frame) string {
				if f.x.Bot == nil {
					return ""
				}
				return f.x.Bot.Intent
			},
		},
		{
			path: "bot.fallback", kind: boolField,
			present: func(f *frame) bool { return f.x.Bot != nil && f.x.Bot.Fallback != nil },
			boolean: func(f *frame) bool { return f.x.Bot != nil && f.x.Bot.Fallback != nil && *f.x.Bot.Fallback },
		},
		mark("bot.end", func(b *BotView) bool { return b.End }),
		mark("bot.handoff", func(b *BotView) bool { return b.Handoff }),
		count("bot.sources", func(b *BotView) int { return b.Sources }),
		count("bot.parts", func(b *BotView) int { return b.Parts }),
	}
	for i := range fields {
		fields[i].answer = true
	}
	return fields
}

// groups are the names that have others under them, with what they have.
var groups = map[string]string{
	"attachments":    "count, types",
	"bot":            "text, confidence, intent, fallback, end, handoff, sources, parts",
	"profile":        "subject, name, email, phone, level, fields.<name>",
	"profile.fields": "the names that your channel sets",
	"account":        "known, name, tickets (how many), fields.<name>",
	"account.fields": "the names that your profile lookup maps",
	"now":            "hour, minute, weekday (1 is Monday)",
	"queues":         "a queue's name, then waiting or online",
}

// names finds fields by path.
type names map[string]field

func newNames() names {
	n := names{}
	for _, f := range plainFields() {
		n[f.path] = f
	}
	return n
}

// lookup returns the field at path, or what is wrong with it.
func (n names) lookup(path []string, phase Phase) (f field, problem string) {
	dotted := strings.Join(path, ".")
	f, ok := n[dotted]
	switch {
	case ok:
	case len(path) == 3 && path[0] == "profile" && path[1] == "fields":
		f = profileField(path[2])
	case len(path) == 3 && path[0] == "account" && path[1] == "fields":
		f = accountField(path[2])
	case path[0] == "queues" && len(path) == 2:
		f = queueField(path[1], "")
	case path[0] == "queues" && len(path) == 3 && (path[2] == "waiting" || path[2] == "online"):
		f = queueField(path[1], path[2])
	case path[0] == "signal":
		return f, "the signals of this build are " + strings.Join(signal.Names(), ", ") + ": it does not compute " + strings.Join(path[1:], ".")
	case groups[dotted] != "":
		return f, dotted + " is a group: it has " + groups[dotted]
	case len(path) > 1 && groups[path[0]] != "":
		return f, "unknown name " + dotted + ": " + path[0] + " has " + groups[path[0]]
	case len(path) > 1:
		if _, ok := n[path[0]]; ok {
			return f, path[0] + " has nothing under it"
		}
		return f, "unknown name " + path[0]
	default:
		return f, "unknown name " + dotted
	}
	if f.answer && phase != Answer {
		return f, dotted + " is known only to rules with on: answer"
	}
	return f, ""
}

func profileField(name string) field {
	read := func(f *frame) any {
		if f.x.Profile == nil {
			return nil
		}
		return f.x.Profile.Fields[name]
	}
	return field{
		path: "profile.fields." + name, kind: valueField, value: read,
		present: func(f *frame) bool { return read(f) != nil },
	}
}

func accountField(name string) field {
	read := func(f *frame) any {
		if f.x.Account == nil {
			return nil
		}
		return f.x.Account.Fields[name]
	}
	return field{
		path: "account.fields." + name, kind: valueField, late: true, value: read,
		present: func(f *frame) bool { return read(f) != nil },
	}
}

func queueField(name, figure string) field {
	f := field{
		path: "queues." + name, kind: groupField,
		present: func(f *frame) bool { _, ok := f.x.Queues[name]; return ok },
	}
	if figure == "" {
		return f
	}
	f.path, f.kind = f.path+"."+figure, numberField
	f.number = func(f *frame) float64 {
		if figure == "online" {
			return float64(f.x.Queues[name].Online)
		}
		return float64(f.x.Queues[name].Waiting)
	}
	return f
}

func minutesOpen(x *Exchange) float64 {
	if x.OpenedAt.IsZero() {
		return 0
	}
	return max(x.Now.Sub(x.OpenedAt).Minutes(), 0)
}

// weekday counts from Monday, 1, to Sunday, 7.
func weekday(x *Exchange) int {
	if d := int(x.Now.Weekday()); d != 0 {
		return d
	}
	return 7
}

// env is what the expression engine sees, for conditions that need it. It has no methods: they would be callable.
type env struct {
	Text        string `expr:"text"`
	Quoted      string `expr:"quoted"`
	Kind        string `expr:"kind"`
	Channel     string `expr:"channel"`
	Lang        string `expr:"lang"`
	Choice      string `expr:"choice"`
	Attachments struct {
		Count int      `expr:"count"`
		Types []string `expr:"types"`
	} `expr:"attachments"`
	Signal struct {
		HumanRequest float64 `expr:"human_request"`
		Frustration  float64 `expr:"frustration"`
		Repeat       float64 `expr:"repeat"`
		BotFallback  float64 `expr:"bot_fallback"`
		BotRepeat    float64 `expr:"bot_repeat"`
	} `expr:"signal"`
	Bot struct {
		Text       string  `expr:"text"`
		Confidence float64 `expr:"confidence"`
		Intent     string  `expr:"intent"`
		Fallback   bool    `expr:"fallback"`
		End        bool    `expr:"end"`
		Handoff    bool    `expr:"handoff"`
		Sources    int     `expr:"sources"`
		Parts      int     `expr:"parts"`
	} `expr:"bot"`
	Profile struct {
		Subject string         `expr:"subject"`
		Name    string         `expr:"name"`
		Email   string         `expr:"email"`
		Phone   string         `expr:"phone"`
		Level   string         `expr:"level"`
		Fields  map[string]any `expr:"fields"`
	} `expr:"profile"`
	Account struct {
		Known   bool           `expr:"known"`
		Name    string         `expr:"name"`
		Tickets int            `expr:"tickets"`
		Fields  map[string]any `expr:"fields"`
	} `expr:"account"`
	Turns       int     `expr:"turns"`
	Returns     int     `expr:"returns"`
	Handoffs    int     `expr:"handoffs"`
	MinutesOpen float64 `expr:"minutes_open"`
	Now         struct {
		Hour    int `expr:"hour"`
		Minute  int `expr:"minute"`
		Weekday int `expr:"weekday"`
	} `expr:"now"`
	Queues map[string]queueEnv `expr:"queues"`
	Tags   []string            `expr:"tags"`
}

type queueEnv struct {
	Waiting int `expr:"waiting"`
	Online  int `expr:"online"`
}

// fill sets e to the exchange of f. Absent things are zero values: the guards of the condition keep it from reading
// them.
func (e *env) fill(f *frame) {
	x := f.x
	*e = env{
		Text: f.texts[customerText], Quoted: f.texts[quotedText], Kind: string(x.Message.Kind), Channel: x.Message.From.Channel, Lang: x.Lang,
		Turns: x.Turns, Returns: x.Returns, Handoffs: x.Handoffs, MinutesOpen: minutesOpen(x),
		Tags: x.Tags[:min(len(x.Tags), seenItems)],
	}
	if x.Message.Choice != nil {
		e.Choice = x.Message.Choice.ID
	}
	e.Attachments.Count = len(x.Message.Attachments)
	for _, a := range x.Message.Attachments[:min(len(x.Message.Attachments), seenItems)] {
		e.Attachments.Types = append(e.Attachments.Types, a.Type)
	}
	e.Signal.HumanRequest, e.Signal.Frustration, e.Signal.Repeat = x.Scores.HumanRequest, x.Scores.Frustration, x.Scores.Repeat
	e.Signal.BotFallback, e.Signal.BotRepeat = x.Scores.BotFallback, x.Scores.BotRepeat
	if b := x.Bot; b != nil {
		e.Bot.Text, e.Bot.Intent, e.Bot.End, e.Bot.Handoff = f.texts[botText], b.Intent, b.End, b.Handoff
		e.Bot.Sources, e.Bot.Parts = b.Sources, b.Parts
		if b.Confidence != nil {
			e.Bot.Confidence = *b.Confidence
		}
		e.Bot.Fallback = b.Fallback != nil && *b.Fallback
	}
	if p := x.Profile; p != nil {
		e.Profile.Subject, e.Profile.Name, e.Profile.Email = p.Subject, p.Name, p.Email
		e.Profile.Phone, e.Profile.Level, e.Profile.Fields = p.Phone, p.Level, p.Fields
	}
	if a := x.Account; a != nil && !a.Unknown {
		e.Account.Known, e.Account.Name, e.Account.Tickets, e.Account.Fields = true, a.Name, len(a.Tickets), a.Fields
	}
	e.Now.Hour, e.Now.Minute, e.Now.Weekday = x.Now.Hour(), x.Now.Minute(), weekday(x)
	if len(x.Queues) > 0 {
		e.Queues = make(map[string]queueEnv, len(x.Queues))
		for name, q := range x.Queues {
			e.Queues[name] = queueEnv(q)
		}
	}
}

// isGroup reports whether path may be continued by further names.
func isGroup(path []string) bool {
	if path[0] == "queues" || path[0] == "signal" {
		return true
	}
	return slices.Contains([]string{"attachments", "bot", "profile", "profile.fields", "account", "account.fields", "now"}, strings.Join(path, "."))
}
