package outbox

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"testing"

	"turnout/adapters"
	"turnout/adapters/message"
	"turnout/gateway/audit"
	"turnout/gateway/conversation"
	"turnout/gateway/id"
	"turnout/gateway/store"
)

func TestReports(t *testing.T) {
	w := newWorld(t)
	p := &provider{}
	p.does(func(context.Context, message.Outbound) (message.Receipt, error) {
		return message.Receipt{ProviderID: "wamid.1"}, nil
	})
	w.start(w.channel(w.tenant, sms, p))
	r := w.opened(w.tenant, sms, 1)
	m := w.bot(r, "one")[0]
	w.until("it is sent", w.says(r, m, "sent"))
	reports := (&Reports{Store: w.store, IDs: w.ids, Now: w.Now}).Channel(w.tenant, sms)
	to := message.Address{Address: "+49-1"}
	say := func(rep message.Report) error { return reports.Report(t.Context(), rep) }
	for _, rep := range []message.Report{
		{To: to, ProviderID: "wamid.1", Status: message.Delivered},
		{To: to, ProviderID: "wamid.1", Status: message.Delivered}, // a repeat
		{To: to, ID: m, Status: message.Sent},                      // steps back
		{To: to, ID: m, Status: message.Failed, Code: "late"},
		{To: to, ID: m, ProviderID: "unknown", Status: message.Read},
		{To: to, ID: m, Status: message.Delivered},
	} {
		if err := say(rep); err != nil {
			t.Errorf("%+v: %v", rep, err)
		}
	}
	if !w.says(r, m, "sent", "delivered", "read")() {
		t.Errorf("the log says %v", w.statuses(r, m))
	}
	other := message.Address{Address: "+49-2"}
	for name, rep := range map[string]message.Report{
		"unknown id":          {To: to, ID: w.ids.New(id.Message, 0), Status: message.Read},
		"unknown provider id": {To: to, ProviderID: "wamid.2", Status: message.Read},
		"another recipient":   {To: other, ID: m, Status: message.Read},
		"a customer's own id": {To: to, ID: "x", Status: message.Read},
	} {
		if err := say(rep); !errors.Is(err, adapters.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	foreign := (&Reports{Store: w.store, IDs: w.ids, Now: w.Now}).Channel(w.tenantNamed("globex"), sms)
	if err := foreign.Report(t.Context(), message.Report{To: to, ID: m, Status: message.Read}); !errors.Is(err, adapters.ErrNotFound) {
		t.Errorf("another tenant's: %v", err)
	}
	var refused *adapters.RefusedError
	for name, rep := range map[string]message.Report{
		"status":       {To: to, ID: m, Status: message.Queued},
		"no status":    {To: to, ID: m},
		"no id":        {To: to, Status: message.Read},
		"no recipient": {ID: m, Status: message.Read},
		"long code":    {To: to, ID: m, Status: message.Failed, Code: string(make([]byte, maxCode+1))},
	} {
		if err := say(rep); !errors.As(err, &refused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.sound()
}

// What left and is reported as failed can be sent again by a person, like what never left.
func TestFailedLater(t *testing.T) {
	w := newWorld(t)
	p := &provider{}
	w.start(w.channel(w.tenant, sms, p))
	r := w.opened(w.tenant, sms, 1)
	m := w.agent(r, "one")
	w.until("it is sent", w.says(r, m, "sent"))
	reports := (&Reports{Store: w.store, IDs: w.ids, Now: w.Now}).Channel(w.tenant, sms)
	for range 2 {
		if err := reports.Report(t.Context(), message.Report{To: message.Address{Address: "+49-1"}, ID: m, Status: message.Failed, Code: "30005"}); err != nil {
			t.Fatal(err)
		}
	}
	dead := w.dead()
	if len(dead) != 1 || dead[0].Code != "30005" || dead[0].Row.Out.ID != m {
		t.Fatalf("dead letters: %+v", dead)
	}
	if err := w.redrive(w.tenant, dead[0].Row.ID, ann, false); err != nil {
		t.Fatal(err)
	}
	w.until("it is sent again", w.says(r, m, "sent", "failed:30005", "queued:resent", "sent"))
	if s := p.sends(); len(s) != 2 || s[1].ID != m || s[1].Part.Text != s[0].Part.Text || s[1].To != s[0].To {
		t.Errorf("on the wire: %+v", s)
	}
	w.sound()
}

func TestDeadLetters(t *testing.T) {
	w := newWorld(t)
	p := &provider{}
	p.does(fails(adapters.SendError{Code: "blocked"}))
	w.start(w.channel(w.tenant, sms, p))
	r := w.opened(w.tenant, sms, 1)
	ids := w.bot(r, "one", "two")
	w.until("both are dead", func() bool { return len(w.dead()) == 2 })
	d := &Dead{Store: w.store, IDs: w.ids, Now: w.Now}
	admin := conversation.Actor{Kind: conversation.Admin, ID: "root"}
	one, two := store.RowOf(ids[0]), store.RowOf(ids[1])

	page, next, err := d.List(t.Context(), w.tenant, "", 1)
	if err != nil || len(page) != 1 || next == "" {
		t.Fatalf("the first page: %+v, %q, %v", page, next, err)
	}
	rest, next, err := d.List(t.Context(), w.tenant, next, 0)
	if err != nil || len(rest) != 1 || next != "" || rest[0].Row.ID == page[0].Row.ID {
		t.Errorf("the second page: %+v, %q, %v", rest, next, err)
	}
	p.does(nil)
	if err := w.redrive(w.tenant, one, admin, false); err != nil {
		t.Fatal(err)
	}
	w.until("it is sent", w.says(r, ids[0], "failed:blocked", "queued:resent", "sent"))
	if err := w.redrive(w.tenant, two, admin, true); err != nil {
		t.Fatal(err)
	}
	if !w.says(r, ids[1], "failed:blocked", "discarded")() {
		t.Errorf("the log says %v", w.statuses(r, ids[1]))
	}
	for name, err := range map[string]error{
		"resend what was resent":     w.redrive(w.tenant, one, admin, false),
		"discard what was discarded": w.redrive(w.tenant, two, admin, true),
		"another tenant's":           w.redrive(w.tenantNamed("globex"), two, admin, false),
		"no id":                      w.redrive(w.tenant, "x", admin, false),
	} {
		if !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Both decisions are in the chain, with the person.
	entries, err := w.store.Entries(t.Context(), w.tenant, r.ID, 0, 100)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, b := range entries {
		if e := entry(t, b); e.Actor == "admin:root" {
			kinds = append(kinds, e.Kind)
		}
	}
	if !slices.Equal(kinds, []string{"resent", "discarded"}) {
		t.Errorf("the audit chain holds %v of the admin's", kinds)
	}
	if _, err := audit.Verify(r.ID, audit.Head{}, entries); err != nil {
		t.Error(err)
	}
	w.sound()
}

// A bot's message cannot be sent again over the head of the people who have the conversation.
func TestResendWhilePeopleHaveIt(t *testing.T) {
	w := newWorld(t)
	p := &provider{}
	p.does(fails(adapters.SendError{Code: "blocked"}))
	w.start(w.channel(w.tenant, sms, p))
	r := w.opened(w.tenant, sms, 1)
	m := w.bot(r, "one")[0]
	w.until("it is dead", func() bool { return len(w.dead()) == 1 })
	p.does(nil)
	w.handoff(r)
	if err := w.redrive(w.tenant, store.RowOf(m), ann, false); !errors.Is(err, conversation.ErrNotOwner) {
		t.Errorf("resending over people's heads: %v", err)
	}
	w.act(r, ann, conversation.Claim{Name: "Ann"}, conversation.Release{})
	if err := w.redrive(w.tenant, store.RowOf(m), ann, false); err != nil {
		t.Errorf("resending after the release: %v", err)
	}
	w.until("it is sent", w.says(r, m, "failed:blocked", "queued:resent", "sent"))
}

func entry(t *testing.T, b []byte) (e audit.Entry) {
	t.Helper()
	if err := json.Unmarshal(b, &e); err != nil {
		t.Fatal(err)
	}
	return e
}

func (w *world) redrive(t store.Tenant, row string, by conversation.Actor, discard bool) error {
	d := &Dead{Store: w.store, IDs: w.ids, Now: w.Now}
	_, _, err := d.Redrive(context.Background(), Redrive{Tenant: t, Row: row, By: by, Discard: discard})
	return err
}
