package demo

import (
	"fmt"
	"io"
	"path/filepath"
	"strings"
)

// saying is a thing to say in the chat, the rule that it is for, if any, and what comes of it.
type saying struct{ say, rule, see string }

// sayings show every rule of files/rules.yaml but one; a test says each of them.
var sayings = []saying{
	{"when do you open?", "", "the bot; also KL-2041, returns"},
	{"can I speak to someone?", "asked-for-person", "from now on the bot is silent"},
	{"I didn't make this charge", "fraud-claim", "straight to the fraud desk"},
	{"I have chest pain", "chest-pain", "ahead of everybody else"},
	{"THIS IS USELESS!!! I asked three times", "frustrated", "before it gets worse"},
	{"do you ship to Norway?", "low-confidence", "the bot's guess is never sent"},
}

// Hello tells whoever started the demo where everything is and what to try. It is the one place that the passwords go to:
// w is the terminal, never a log. It fits a screen of 24 lines by 100.
func (d *Demo) Hello(w io.Writer) error {
	var b strings.Builder
	url := "http://" + d.listen
	fmt.Fprintf(&b, "\n  Customer    %s%s    a sample shop; its chat is in the corner\n", url, ShopPath)
	fmt.Fprintf(&b, "  Agent       %s/console/ sign in as  %s  with  %s\n", url, d.people[0].id, d.people[0].password)
	fmt.Fprintf(&b, "  Supervisor  the same, in another browser:     %s   with  %s\n", d.people[1].id, d.people[1].password)
	fmt.Fprintf(&b, "  Each password works once. The next start prints new ones; who is signed in stays signed in.\n\n")
	fmt.Fprintf(&b, "  Say in the chat                          see the rule\n")
	for _, s := range sayings {
		fmt.Fprintf(&b, "    %-39s %-17s %s\n", s.say, s.rule, s.see)
	}
	fmt.Fprintf(&b, "  \"Talk to a person\" needs no rule. To begin anew, open the shop in a new private window.\n\n")
	fmt.Fprintf(&b, "  Then, in the console: A takes it; answer; N is a note, which no customer ever sees; Shift E gives\n")
	fmt.Fprintf(&b, "  it back to the bot. Or kill -9 this in the middle and start it again: nothing is lost or doubled.\n\n")
	fmt.Fprintf(&b, "  Rules to change: %s. Everything is in %s; delete it and it is gone.\n", filepath.Join(d.dir, "rules.yaml"), d.dir)
	fmt.Fprintf(&b, "  Ctrl-C ends the demo.\n\n")
	_, err := io.WriteString(w, b.String())
	return err
}
