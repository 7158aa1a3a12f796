package builtin_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"turnout/adapters/adaptertest"
	"turnout/adapters/builtin"
)

var fenced = regexp.MustCompile("(?s)```(\\w+)\n(.*?)```")

func blocks(t *testing.T, language string) (found []string) {
	t.Helper()
	page, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range fenced.FindAllStringSubmatch(string(page), -1) {
		if m[1] == language {
			found = append(found, m[2])
		}
	}
	if len(found) == 0 {
		t.Fatalf("the page has no %s", language)
	}
	return found
}

// TestReadmeSections builds every section that the page shows.
func TestReadmeSections(t *testing.T) {
	r := builtin.Registry()
	for _, section := range blocks(t, "yaml") {
		if rest, ok := strings.CutPrefix(section, "kind: profile\n"); ok {
			buildProfile(t, rest)
			continue
		}
		if strings.HasPrefix(section, "kind:") {
			continue // whole resources: their form is the gateway's to check
		}
		k := adaptertest.New(t, "acme.web")
		var err error
		if rest, ok := strings.CutPrefix(section, "adapter: web\n"); ok {
			_, err = r.BuildChannel("web", adaptertest.YAML(rest), k.Deps)
		} else if rest, ok := strings.CutPrefix(section, "adapter: callback\n"); ok {
			_, err = r.BuildChannel("callback", adaptertest.YAML(rest), k.Deps)
		} else if rest, ok := strings.CutPrefix(section, "adapter: whatsapp\n"); ok {
			_, err = r.BuildChannel("whatsapp", adaptertest.YAML(rest), k.Deps)
		} else if rest, ok := strings.CutPrefix(section, "adapter: openai\n"); ok {
			_, err = r.BuildBot("openai", adaptertest.YAML(rest), k.Deps)
		} else {
			rest = strings.TrimPrefix(section, "adapter: webhook\n")
			if !strings.Contains(rest, "url:") {
				rest = "url: http://127.0.0.1:1/\n" + rest
			}
			_, err = r.BuildBot("webhook", adaptertest.YAML(rest), k.Deps)
		}
		if err != nil {
			t.Errorf("%v in\n%s", err, section)
		}
	}
}

// buildProfile builds the directory of a resource of kind profile.
func buildProfile(t *testing.T, resource string) {
	t.Helper()
	_, indented, ok := strings.Cut(resource, "\n  config:\n")
	if !ok {
		t.Fatalf("no config in\n%s", resource)
	}
	section := strings.ReplaceAll("\n"+indented, "\n    ", "\n")
	r := builtin.Registry()
	d, err := r.BuildDirectory("http", adaptertest.YAML(section), adaptertest.New(t, "crm").Deps)
	if err != nil {
		t.Errorf("%v in\n%s", err, section)
		return
	}
	d.Close()
}

// TestReadmeCommands runs the page's commands as they stand, but for the port.
func TestReadmeCommands(t *testing.T) {
	k := adaptertest.New(t, "acme.web")
	r := builtin.Registry()
	ch, err := r.BuildChannel("web", adaptertest.YAML(""), k.Deps)
	if err != nil {
		t.Fatal(err)
	}
	s := adaptertest.Serve(t, ch)
	script := strings.ReplaceAll(blocks(t, "sh")[0], "http://127.0.0.1:8080", s.URL)
	// curl ends the stream by its time limit, which it calls an error.
	out, err := exec.Command("sh", "-c", script).CombinedOutput()
	if err != nil && !strings.Contains(err.Error(), "exit status 28") {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{`"echo: Hello!"`, `"kind":"queued"`, "event: message", "event: owner"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output has no %s:\n%s", want, out)
		}
	}
}

// TestReadmeCallback runs the commands of the callback channel, but for the port and the secret.
func TestReadmeCallback(t *testing.T) {
	k := adaptertest.New(t, "acme.app")
	k.Clock.Advance(time.Since(adaptertest.Epoch))
	r := builtin.Registry()
	ch, err := r.BuildChannel("callback", adaptertest.YAML("url: http://127.0.0.1:1/\nsecret: env:IN\n"), k.Deps)
	if err != nil {
		t.Fatal(err)
	}
	s := adaptertest.Serve(t, ch)
	script := strings.NewReplacer("http://127.0.0.1:8080", s.URL, "$(cat data/keys/app-in.secret)", adaptertest.SecretOf("env:IN")).Replace(blocks(t, "sh")[1])
	out, err := exec.Command("sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, want := range []string{`{"messages":[{"id":"1","conversation":"c_`, `"code":"not_found"`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output has no %s:\n%s", want, out)
		}
	}
	if in := k.World.Inbounds(); len(in) != 1 || in[0].Text != "Hello!" {
		t.Errorf("handed in: %+v", in)
	}
}
