package admin_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"turnout/adapters/message"
	"turnout/gateway/admin"
	"turnout/gateway/conversation"
	"turnout/gateway/store"
)

// longLog is a tenant with one conversation of very many events.
type longLog struct {
	id     string
	events uint64
}

func (l longLog) Chains(_ context.Context, _ store.Tenant, after string, _ int) ([]string, error) {
	if after >= l.id {
		return nil, nil
	}
	return []string{l.id}, nil
}

func (longLog) Tombstone(context.Context, store.Ref) (store.Tombstone, error) {
	return store.Tombstone{}, store.ErrNotFound
}

func (l longLog) Log(_ context.Context, _ store.Ref, after uint64, limit int) (out []conversation.Event, err error) {
	for seq := after + 1; seq <= l.events && len(out) < limit; seq++ {
		e := conversation.Event{Seq: seq, At: 1_800_000_000_000, Type: conversation.MessageReceived, Data: &conversation.Received{In: message.Inbound{Text: "again"}}}
		if seq == 1 {
			e.Type, e.Data = conversation.Opened, &conversation.Begun{ID: l.id, From: message.Address{Channel: "acme.web"}}
		}
		out = append(out, e)
	}
	return out, nil
}

// One customer who never stops writing keeps nobody from the figures, and from the texts, of all the others. A story has an
// end, and says so.
func TestVeryLongConversation(t *testing.T) {
	log := longLog{id: "c_aaaaaaaaaaaaaaaaaaaaaaaaaa", events: 100_600}
	now := func() time.Time { return time.UnixMilli(1_800_000_000_000) }
	routes := admin.Exports{Store: log, Now: now, Log: slog.New(slog.DiscardHandler)}.Routes()
	n := newNode(t, append(routes, admin.Replay(log, admin.Judges{})...)...)
	for _, query := range []string{"", "?text=1"} {
		status, body := n.ask("acme/owner", "GET", "export/conversations"+query)
		var row struct {
			FromCustomer uint64 `json:"from_customer"`
			Messages     []struct{ Text string }
		}
		if err := json.Unmarshal([]byte(body), &row); err != nil || status != 200 || row.FromCustomer != log.events-1 {
			t.Errorf("%q: %d, %v, %.200s", query, status, err, body)
		}
		if want := query != ""; want != (uint64(len(row.Messages)) == log.events-1) || !want && row.Messages != nil {
			t.Errorf("%q: %d messages", query, len(row.Messages))
		}
	}
	if status, body := n.ask("acme/owner", "GET", "conversations/"+log.id+"/replay"); status != 413 || !strings.Contains(body, "more than 100000 events") {
		t.Errorf("the story: %d %.200s", status, body)
	}
}
