package gateway_test

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"net/url"
	"strings"
	"testing"
	"time"
)

func (n *node) export(what string, q url.Values) string {
	n.t.Helper()
	body, err := n.operator("acme").Stream(n.t.Context(), "GET", "/v1/admin/export/"+what+"?"+q.Encode(), nil)
	if err != nil {
		n.t.Fatal(err)
	}
	defer body.Close()
	b, err := io.ReadAll(body)
	if err != nil {
		n.t.Fatal(err)
	}
	return string(b)
}

// TestExports tells conversations in figures, and what was said only when that is asked for.
func TestExports(t *testing.T) {
	b := newBot(t, "legacy")
	n := newNode(t, map[string]string{"acme.res.yaml": acmeFile + b.resource("legacy")})
	const words = "where is my zebra-striped parcel"
	n.customer("acme.web").says(words)
	n.customer("acme.web").says("agent")

	figures := n.export("conversations", nil)
	lines := strings.Split(strings.TrimSpace(figures), "\n")
	if len(lines) != 2 || strings.Contains(figures, "zebra") {
		t.Fatalf("%d lines: %s", len(lines), figures)
	}
	handed := 0
	for _, l := range lines {
		var s struct {
			Channel      string
			Turns        int
			FromCustomer int `json:"from_customer"`
			Handoffs     int
			Owner        string
		}
		if err := json.Unmarshal([]byte(l), &s); err != nil || s.Channel != "acme.web" || s.FromCustomer != 1 || s.Turns+s.Handoffs != 1 {
			t.Errorf("%v: %s", err, l)
		}
		if s.Owner == "queued" {
			handed++
		}
	}
	if handed != 1 {
		t.Errorf("%d were handed over: %s", handed, figures)
	}

	if text := n.export("conversations", url.Values{"text": {"1"}}); !strings.Contains(text, words) || !strings.Contains(text, `"by":"bot"`) {
		t.Errorf("with text: %s", text)
	}
	tomorrow := time.Now().UTC().AddDate(0, 0, 1).Format(time.DateOnly)
	if late := n.export("conversations", url.Values{"from": {tomorrow}}); late != "" {
		t.Errorf("from tomorrow on: %s", late)
	}
	if before := n.export("conversations", url.Values{"to": {tomorrow}}); before != figures {
		t.Errorf("until tomorrow: %s", before)
	}

	rows, err := csv.NewReader(strings.NewReader(n.export("metrics", url.Values{"format": {"csv"}}))).ReadAll()
	if err != nil || len(rows) != 2 || rows[0][0] != "day" || rows[1][1] != "acme.web" || rows[1][2] != "2" {
		t.Errorf("metrics: %v, %v", rows, err)
	}

	for q, says := range map[string]string{
		"format=xml":                    "format must be jsonl or csv",
		"from=yesterday":                "from must be a day such as",
		"from=2026-02-01&to=2026-01-01": "to lies before from",
		"text=1&format=csv":             "does not fit into a table",
	} {
		n.refused("acme", "GET", "/v1/admin/export/conversations?"+q, nil, 400, "bad_request", says)
	}
}
