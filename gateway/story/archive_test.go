package story

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"turnout/gateway/fault"
	"turnout/gateway/store/redis/redistest"
)

// TestArchived: a node that archives what is closed dies between the files and the rows; another goes on. Then nothing of
// the conversations is in the server's streams any more, and everybody sees what they saw: the agent the whole story, the
// customer the rest of it behind an old cursor and, after it, the next conversation, the auditor a chain that verifies.
func TestArchived(t *testing.T) {
	redis := redistest.Start(t, redistest.Durable()...)
	nodes := newNodes(t, redis, newTestBot(t).URL, 5*time.Second, 2)
	for _, n := range nodes {
		edit(t, n, "turnout.yaml", "store: {kind: redis, ", "store: {kind: redis, archive_after: 1s, ")
		edit(t, n, "shop.yaml", "  adapter: web\n", "  adapter: web\n  reopen_within: 1ms\n")
	}
	first, second := nodes[0], nodes[1]
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), faultPoint+"="+string(fault.ArchiveStored), faultPass+"=1", faultConfig+"="+filepath.Join(first.dir, "turnout.yaml"))
	first.run(cmd)

	ctx := longCtx(t, 4*time.Minute)
	var ok struct{}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// The first node may die as soon as the first conversation is closed for a second; the second one is there then.
	second.start()
	var customers []*client
	var cursors, conversations []string
	ana := second.agent("ana")
	must(ana.do(ctx, "/v1/agent/presence", "", map[string]any{}, &ok))
	for i := range 3 {
		c := second.visitor(ctx)
		said, err := c.say(ctx, "1", fmt.Sprint("hello from ", i))
		must(err)
		cursors = append(cursors, said.Cursor)
		_, err = c.say(ctx, "2", "agent")
		must(err)
		path := "/v1/agent/conversations/" + said.Conversation
		must(ana.do(ctx, path+"/claim", fmt.Sprint("c", i), map[string]any{}, &ok))
		must(ana.do(ctx, path+"/reply", fmt.Sprint("r", i), map[string]any{"text": fmt.Sprint("reply to ", i), "hold": 0.01}, &ok))
		waitFor(t, ctx, func() bool { return holds(t, ctx, ana, path) == 0 })
		must(ana.do(ctx, path+"/resolve", fmt.Sprint("e", i), map[string]any{}, &ok))
		customers, conversations = append(customers, c), append(conversations, said.Conversation)
	}
	// Whichever of the two has the job: when the first one gets it, it dies with it.
	client := redis.Client()
	streams := func() int {
		logs, err := client.Keys(ctx, "*:[la]").Result()
		must(err)
		return len(logs)
	}
	waitFor(t, ctx, func() bool { return streams() == 0 })

	for i, c := range customers {
		var shown struct{ Events []json.RawMessage }
		must(ana.do(ctx, "/v1/agent/conversations/"+conversations[i]+"?limit=500", "", nil, &shown))
		var all strings.Builder
		for _, e := range shown.Events {
			all.Write(e)
		}
		for _, want := range []string{fmt.Sprint("hello from ", i), fmt.Sprint("you said: hello from ", i), fmt.Sprint("reply to ", i)} {
			if !strings.Contains(all.String(), want) {
				t.Errorf("the agent does not see %q of an archived conversation", want)
			}
		}
		again, err := c.say(ctx, "1", fmt.Sprint("hello from ", i)) // a redelivery finds what it was answered with
		must(err)
		if again.Conversation != conversations[i] {
			t.Errorf("a redelivery went to %s, not %s", again.Conversation, conversations[i])
		}
		next, err := c.say(ctx, "3", "one more thing")
		must(err)
		if next.Conversation == conversations[i] {
			t.Fatalf("the customer is back in the archived conversation")
		}
		behind, err := c.after(ctx, cursors[i], func(v visible) bool {
			return v.Conversation == next.Conversation && v.By == "bot"
		})
		must(err)
		var said []string
		for _, v := range behind {
			if v.Part != nil {
				said = append(said, v.Part.Text)
			}
		}
		if !slices.Contains(said, fmt.Sprint("reply to ", i)) || slices.Contains(said, fmt.Sprint("you said: hello from ", i)) {
			t.Errorf("behind the old cursor: %q", said)
		}
		_, err = c.say(ctx, "4", "agent")
		must(err)
		must(ana.do(ctx, "/v1/agent/conversations/"+next.Conversation+"/claim", fmt.Sprint("n", i), map[string]any{}, &ok))
		must(ana.do(ctx, "/v1/agent/conversations/"+next.Conversation+"/earlier/"+conversations[i], "", nil, &shown))
		if len(shown.Events) == 0 {
			t.Error("the agent sees nothing of what was before")
		}
	}
	run(t, binary, "store", "check", "--config", filepath.Join(second.dir, "turnout.yaml")) // fails when it finds a fault
	second.proven(t)
}

// edit replaces a part of one of a node's files.
func edit(t *testing.T, n *node, name, old, new string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(n.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(b), old) {
		t.Fatalf("%s has no %q", name, old)
	}
	n.write(name, strings.Replace(string(b), old, new, 1))
}
