package whatsapp

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"log/slog"
	"sync"

	"github.com/valyala/fasthttp"

	"turnout/adapters"
	"turnout/adapters/problem"
	"turnout/adapters/traceparent"
	wire "turnout/adapters/wire/whatsapp"
)

// ConnectionConfig is the section of a connection: one app of Meta.
type ConnectionConfig struct {
	// Secret is the app's secret, with which webhooks are signed; PreviousSecret is taken too while it is exchanged.
	Secret         adapters.SecretRef `yaml:"app_secret"`
	PreviousSecret adapters.SecretRef `yaml:"previous_app_secret"`
	// VerifyToken is the word of the operator's own that the app's dashboard asks for beside the URL.
	VerifyToken adapters.SecretRef `yaml:"verify_token"`
}

// MaxWebhook is the largest webhook that Meta posts, with room.
const MaxWebhook = 4 << 20

// lanes is how many senders' updates of one webhook are taken in at a time.
const lanes = 16

// connection takes in what is posted for many channels.
type connection struct {
	secrets [][]byte
	verify  string
	members map[string]*Channel // by number
	log     *slog.Logger
	seed    maphash.Seed
}

// NewConnection builds the endpoints of an app for the channels that are its members.
func NewConnection(spec adapters.Spec, d adapters.Deps, members []adapters.Channel) ([]adapters.Route, error) {
	var cfg ConnectionConfig
	if err := spec.Decode(&cfg); err != nil {
		return nil, fmt.Errorf("decoding whatsapp connection: %w", err)
	}
	x := &connection{members: map[string]*Channel{}, log: d.Log, seed: maphash.MakeSeed()}
	var errs []error
	secret := func(field string, ref adapters.SecretRef, needed bool) string {
		if ref == "" {
			if needed {
				errs = append(errs, fmt.Errorf("%s: is missing; name it as env:NAME or file:/path", field))
			}
			return ""
		}
		v, err := d.Secret(ref)
		if err == nil && len(v.Reveal()) < 8 {
			err = errors.New("must have at least 8 bytes")
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", field, err))
			return ""
		}
		return v.Reveal()
	}
	x.secrets = append(x.secrets, []byte(secret("app_secret", cfg.Secret, true)))
	if before := secret("previous_app_secret", cfg.PreviousSecret, false); before != "" {
		x.secrets = append(x.secrets, []byte(before))
	}
	x.verify = secret("verify_token", cfg.VerifyToken, true)
	for _, m := range members {
		c, ok := m.(*Channel)
		if !ok {
			errs = append(errs, errors.New("a channel that is not of WhatsApp is a member"))
			continue
		}
		x.members[c.cfg.Number] = c
	}
	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("checking whatsapp connection: %w", err)
	}
	path := "/v1/hooks/" + d.Key
	return []adapters.Route{
		{Method: fasthttp.MethodGet, Path: path, Handler: x.subscribe, Summary: "The handshake by which Meta makes sure of the webhook's URL."},
		{Method: fasthttp.MethodPost, Path: path, Handler: x.post, MaxBody: MaxWebhook, Summary: "Webhooks of Meta, signed; answered when all that they hold is durable."},
	}, nil
}

func (x *connection) subscribe(ctx *fasthttp.RequestCtx) {
	q := ctx.QueryArgs()
	answer, ok := wire.Subscribe(q.Peek("hub.mode"), q.Peek("hub.verify_token"), q.Peek("hub.challenge"), x.verify)
	if !ok {
		problem.Write(ctx, fasthttp.StatusForbidden, problem.CodeForbidden, "The verify token is not that of the connection.")
		return
	}
	ctx.SetContentType("text/plain; charset=utf-8")
	ctx.Response.Header.Set("X-Content-Type-Options", "nosniff")
	ctx.SetBody(append([]byte(nil), answer...))
}

// post takes a webhook in. What never can be taken in is acknowledged all the same: bringing it again is no use, and a
// webhook that is refused too often is switched off by the platform.
func (x *connection) post(ctx *fasthttp.RequestCtx) {
	body, err := bodyOf(ctx)
	if err != nil {
		problem.WriteError(ctx, err)
		return
	}
	if !wire.Verify(ctx.Request.Header.Peek(wire.HeaderSignature), body, x.secrets...) {
		problem.Write(ctx, fasthttp.StatusUnauthorized, problem.CodeUnauthenticated, "The signature is missing or not that of the app's secret over the raw body.")
		return
	}
	updates, err := wire.Decode(body)
	if err != nil {
		problem.Write(ctx, fasthttp.StatusBadRequest, problem.CodeBadRequest, "The body is not a webhook of the platform.")
		return
	}
	trace := string(traceparent.Parse(ctx.Request.Header.Peek(traceparent.Header)))
	if err := x.take(updates, trace); err != nil {
		problem.WriteError(ctx, err)
		return
	}
	ctx.SetContentType("application/json")
	ctx.SetBodyString("{}")
}

// bodyOf reads a body that the server may have left a stream.
func bodyOf(ctx *fasthttp.RequestCtx) ([]byte, error) {
	if !ctx.Request.IsBodyStream() {
		return ctx.Request.Body(), nil
	}
	tooLarge := &adapters.RefusedError{Code: problem.CodeTooLarge, Detail: "The webhook is larger than the platform's ever are."}
	body, err := readAll(ctx.RequestBodyStream(), MaxWebhook)
	switch {
	case errors.Is(err, errTooLarge):
		return nil, tooLarge
	case err != nil:
		return nil, &adapters.RefusedError{Code: problem.CodeBadRequest, Detail: "The body ended early."}
	}
	return body, nil
}

// take brings each update to its channel: those of one person in their order, those of several side by side. It returns an
// error that is worth a repeat, if there was one.
func (x *connection) take(updates []wire.Update, trace string) error {
	var work [lanes][]task
	for i := range updates {
		u := &updates[i]
		c := x.owner(u)
		if c == nil {
			continue
		}
		n := maphash.String(x.seed, u.Number+"\x00"+senderOf(u)) % lanes
		work[n] = append(work[n], task{c, u})
	}
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		first error
	)
	for _, lane := range work {
		if len(lane) == 0 {
			continue
		}
		run := func() {
			for _, t := range lane {
				if err := t.run(trace); err != nil {
					mu.Lock()
					first = errors.Join(first, err)
					mu.Unlock()
				}
			}
		}
		if len(updates) == 1 {
			run()
			break
		}
		all.Go(run)
	}
	all.Wait()
	return first
}

type task struct {
	channel *Channel
	update  *wire.Update
}

// run takes one update in. A panic over one of them is its own: it is acknowledged, or it would come again and again.
func (t task) run(trace string) (err error) {
	defer func() {
		if r := recover(); r != nil {
			t.channel.deps.Log.Error("taking in an update panicked", "panic", fmt.Sprintf("%T", r), "field", t.update.Field)
			err = nil
		}
	}()
	ctx, cancel := context.WithTimeout(t.channel.life, t.channel.accepted+t.channel.cfg.Timeout)
	defer cancel()
	return t.channel.take(ctx, t.update, trace)
}

// owner returns the channel that an update belongs to, or nil for one that is nobody's.
func (x *connection) owner(u *wire.Update) *Channel {
	switch c := x.members[u.Number]; {
	case u.Broken != nil:
		x.log.Warn("an element of a webhook cannot be read; it is acknowledged", "number", u.Number, "field", u.Field, "bytes", len(u.Raw), "err", u.Broken)
		return nil
	case c != nil:
		return c
	case u.Number != "":
		x.log.Warn("a webhook is for a number that no channel has; it is acknowledged. Add a channel with this number, or take it from the app", "number", u.Number, "field", u.Field)
	default:
		x.log.Debug("an update of a field that is not used", "field", u.Field)
	}
	return nil
}

// senderOf names whose updates must keep their order.
func senderOf(u *wire.Update) string {
	switch {
	case u.Message != nil:
		return addressOf(u.Message.From)
	case u.Status != nil:
		return addressOf(u.Status.Recipient)
	}
	return ""
}
