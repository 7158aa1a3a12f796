package story

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"turnout/adapters/adaptertest"
	"turnout/gateway"
	"turnout/gateway/store/redis/redistest"
)

// upload puts a file and returns its id.
func (c *client) upload(ctx context.Context, body []byte) (string, error) {
	var form bytes.Buffer
	w := multipart.NewWriter(&form)
	part, err := w.CreateFormFile("file", "scan.txt")
	if err != nil {
		return "", err
	}
	if _, err := part.Write(body); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/v1/web/shop.web/attachments", &form)
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", w.FormDataContentType())
	req.Header.Set("Authorization", "Bearer "+c.token)
	var made struct{ ID string }
	b, err := c.raw(req)
	if err == nil {
		err = json.Unmarshal(b, &made)
	}
	return made.ID, err
}

func (c *client) file(ctx context.Context, id string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/v1/web/shop.web/attachments/"+id, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	return c.raw(req)
}

func (c *client) raw(req *http.Request) ([]byte, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode/100 != 2 {
		err = &errStatus{resp.StatusCode, string(b), resp.Header}
	}
	return b, err
}

// moving is a shop whose store moves to a server and back.
type moving struct {
	*testing.T
	*node
	app *app
	ctx context.Context
	ana *client

	talks, waits, helped *client // customers of the bot, in the queue, with ana
	before               map[*client][]visible
	last                 map[*client]answer
	held, erased         string
	pushed               string // the conversation whose rows wait for the provider
	scan                 []byte
	scanID               string
}

// commands runs the commands of a block of the operators' page, as they stand, on this node's files. What the system would
// be told is no business of the test: the node is stopped.
func (m *moving) commands(name string) string {
	m.Helper()
	block := regexp.MustCompile("(?s)<!-- " + name + " -->\n+```sh\n(.*?)```").FindStringSubmatch(page(m.T))
	if block == nil {
		m.Fatalf("the page has no commands %q", name)
	}
	script := strings.NewReplacer("/etc/turnout/", "", "/var/lib/turnout", "data").Replace(block[1])
	cmd := exec.Command("bash", "-eu", "-o", "pipefail", "-c", "systemctl() { :; }\n"+script)
	cmd.Dir = m.dir
	cmd.Env = append(os.Environ(), "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		m.Fatalf("%v\n%s", err, out)
	}
	for _, want := range regexp.MustCompile(`(?m)^# -> (.*)$`).FindAllStringSubmatch(block[1], -1) {
		if !strings.Contains(string(out), want[1]) {
			m.Errorf("the output lacks %q:\n%s", want[1], out)
		}
	}
	return string(out)
}

func (m *moving) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

// at is the path of a conversation for agents.
func at(conversation, act string) string {
	return "/v1/agent/conversations/" + conversation + "/" + act
}

// live lets everything happen that a store can hold, and stops the node.
func (m *moving) live() {
	var ok struct{}
	m.talks, m.waits, m.helped = m.visitor(m.ctx), m.visitor(m.ctx), m.visitor(m.ctx)
	m.last = map[*client]answer{}
	say := func(c *client, id, text string) answer {
		a, err := c.say(m.ctx, id, text)
		m.must(err)
		m.last[c] = a
		return a
	}
	var err error
	m.scan = bytes.Repeat([]byte("a scan of a letter. "), 10_000)
	say(m.talks, "t1", "hello")
	m.scanID, err = m.talks.upload(m.ctx, m.scan)
	m.must(err)
	var a answer
	m.must(m.talks.do(m.ctx, "/v1/web/shop.web/messages", "", map[string]any{"id": "t2", "text": "look", "attachments": []string{m.scanID}}, &a))
	m.last[m.talks] = a
	// Who asks first is claimed; who asks next waits.
	m.held = say(m.helped, "h1", "agent").Conversation
	m.must(m.ana.do(m.ctx, "/v1/agent/presence", "", map[string]any{}, &ok))
	m.must(m.ana.do(m.ctx, at(m.held, "claim"), "c1", map[string]any{}, &ok))
	m.must(m.ana.do(m.ctx, at(m.held, "reply"), "r1", map[string]any{"text": "this is Ana"}, &ok))
	m.must(m.ana.do(m.ctx, at(m.held, "snooze"), "s1", map[string]any{"until": time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339Nano)}, &ok))
	say(m.waits, "w1", "agent")
	gone := m.visitor(m.ctx)
	m.erased = say(gone, "g1", "agent").Conversation
	run(m.T, binary, "privacy", "erase", "--conversation", m.erased, "--wait", "--config", filepath.Join(m.dir, "turnout.yaml"))

	m.app.Always(adaptertest.Busy) // nothing leaves before the node is stopped
	m.pushed, err = m.app.say(m.ctx, "customer", "p1", "parts")
	m.must(err)
	<-m.app.Arrived()
	m.before = map[*client][]visible{}
	for _, c := range []*client{m.talks, m.waits, m.helped} {
		m.before[c] = m.stream(c)
	}
	m.stop()
}

// stream is everything that a customer sees, up to the newest that their own answers have told of.
func (m *moving) stream(c *client) []visible {
	m.Helper()
	var upTo uint64
	cursor := m.last[c].Cursor
	_, err := fmt.Sscanf(cursor[strings.LastIndex(cursor, ".")+1:], "%d", &upTo)
	m.must(err)
	all, err := c.events(m.ctx, upTo)
	m.must(err)
	return all
}

// goesOn looks that the node that was started on the copy is the one that was stopped.
func (m *moving) goesOn(round string) {
	m.Helper()
	var ok struct{}
	for c, want := range m.before {
		got := m.stream(c)
		if a, b := asJSON(got), asJSON(want); a != b {
			m.Errorf("%s: a customer sees\n%s\nand saw\n%s", round, a, b)
		}
	}
	// The same message once more gets the same answer, and the bot is not asked.
	again, err := m.talks.say(m.ctx, "t1", "hello")
	m.must(err)
	if again.MergedInto != "" || again.Conversation != m.last[m.talks].Conversation {
		m.Errorf("%s: a repeat is answered %+v", round, again)
	}
	if c, err := m.app.say(m.ctx, "customer", "p1", "parts"); err != nil || c != m.pushed {
		m.Errorf("%s: a provider's repeat went to %s, not %s: %v", round, c, m.pushed, err)
	}
	if b, err := m.talks.file(m.ctx, m.scanID); err != nil || !bytes.Equal(b, m.scan) {
		m.Errorf("%s: the file has %d bytes, %v", round, len(b), err)
	}
	// The agent holds the one conversation, the other waits in the first place, the erased one is gone.
	m.must(m.ana.do(m.ctx, "/v1/agent/presence", "", map[string]any{}, &ok))
	m.must(m.ana.do(m.ctx, at(m.held, "reply"), "r1", map[string]any{"text": "this is Ana"}, &ok)) // answered as before, and not said again
	var queue struct {
		Items []struct {
			Conversation string
			Position     int
		}
	}
	m.must(m.ana.do(m.ctx, "/v1/agent/queue", "", nil, &queue))
	if !slices.ContainsFunc(queue.Items, func(i struct {
		Conversation string
		Position     int
	}) bool {
		return i.Conversation == m.last[m.waits].Conversation && i.Position == 1
	}) {
		m.Errorf("%s: the queue is %+v", round, queue)
	}
	var refused *errStatus
	if err := m.ana.once(m.ctx, strings.TrimSuffix(at(m.erased, ""), "/"), "", nil, &ok); !errors.As(err, &refused) || refused.status != http.StatusGone {
		m.Errorf("%s: the erased conversation: %v", round, err)
	}
	// The snooze has ended by its timer, once.
	waitFor(m.T, m.ctx, func() bool { return m.fired() > 0 })
	if n := m.fired(); n != 1 {
		m.Errorf("%s: the timer has fired %d times", round, n)
	}
	text := "go on after " + round
	m.must(m.ana.do(m.ctx, at(m.held, "reply"), strings.ReplaceAll(round, " ", "-"), map[string]any{"text": text}, &ok))
	a, err := m.helped.say(m.ctx, strings.ReplaceAll(round, " ", "-"), "thank you")
	m.must(err)
	m.last[m.helped] = a
	m.before[m.helped] = m.stream(m.helped)
	said := 0
	for _, v := range m.before[m.helped] {
		if v.Part != nil && (v.Part.Text == text || v.Part.Text == "this is Ana") {
			said++
		}
	}
	if said != 2 {
		m.Errorf("%s: of what ana said then and now %d parts are there: %s", round, said, asJSON(m.before[m.helped]))
	}
}

// fired counts the timers that the held conversation's log says to have fired.
func (m *moving) fired() (n int) {
	m.Helper()
	l, err := m.app.log(m.ctx, m.held)
	m.must(err)
	for _, e := range l.Events {
		if e.Type == "timer.fired" {
			n++
		}
	}
	return n
}

func asJSON(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// TestStoreMoves moves a shop with everything in it from a folder to a server and back, by the commands of the operators'
// page: customers and agents go on as if nothing had been, what waited to be sent is sent once, and the audit log verifies.
func TestStoreMoves(t *testing.T) {
	server := redistest.Start(t, settingsOf(t, page(t))...)
	bot := newTestBot(t)
	n := newNode(t, bot.URL, 5*time.Second)
	m := &moving{T: t, node: n, app: newApp(t, n, true), ctx: longCtx(t, 4*time.Minute), ana: n.agent("ana")}
	b, err := os.ReadFile(filepath.Join(n.dir, "turnout.yaml"))
	m.must(err)
	n.write("redis.yaml", string(b)+fmt.Sprintf("store: {kind: redis, address: %q}\n", server.Addr()))
	onServer := func() { n.run(exec.Command(binary, "serve", "--config", filepath.Join(n.dir, "redis.yaml"))) }

	n.start()
	m.live()
	asked := len(bot.asked())
	m.commands("copy")
	onServer()
	m.goesOn("the server")
	m.app.Always(adaptertest.Take)
	if sent := m.app.judge(t, m.ctx, m.pushed); sent != 3 {
		t.Errorf("%d of three parts were sent", sent)
	}
	if n := len(bot.asked()); n != asked {
		t.Errorf("the bot was asked %d times more", n-asked)
	}
	n.stop()

	m.commands("copy back")
	n.start()
	m.goesOn("the folder")
	if sent := m.app.judge(t, m.ctx, m.pushed); sent != 3 {
		t.Errorf("%d of three parts were sent in all", sent)
	}
	n.gone = []string{m.erased}
	n.proven(t)
}

// TestStoreCopyKilled kills the copy of a store at many points. What there is then no node opens; the last copy makes it whole.
func TestStoreCopyKilled(t *testing.T) {
	server := redistest.Start(t, redistest.Durable()...)
	bot := newTestBot(t)
	n := newNode(t, bot.URL, 5*time.Second)
	ctx := longCtx(t, 4*time.Minute)
	b, err := os.ReadFile(filepath.Join(n.dir, "turnout.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	file := func(name, content string) string {
		n.write(name, content)
		return filepath.Join(n.dir, name)
	}
	home := file("turnout.yaml", string(b))
	away := file("redis.yaml", string(b)+fmt.Sprintf("store: {kind: redis, address: %q}\n", server.Addr()))
	back := file("back.yaml", strings.Replace(string(b), "data: data\n", "data: back\n", 1))
	n.start()
	for i := range 40 {
		c := n.visitor(ctx)
		if _, err := c.say(ctx, fmt.Sprint(i), []string{"hello", "agent"}[i%2]); err != nil {
			t.Fatal(err)
		}
	}
	n.stop()
	for _, way := range [][2]string{{home, away}, {away, back}} {
		refused := 0
		// Every kill comes later than the one before, until a copy has come to its end.
		for after := 10 * time.Millisecond; ; after = after * 3 / 2 {
			cmd := exec.Command(binary, "store", "copy", "--from", way[0], "--to", way[1], "--json")
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			kill := time.AfterFunc(after, func() { cmd.Process.Kill() })
			err := cmd.Wait()
			kill.Stop()
			if err == nil {
				var last gateway.CopyLine
				if err := json.Unmarshal(out.Bytes(), &last); err != nil || !last.Whole || last.Conversations != 40 {
					t.Errorf("%s: %v", out.Bytes(), err)
				}
				break
			}
			if ctx.Err() != nil || after > time.Minute {
				t.Fatalf("no copy comes to its end: %v %s", err, out.Bytes())
			}
			check := exec.Command(binary, "store", "check", "--config", way[1])
			if said, err := check.CombinedOutput(); err == nil && !bytes.Contains(said, []byte("0 conversations")) {
				t.Errorf("killed after %v, and it opens: %s", after, said)
			} else if bytes.Contains(said, []byte("not complete")) {
				refused++
			}
		}
		if refused == 0 {
			t.Errorf("no copy was killed in the middle: the test has shown nothing")
		}
		t.Logf("%d copies were killed in the middle", refused)
	}
	var report gateway.StorageLine
	if err := json.Unmarshal([]byte(run(t, binary, "store", "check", "--config", back, "--json")), &report); err != nil || report.FaultCount != 0 || report.Conversations != 40 {
		t.Errorf("%+v, %v", report, err)
	}
}
