package store_test

import (
	"context"
	"errors"
	"testing"

	"turnout/gateway/store"
)

// doubtful publishes and does not say whether it did.
type doubtful struct {
	published error
	newest    store.VersionedDoc
	reads     []error // of Current, in turn; then none
}

func (d *doubtful) Publish(context.Context, store.Tenant, string, int, store.VersionedDoc) error {
	return d.published
}

func (d *doubtful) Current(context.Context, store.Tenant, string) (store.VersionedDoc, error) {
	if len(d.reads) > 0 {
		err := d.reads[0]
		d.reads = d.reads[1:]
		return store.VersionedDoc{}, err
	}
	return d.newest, nil
}

func TestPublishKnown(t *testing.T) {
	mine := store.VersionedDoc{Digest: "d", Body: []byte("mine"), At: 7, By: "owner:ana"}
	written, other := mine, mine
	written.N, other.N, other.Body = 3, 3, []byte("another's")
	before := store.VersionedDoc{N: 2, Digest: "c"}
	ended, end := context.WithCancel(t.Context())
	end()
	down := []error{store.ErrUnavailable, store.ErrUnavailable}
	for name, c := range map[string]struct {
		ctx  context.Context
		s    doubtful
		prev int
		want error
	}{
		"known":               {s: doubtful{}, prev: 2},
		"refused":             {s: doubtful{published: store.ErrFull, newest: written}, prev: 2, want: store.ErrFull},
		"written":             {s: doubtful{published: store.ErrUnknown, newest: written}, prev: 2},
		"written, after time": {s: doubtful{published: store.ErrUnknown, newest: written, reads: down}, prev: 2},
		"not written":         {s: doubtful{published: store.ErrUnknown, newest: before, reads: down}, prev: 2, want: store.ErrUnavailable},
		"the first, not":      {s: doubtful{published: store.ErrUnknown, reads: []error{store.ErrNotFound}}, want: store.ErrUnavailable},
		"another's":           {s: doubtful{published: store.ErrUnknown, newest: other}, prev: 2, want: store.ErrStale},
		"never to be read":    {ctx: ended, s: doubtful{published: store.ErrUnknown, newest: written, reads: down}, prev: 2, want: store.ErrUnknown},
	} {
		ctx := c.ctx
		if ctx == nil {
			ctx = t.Context()
		}
		err := store.PublishKnown(ctx, &c.s, store.Tenant{}, "config", c.prev, mine)
		if !errors.Is(err, c.want) || c.want != store.ErrUnknown && errors.Is(err, store.ErrUnknown) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
