package whatsapp

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"turnout/adapters"
	"turnout/adapters/clean"
	"turnout/adapters/message"
	"turnout/adapters/problem"
	wire "turnout/adapters/wire/whatsapp"
)

// personID is what the quick reply for a person comes back with.
const personID = "turnout:person"

// maxRaw is the most of a message's own form that is kept.
const maxRaw = 64 << 10

// addressOf is a customer's address: the number in international form, or the BSUID where the platform gives no number.
func addressOf(i wire.Identity) string {
	switch {
	case i.Phone != "":
		return "+" + i.Phone
	case i.WaID != "":
		return "+" + i.WaID
	}
	return i.User
}

// identityOf is the person at an address.
func identityOf(address string) wire.Identity {
	if phone, ok := strings.CutPrefix(address, "+"); ok {
		return wire.Identity{Phone: phone}
	}
	return wire.Identity{User: address}
}

// take takes one update in. An error means that it may work later; what never will is logged, and nil.
func (c *Channel) take(ctx context.Context, u *wire.Update, trace string) error {
	switch {
	case u.Message != nil:
		return c.takeMessage(ctx, u, trace)
	case u.Status != nil:
		return c.takeStatus(ctx, u.Status)
	case u.Failure != nil:
		c.deps.Log.Error("the platform reports an error of the number or its account", "code", u.Failure.Code)
	case u.Echo != nil:
		c.deps.Log.Info("a message that was written in the app of the business's own is not part of any conversation here")
	}
	return nil
}

func (c *Channel) takeMessage(ctx context.Context, u *wire.Update, trace string) error {
	m := u.Message
	from := message.Address{Channel: c.deps.Key, Address: addressOf(m.From)}
	if m.Group != "" {
		c.deps.Log.Info("a message in a group is not taken in")
		return nil
	}
	in := message.Inbound{ID: m.ID, From: from, SentAt: m.At, Trace: trace}
	if len(u.Raw) <= maxRaw {
		in.Raw = append([]byte(nil), u.Raw...)
	}
	if !c.fill(&in, m) {
		c.deps.Log.Info("a notice of the platform is no message", "type", m.Type)
		return nil
	}
	if len(in.Text) > c.cfg.TextBytes {
		// The platform takes longer ones than the channel may; who wrote it cannot be told to write less.
		in.Text = strings.ToValidUTF8(in.Text[:c.cfg.TextBytes], "")
	}
	if m.Media != nil && !c.known.has(m.ID) {
		a, err := c.fetch(ctx, from, m)
		switch {
		case err == nil:
			in.Attachments = []message.Attachment{a}
		case errors.Is(err, adapters.ErrUnavailable), errors.Is(err, adapters.ErrUnknownOutcome):
			return err
		case !fetchLater(err) || c.deps.Now().Sub(m.At) > c.cfg.Media.Wait:
			c.deps.Log.Warn("a file of a customer cannot be fetched; the message comes without it", "type", m.Type, "err", err)
			in.Text = strings.TrimSpace(in.Text + "\n" + missing(m))
		default:
			c.deps.Log.Warn("a file of a customer cannot be fetched now; the platform will bring the message again", "type", m.Type, "err", err)
			return fmt.Errorf("fetching a file: %w", adapters.ErrUnavailable)
		}
	}
	accepting, cancel := context.WithTimeout(ctx, c.accepted)
	defer cancel()
	r, err := c.deps.Inbox.Accept(accepting, in)
	var refused *adapters.RefusedError
	switch {
	case err == nil:
		c.known.add(m.ID)
		if !r.Dup {
			c.notice(m.ID, r.Owner.Kind == message.OwnerBot && in.Kind.StartsTurn())
		}
		return nil
	case errors.As(err, &refused) && refused.Code != problem.CodeRateLimited:
		c.deps.Log.Warn("a message of a customer was refused", "code", refused.Code)
		return nil
	}
	return err
}

// fill makes in say what m says. It reports false for what is no message.
func (c *Channel) fill(in *message.Inbound, m *wire.Message) bool {
	in.Kind, in.Text = message.Text, clean.Text(m.Text)
	switch {
	case m.Moved != nil:
		return false
	case m.Reply != nil:
		fillReply(in, m.Reply)
	case m.Media != nil:
		in.Kind = message.Media
	case m.Location != nil:
		in.Kind, in.Text = message.Location, place(m.Location)
	case m.Order != nil:
		in.Kind, in.Text = message.Order, cart(m.Order)
	case m.Reaction != nil:
		in.Kind, in.Text = message.Reaction, clean.Text(m.Reaction.Emoji)
	case m.Edits != "":
		in.Kind = message.Edit
	case m.Revokes != "":
		in.Kind = message.Revoke
	case len(m.Cards) > 0:
		in.Text = cards(m.Cards)
	}
	if in.Kind == message.Text && strings.TrimSpace(in.Text) == "" {
		// Somebody wrote something that cannot be shown here, a poll or what is yet to be thought of: it is answered, not lost.
		in.Text = "[" + strings.TrimSpace("message of type "+clean.Name(m.Type)) + "]"
	}
	return true
}

func fillReply(in *message.Inbound, r *wire.Reply) {
	label := clean.Name(r.Title)
	if r.ID == personID {
		in.Kind, in.Text = message.Human, label
		return
	}
	id := clean.Name(r.ID)
	if id == "" {
		id = r.Kind
	}
	in.Kind, in.Choice = message.Action, &message.Choice{ID: id, Label: label}
	if in.Text = label; label == "" {
		in.Text = id
	}
	if len(r.Form) > 0 {
		in.Text = form(r.Form, in.Text)
	}
}

// form is what was filled in, a line for each field, in the order of the fields' names.
func form(raw json.RawMessage, title string) string {
	var fields map[string]any
	if json.Unmarshal(raw, &fields) != nil {
		return title
	}
	delete(fields, "flow_token") // a secret between the business and the platform
	lines := []string{title}
	for _, name := range sortedKeys(fields) {
		v, ok := fields[name].(string)
		if !ok {
			b, err := json.Marshal(fields[name])
			if err != nil {
				continue
			}
			v = string(b)
		}
		lines = append(lines, clean.Name(name)+": "+clean.Text(v))
	}
	return strings.Join(lines, "\n")
}

func place(l *wire.Location) string {
	at := strconv.FormatFloat(l.Latitude, 'f', -1, 64) + "," + strconv.FormatFloat(l.Longitude, 'f', -1, 64)
	var lines []string
	for _, s := range []string{l.Name, l.Address} {
		if s = clean.Name(s); s != "" {
			lines = append(lines, s)
		}
	}
	return strings.Join(append(lines, at), "\n")
}

func cart(o *wire.Order) string {
	var lines []string
	if t := strings.TrimSpace(clean.Text(o.Text)); t != "" {
		lines = append(lines, t)
	}
	for _, i := range o.Items {
		lines = append(lines, fmt.Sprintf("%s × %s (%s %s)", decimal(i.Quantity), clean.Name(i.Product), decimal(i.Price), clean.Name(i.Currency)))
	}
	return strings.Join(lines, "\n")
}

func cards(list []wire.Card) string {
	var lines []string
	for _, p := range list {
		line := clean.Name(p.Name)
		for _, s := range append(append([]string(nil), p.Phones...), p.Emails...) {
			line = strings.TrimSpace(line + " " + clean.Name(s))
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func decimal(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

// missing stands in the place of a file that could not be fetched.
func missing(m *wire.Message) string {
	if name := clean.Name(m.Media.Filename); name != "" {
		return "[file not available: " + name + "]"
	}
	return "[file not available: " + clean.Name(m.Type) + "]"
}

// states are what the platform reports, in the words of the outbox.
var states = map[string]message.Status{
	"sent": message.Sent, "delivered": message.Delivered, "read": message.Read, "played": message.Read, "failed": message.Failed,
}

// overtake is the last of the waits, each twice the one before, for a status that is ahead of the answer to its send.
const overtake = 400 * time.Millisecond

func (c *Channel) takeStatus(ctx context.Context, s *wire.Status) error {
	status, ok := states[s.State]
	if !ok || s.Group != "" {
		return nil // deleted, warning, and what is yet to be thought of
	}
	r := message.Report{To: message.Address{Channel: c.deps.Key, Address: addressOf(s.Recipient)}, ProviderID: s.ID, Status: status}
	if len(s.Failures) > 0 {
		f := s.Failures[0]
		r.Code = strconv.Itoa(f.Code)
		if class, _ := wire.ClassOf(f.Code); class == wire.ClassAccount {
			c.deps.Log.Error("the platform will send nothing more before somebody mends this", "code", f.Code)
		}
	}
	// A status may come before the answer to its send has been noted. One that is still unknown then is of a message that
	// somebody else has sent from this number.
	for wait := 50 * time.Millisecond; ; wait *= 2 {
		err := c.deps.Deliveries.Report(ctx, r)
		var refused *adapters.RefusedError
		switch {
		case err == nil, errors.As(err, &refused):
			return nil
		case !errors.Is(err, adapters.ErrNotFound):
			return err
		case wait > overtake:
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return adapters.ErrUnavailable
		}
	}
}

// notice tells the customer that a message has come in, and that the bot is writing. It is a courtesy: when there are too
// many, or it fails, nothing is told.
func (c *Channel) notice(id string, typing bool) {
	if !*c.cfg.Read {
		return
	}
	select {
	case c.notices <- struct{}{}:
	default:
		return
	}
	if !c.enter() {
		<-c.notices
		return
	}
	go func() {
		defer func() {
			if r := recover(); r != nil {
				c.deps.Log.Error("marking a message as read panicked", "panic", fmt.Sprintf("%T", r))
			}
			<-c.notices
			c.running.Done()
		}()
		ctx, cancel := context.WithTimeout(c.life, c.cfg.Timeout)
		defer cancel()
		if _, err := c.call(ctx, "messages", wire.EncodeRead(id, typing)); err != nil {
			c.deps.Log.Debug("marking a message as read failed", "err", err)
		}
	}()
}
